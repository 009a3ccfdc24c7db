"""Which queues have a live worker, told by locks that end with the worker.

A Celery worker can be asked over its broker only where the broker can broadcast; the Postgres broker cannot.
So every worker also holds one shared advisory lock per queue in TOMAS's base. The lock needs no heartbeat and
no row: when the worker dies, in whatever way, its connection ends and the lock is gone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import zlib
from collections.abc import Iterable

import psycopg2
from psycopg2.extensions import connection as PgConnection  # noqa: N812

from tomas.errors import StoreUnavailable

__all__ = ["Announcement", "announced_queues"]

log = logging.getLogger(__name__)

_CLASS = 0x544F4D41
_PROBE_S = 20.0

_HOLD = "SELECT pg_advisory_lock_shared(%s, %s)"
_PROBE = "SELECT 1"
_HELD = """
    SELECT objid::bigint FROM pg_locks
     WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid::bigint = %s
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def _key(queue: str) -> int:
    return zlib.crc32(queue.encode()) & 0x7FFFFFFF


def announced_queues(dsn: str, queues: Iterable[str], *, connect_timeout_s: int = 5) -> set[str]:
    """Those of ``queues`` that at least one live worker announced.

    :raises StoreUnavailable: Postgres does not answer.
    """
    try:
        with contextlib.closing(psycopg2.connect(dsn, connect_timeout=connect_timeout_s)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(_HELD, (_CLASS,))
                held = {row[0] for row in cursor.fetchall()}
    except psycopg2.OperationalError as error:
        raise StoreUnavailable(
            f"TOMAS's store does not answer ({type(error).__name__}).", remedy="Start Postgres, or correct the DSN."
        ) from None
    return {queue for queue in queues if _key(queue) in held}


class Announcement:
    """Holds the locks of one worker's queues from a thread, and takes them anew after a lost connection.

    Children that the worker forks do not hold them: the descriptor is closed in every forked child.
    """

    def __init__(self, dsn: str, queues: Iterable[str], *, connect_timeout_s: int = 5) -> None:
        self._dsn = dsn
        self._queues = sorted(set(queues))
        self._connect_timeout_s = connect_timeout_s
        self._stop = threading.Event()
        self._connection: PgConnection | None = None
        self._thread = threading.Thread(target=self._run, name="tomas-presence", daemon=True)
        os.register_at_fork(after_in_child=self._forget_in_child)

    def start(self) -> None:
        """Announce from now on, without waiting for Postgres."""
        self._thread.start()

    def stop(self) -> None:
        """Withdraw; safe to call twice."""
        self._stop.set()
        self._thread.join(timeout=2 * self._connect_timeout_s)

    def _forget_in_child(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError, psycopg2.Error):
                os.close(self._connection.fileno())
            self._connection = None

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._hold()
            except psycopg2.Error as error:
                log.warning("Presence of queues %s not announced: %s", self._queues, type(error).__name__)
            finally:
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
            self._stop.wait(_PROBE_S / 4)

    def _hold(self) -> None:
        self._connection = connection = psycopg2.connect(
            self._dsn, connect_timeout=self._connect_timeout_s, application_name="tomas-worker"
        )
        connection.autocommit = True
        with connection.cursor() as cursor:
            for queue in self._queues:
                cursor.execute(_HOLD, (_CLASS, _key(queue)))
            log.info("Announced queues %s", self._queues)
            while not self._stop.wait(_PROBE_S):
                cursor.execute(_PROBE)
