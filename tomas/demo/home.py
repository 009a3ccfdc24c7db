"""The folder in which a stack keeps everything: databases, logs, secrets, results."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tomas.errors import ConfigError

__all__ = ["Home", "Secrets", "choose_port", "write_private"]

HOST = "127.0.0.1"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read (mode 0600), replacing it in one move."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    temporary.replace(path)


def choose_port(preferred: int, attempts: int = 20) -> int:
    """``preferred`` where it is free on the loopback interface, else one of the next, else any free port."""
    for port in (*range(preferred, preferred + attempts), 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError("No TCP port is free on 127.0.0.1.", remedy="End programs that hold ports, and try again.")


@dataclass(frozen=True)
class Secrets:
    """Random secrets of one home, made once."""

    stack_id: str
    fernet_key: str
    jwt_secret: str
    api_secret: str
    admin_password: str
    viewer_password: str
    airflow_db: str
    tomas_db: str
    broker_db: str

    @classmethod
    def load(cls, path: Path) -> Secrets:
        """Read them, or make them on the first call; the file has mode 0600."""
        if path.exists():
            try:
                return cls(**json.loads(path.read_text()))
            except (ValueError, TypeError):
                raise ConfigError(
                    f"{path} does not hold the secrets of a TOMAS stack.",
                    remedy=f"Delete the folder {path.parent} to start afresh.",
                ) from None
        made = cls(
            stack_id=secrets.token_hex(8),
            fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            jwt_secret=secrets.token_urlsafe(64),
            api_secret=secrets.token_urlsafe(32),
            admin_password=secrets.token_urlsafe(9),
            viewer_password=secrets.token_urlsafe(9),
            airflow_db=secrets.token_urlsafe(24),
            tomas_db=secrets.token_urlsafe(24),
            broker_db=secrets.token_urlsafe(24),
        )
        write_private(path, json.dumps(made.__dict__, indent=1))
        return made


class Home:
    """Paths below one folder, its lock and its state file.

    :param root: made if absent.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().resolve()
        self.airflow = self.root / "airflow"
        self.postgres = self.root / "postgres"
        self.logs = self.root / "logs"
        self.task_logs = self.logs / "tasks"
        self.run = self.root / "run"
        self.artifacts = self.root / "artifacts"
        self.warm_up = self.root / "warm_up"
        self.secrets_file = self.root / "secrets.json"
        self.passwords_file = self.root / "airflow_passwords.json"
        self.state_file = self.root / "state.json"
        self._lock: TextIO | None = None

    def create(self) -> None:
        """Make the folders that are missing."""
        for folder in (self.airflow, self.task_logs, self.run, self.artifacts):
            folder.mkdir(parents=True, exist_ok=True)

    def lock(self) -> None:
        """Take the home for this process; ConfigError names the process that already has it."""
        self.root.mkdir(parents=True, exist_ok=True)
        handle = (self.root / "lock").open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            handle.close()
            raise ConfigError(
                f"Another TOMAS stack (process {owner}) is running in {self.root}.",
                remedy="End it with Ctrl-C there, or give another folder with --home.",
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        self._lock = handle

    def unlock(self) -> None:
        """Give the home back; nothing happens when it is not held."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def read_state(self) -> dict[str, Any]:
        """What the last start noted (ports, schema revision); empty before the first."""
        try:
            state: dict[str, Any] = json.loads(self.state_file.read_text())
        except (OSError, ValueError):
            return {}
        return state

    def update_state(self, **values: object) -> None:
        """Add to the state file."""
        write_private(self.state_file, json.dumps(self.read_state() | values, indent=1))
