"""Connections to Postgres: a lazy pool, transactions that retry a dead connection, errors without passwords."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import psycopg2
import psycopg2.errors
from psycopg2.extensions import ISOLATION_LEVEL_READ_COMMITTED, connection, cursor, make_dsn, parse_dsn

from tomas.config import Settings, StoreSettings, get_settings
from tomas.errors import ConfigError, MigrationError, StoreError, StoreUnavailable

__all__ = ["SCHEMA", "Database"]

SCHEMA = "tomas"
"""Postgres schema of all tables, so that the store can share a database with others."""

T = TypeVar("T")

_PLAIN_HOST = re.compile(r"^[A-Za-z0-9_.,:/\-]*$")
_PLAIN_PORT = re.compile(r"^[0-9,]*$")
_FULL = re.compile("too many clients|too many connections|remaining connection slots")
_abandoned: list[connection] = []
"""Connections inherited through fork: never closed here, that would end the parent's sessions."""


class Database:
    """A thread-safe, fork-safe pool of at most ``settings.max_connections`` connections, opened when needed.

    :param dsn: libpq connection string or ``postgresql://`` URL.
    :param settings: limits and timeouts; the defaults of :class:`~tomas.config.StoreSettings` if None.
    :raises ConfigError: the DSN cannot be read.
    """

    def __init__(self, dsn: str, settings: StoreSettings | None = None) -> None:
        self.settings = settings or StoreSettings()
        try:
            parts = parse_dsn(dsn)
            _refuse_split_password(parts)
        except (psycopg2.Error, ValueError):
            # libpq quotes the text, password included, so its message is not passed on.
            raise ConfigError(
                "The store's DSN is not a libpq connection string or postgresql:// URL.",
                remedy="Write postgresql://user:password@host:port/database, special characters percent-encoded.",
            ) from None
        self._password = parts.get("password")
        host = parts.get("host") or parts.get("hostaddr") or "localhost"
        self._where = f"{host}:{parts.get('port') or '5432'}/{parts.get('dbname') or ''}"
        self._dsn = make_dsn(
            dsn,
            connect_timeout=self.settings.connect_timeout_s,
            application_name=parts.get("application_name", "tomas"),
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
        self._reset()

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """The store of ``settings`` (None: of this process); ConfigError if they hold no DSN."""
        store = (settings or get_settings()).store
        if store.dsn is None:
            raise ConfigError(
                "No database is configured for TOMAS.",
                remedy="Set TOMAS__STORE__DSN to postgresql://user:password@host:port/database.",
            )
        return cls(store.dsn.get_secret_value(), store)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._where})"

    def close(self) -> None:
        """Close all idle connections; the object can be used again."""
        self._after_fork()
        self._discard_idle()

    # -- transactions -------------------------------------------------------------------------------------

    def _lock(self, cur: cursor, names: Iterable[str]) -> None:
        """Lock names until the transaction ends, in the order of their hashes: one order for everybody.

        Each is waited for as long as ``lock_timeout_ms`` says: a long queue is not a slow server.
        """
        set_timeout = "SELECT set_config('statement_timeout', %s, true)"
        cur.execute(set_timeout, ("0",))
        cur.execute(
            "SELECT pg_advisory_xact_lock(h) FROM (SELECT DISTINCT hashtextextended('tomas:' || name, 0) AS h"
            " FROM unnest(%s) AS name ORDER BY h) AS ordered",
            (list(names),),
        )
        cur.execute(set_timeout, (str(self.settings.statement_timeout_ms),))

    def _select(self, work: Callable[[cursor], T]) -> T:
        """Run ``work`` that only reads, each statement for itself: BEGIN and COMMIT are trips to the server."""
        return self._run(work, repeatable=False, single=True)

    def _transaction(self, work: Callable[[cursor], T], *, repeatable: bool = False) -> T:
        """Run ``work`` in one read-committed transaction and commit it.

        A pooled connection may have died since its last use. Then ``work`` runs once more on a new one: the
        server has rolled back, so nothing is done twice. A connection that dies during COMMIT leaves open
        whether it did: that is retried only where work that is done already does no harm.

        :param repeatable: ``work`` finds out by itself what of it is done.
        """
        return self._run(work, repeatable=repeatable, single=False)

    def _run(self, work: Callable[[cursor], T], *, repeatable: bool, single: bool) -> T:
        self._after_fork()
        if not self._slots.acquire(timeout=self.settings.statement_timeout_ms / 1000):
            raise StoreUnavailable(
                f"All {self.settings.max_connections} connections to {self._where} were busy for "
                f"{self.settings.statement_timeout_ms} ms.",
                remedy="Raise TOMAS__STORE__MAX_CONNECTIONS, or find what holds them.",
            )
        try:
            for is_retry in (False, True):
                link = self._take() if not is_retry else None
                is_pooled = link is not None
                if link is None:
                    link = self._connect()
                committing = False
                try:
                    link.autocommit = single
                    with link.cursor() as cur:
                        result = work(cur)
                    committing = True
                    link.commit()
                except BaseException as error:
                    died = _is_broken(link, error)
                    self._drop_or_keep(link)
                    if died and not is_retry and (repeatable if committing else is_pooled):
                        self._discard_idle()
                        continue
                    if isinstance(error, psycopg2.Error | UnicodeEncodeError):
                        raise self._translate(error, died=died) from None
                    raise
                self._drop_or_keep(link)
                return result
            raise AssertionError("unreachable")
        finally:
            self._slots.release()

    def _connect(self) -> connection:
        try:
            link = self._open()
            with link.cursor() as cur:
                cur.execute(
                    "SELECT set_config('search_path', %s, false), set_config('timezone', 'UTC', false),"
                    " set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),"
                    " set_config('idle_in_transaction_session_timeout', %s, false)",
                    (
                        SCHEMA,
                        str(self.settings.statement_timeout_ms),
                        str(self.settings.lock_timeout_ms),
                        # A process that hangs while it verifies a plan must not keep its bins locked.
                        str(max(30_000, 2 * self.settings.statement_timeout_ms)),
                    ),
                )
            link.commit()
            link.set_session(isolation_level=ISOLATION_LEVEL_READ_COMMITTED)
            return link
        except psycopg2.Error as error:
            if _FULL.search(str(error)):
                raise StoreUnavailable(
                    f"Postgres at {self._where} had no connection free for {self.settings.connect_timeout_s} s: "
                    f"{self._clean(error)}.",
                    remedy="Raise max_connections of Postgres (and of the role and the database): every planner and"
                    " every running step holds one.",
                ) from None
            raise StoreUnavailable(
                f"Postgres at {self._where} cannot be reached: {self._clean(error)}.",
                remedy="Start Postgres, or correct TOMAS__STORE__DSN (the connection tomas_default in Airflow).",
            ) from None

    def _open(self) -> connection:
        """Connect; where all connections of the server are taken, wait for one to become free."""
        deadline = time.monotonic() + self.settings.connect_timeout_s
        while True:
            try:
                return psycopg2.connect(self._dsn)
            except psycopg2.OperationalError as error:
                if not _FULL.search(str(error)) or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    # -- the pool -----------------------------------------------------------------------------------------

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._idle: list[connection] = []
        self._mutex = threading.Lock()
        self._slots = threading.BoundedSemaphore(self.settings.max_connections)

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            _abandoned.extend(self._idle)
            self._reset()

    def _take(self) -> connection | None:
        with self._mutex:
            return self._idle.pop() if self._idle else None

    def _drop_or_keep(self, link: connection) -> None:
        """Roll back what is open; keep the connection for the next user unless it is dead."""
        with suppress(psycopg2.Error):
            link.rollback()
        if link.closed:
            return
        with self._mutex:
            self._idle.append(link)

    def _discard_idle(self) -> None:
        with self._mutex:
            idle, self._idle = self._idle, []
        for link in idle:
            with suppress(psycopg2.Error):
                link.close()

    # -- errors -------------------------------------------------------------------------------------------

    def _translate(self, error: psycopg2.Error | UnicodeEncodeError, *, died: bool = False) -> StoreError:
        """The error of our tree for one of psycopg2."""
        if isinstance(error, psycopg2.errors.LockNotAvailable):
            return StoreUnavailable(
                f"Postgres at {self._where}: a lock was not free within {self.settings.lock_timeout_ms} ms.",
                remedy="Try again: another plan is being released on the same bins. If it persists, look for a"
                " hanging client in pg_stat_activity or raise TOMAS__STORE__LOCK_TIMEOUT_MS.",
            )
        if isinstance(error, psycopg2.errors.QueryCanceled):
            return StoreUnavailable(
                f"Postgres at {self._where} did not answer within {self.settings.statement_timeout_ms} ms.",
                remedy="Find out why it is slow, or raise TOMAS__STORE__STATEMENT_TIMEOUT_MS.",
            )
        if isinstance(
            error,
            psycopg2.errors.UndefinedTable
            | psycopg2.errors.UndefinedColumn
            | psycopg2.errors.UndefinedObject
            | psycopg2.errors.InvalidSchemaName,
        ):
            return MigrationError(
                f"The database at {self._where} lacks tables of TOMAS: {self._clean(error)}.",
                remedy="Run: tomas db migrate.",
            )
        if isinstance(error, psycopg2.extensions.TransactionRollbackError):
            return StoreUnavailable(
                f"Postgres at {self._where} rolled back a transaction: {self._clean(error)}.",
                remedy="Nothing was half written; try again.",
            )
        if died or isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
            return StoreUnavailable(
                f"The connection to Postgres at {self._where} was lost: {self._clean(error)}.",
                remedy="Nothing was half written; try again when Postgres is back.",
            )
        return StoreError(
            f"Postgres at {self._where} refused a row: {self._clean(error)}.",
            remedy="Correct the value named in the message; nothing was written.",
        )

    def _clean(self, error: psycopg2.Error | UnicodeEncodeError) -> str:
        """The first line of the server's or libpq's message, without the password."""
        if isinstance(error, UnicodeEncodeError):
            return f"text that is not valid Unicode ({error.reason})"
        text = error.diag.message_primary or str(error)
        first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
        if self._password:
            first = first.replace(self._password, "***")
        return first.rstrip(".")


def _refuse_split_password(parts: dict[str, Any]) -> None:
    """ValueError where an unescaped ``@`` or ``/`` has put a piece of the password into host, port or database."""
    host, port, database = (str(parts.get(name) or "") for name in ("host", "port", "dbname"))
    if not _PLAIN_HOST.match(host) or not _PLAIN_PORT.match(port) or "@" in database:
        raise ValueError("not an address")


def _is_broken(link: connection, error: BaseException) -> bool:
    return bool(link.closed) or isinstance(error, psycopg2.InterfaceError)
