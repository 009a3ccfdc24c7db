"""Readings of the worker sampler: single ones and by the million, each stored once, none lost without a trace."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import cursor
from psycopg2.extras import execute_values

from tomas.schema import Sample, utc_now
from tomas.schema.base import Schema
from tomas.store.arrays import SAMPLE_FIELDS, SampleArrays, in_columns, slices
from tomas.store.connection import Database
from tomas.store.encode import Packed, Rejected, pack_columns, pack_samples, sample_row

__all__ = [
    "CLOCK_TOLERANCE",
    "MANY_ROWS",
    "CopyReport",
    "SamplesMixin",
    "at_once",
    "closed_until",
    "in_chunks",
    "known_bins",
    "move_horizon",
    "refresh_statistics",
    "reject",
    "server_clock",
]

T = TypeVar("T")
R = TypeVar("R")

CLOCK_TOLERANCE = timedelta(minutes=5)
"""A reading this far ahead of the reference clock is refused."""

MANY_ROWS = 50_000
"""A load of so many rows changes what Postgres has to know about a table."""

_CHUNK = 20_000
_AT_ONCE = 2**18
"""Bytes that are handed to libpq at once: between, the threads wait for each other."""
_LIST = ", ".join(SAMPLE_FIELDS)
_HORIZON_LOCK = "tomas:sample-horizon"


class CopyReport(Schema):
    """What became of every row that was given: ``given = stored + duplicates + the sum of rejected``."""

    given: int = 0
    stored: int = 0
    duplicates: int = 0
    """Rows that were stored already, with the same values."""
    rejected: dict[str, int] = {}
    """Number of refused rows by reason; the table ``rejected_row`` keeps them."""
    unknown_bins: list[str] = []
    """Bins that no worker class names now. Their rows are stored: history outlives a bin, or comes before it."""

    def __add__(self, other: CopyReport) -> CopyReport:
        reasons = sorted({*self.rejected, *other.rejected})
        return CopyReport(
            given=self.given + other.given,
            stored=self.stored + other.stored,
            duplicates=self.duplicates + other.duplicates,
            rejected={name: self.rejected.get(name, 0) + other.rejected.get(name, 0) for name in reasons},
            unknown_bins=sorted({*self.unknown_bins, *other.unknown_bins}),
        )


class SamplesMixin(Database):
    """Writing and reading samples."""

    def _reset(self) -> None:
        super()._reset()
        self._weeks: set[datetime] = set()
        """Partitions that this process knows to be there."""

    def add_samples(self, samples: Iterable[Sample]) -> int:
        """Store a few readings; one whose bin and instant are stored already is ignored. The number stored.

        One that lies in an hour that retention has closed is kept in ``rejected_row``.

        :raises StoreError: an amount is not a finite number from 0 to 1e15; nothing was stored.
        """
        rows = sorted((sample_row(sample) for sample in samples), key=lambda row: row[:2])

        def work(cur: cursor) -> int:
            share_horizon(cur)
            closed = closed_until(cur)
            late = [row for row in rows if closed is not None and row[1] < closed]
            good = [row for row in rows if closed is None or row[1] >= closed]
            reject(cur, "sample", [Rejected("closed", repr(row)) for row in late])
            if not good:
                return 0
            with _told_of_partitions():
                stored = execute_values(
                    cur,
                    f"INSERT INTO sample ({_LIST}) VALUES %s ON CONFLICT DO NOTHING RETURNING bin, at",  # noqa: S608 - fixed names
                    good,
                    page_size=1000,
                    fetch=True,
                )
            _mark(cur, sorted({(name, _hour(at)) for name, at in stored}))
            return len(stored)

        def store() -> int:
            self._make_partitions({_week(row[1]) for row in rows})
            return self._transaction(work, repeatable=True)

        return self._with_partitions(store) if rows else 0

    def copy_samples(
        self, rows: Iterable[Any], *, now: datetime | None = None, writers: int = 2, chunk: int = _CHUNK
    ) -> CopyReport:
        """Store any number of readings by COPY, as a stream: memory holds at most ``writers + 1`` chunks.

        Rows may come late, in any order, and more than once; the first reading of a bin and instant stays. What
        cannot be stored goes to ``rejected_row`` with its reason (see
        :func:`~tomas.store.encode.pack_samples`), and the rest is stored. Each chunk is a transaction, so after a
        failure the same rows can be given again. With several writers it is not determined which of two
        different readings of one instant comes first; one of them stays, the other is rejected.

        :param rows: :class:`~tomas.schema.Sample` or ``(bin, at, 12 amounts in the order of the columns)``.
        :param now: what the instants are compared with, five minutes allowed; None takes Postgres's clock.
        :param writers: connections that write at once.
        :param chunk: rows per transaction.
        :raises StoreUnavailable: Postgres is down or slow; chunks before are stored.
        """
        size = min(writers, self.settings.max_connections)
        return self._copy_parts(in_chunks(rows, chunk), pack_samples, now, size)

    def copy_arrays(
        self,
        blocks: Iterable[Mapping[str, SampleArrays]],
        *,
        now: datetime | None = None,
        writers: int = 2,
        chunk: int = _CHUNK,
    ) -> CopyReport:
        """Store any number of readings that are at hand as arrays, which takes a fraction of the time.

        What :meth:`copy_samples` says holds here, too. Each block maps bins to their readings, in any order, as
        :meth:`~tomas.store.readings.ReadingsMixin.sample_arrays` gives them; a long history is best given day by
        day, for memory holds a whole block.

        :raises DataError: arrays of other shapes; blocks before are stored.
        """
        parts = (part for block in blocks for part in slices(in_columns(block), chunk))
        return self._copy_parts(parts, pack_columns, now, min(writers, self.settings.max_connections))

    def _copy_parts(
        self, parts: Iterable[T], pack: Callable[..., Packed], now: datetime | None, writers: int
    ) -> CopyReport:
        known = self._transaction(known_bins)

        def store(part: T) -> CopyReport:
            return self._with_partitions(lambda: self._copy_part(partial(pack, part), now, known))

        report = CopyReport()
        for one in at_once(parts, writers, store):
            report += one
        if report.stored >= MANY_ROWS:
            self._transaction(lambda cur: refresh_statistics(cur, "sample", SAMPLE_FIELDS[:2]))
        return report

    def _copy_part(self, pack: Callable[..., Packed], now: datetime | None, known: frozenset[str]) -> CopyReport:
        def horizon(cur: cursor) -> tuple[datetime | None, datetime]:
            return closed_until(cur), now or server_clock(cur)

        closed, clock = self._transaction(horizon)
        packed = pack(closed_until=closed, latest=clock + CLOCK_TOLERANCE)
        self._make_partitions(set(packed.weeks))

        def work(cur: cursor) -> CopyReport:
            share_horizon(cur)
            later = closed_until(cur)
            chunk = packed if later == closed else pack(closed_until=later, latest=clock + CLOCK_TOLERANCE)
            stored, conflicts = _copy(cur, chunk) if chunk.rows else (0, [])
            refused = chunk.rejected + conflicts
            reject(cur, "sample", refused)
            _mark(cur, chunk.hours)
            reasons: dict[str, int] = {}
            for item in refused:
                reasons[item.reason] = reasons.get(item.reason, 0) + 1
            return CopyReport(
                given=chunk.given,
                stored=stored,
                duplicates=chunk.given - stored - len(refused),
                rejected=reasons,
                unknown_bins=sorted({name for name, _ in chunk.hours} - known),
            )

        return self._transaction(work, repeatable=True)

    # -- partitions ---------------------------------------------------------------------------------------

    def _make_partitions(self, weeks: set[datetime]) -> None:
        """Make those that this process has not seen, in a transaction of its own: it must not wait for a COPY."""
        missing = sorted(weeks - self._weeks)
        if missing:

            def work(cur: cursor) -> None:
                for week in missing:
                    cur.execute("SELECT make_sample_partition(%s)", (week,))

            self._transaction(work, repeatable=True)
            self._weeks.update(missing)

    def _with_partitions(self, store: Callable[[], R]) -> R:
        """Store; once more if retention has removed a partition between."""
        try:
            return store()
        except _PartitionGone:
            self._weeks.clear()
            return store()


class _PartitionGone(Exception):
    """A row has no partition; its transaction was rolled back."""


@contextmanager
def _told_of_partitions() -> Iterator[None]:
    try:
        yield
    except psycopg2.errors.CheckViolation as error:
        if error.diag.constraint_name is None:
            raise _PartitionGone from None
        raise


def in_chunks(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """The rows in lists of ``size``, the last one shorter."""
    source = iter(rows)
    while chunk := list(islice(source, size)):
        yield chunk


def at_once(parts: Iterable[T], workers: int, store: Callable[[T], R]) -> Iterator[R]:
    """Store parts on ``workers`` threads, reading no further ahead than they can take.

    The first error ends it; parts that were under way are finished.
    """
    room = threading.Semaphore(workers)
    pending: list[Future[R]] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="tomas-copy") as pool:
        for part in parts:
            room.acquire()
            while pending and pending[0].done():
                yield pending.pop(0).result()
            future = pool.submit(store, part)
            future.add_done_callback(lambda _: room.release())
            pending.append(future)
        for future in pending:
            yield future.result()


def share_horizon(cur: cursor) -> None:
    """Until the transaction ends, retention closes no further hours."""
    cur.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0))", (_HORIZON_LOCK,))


def move_horizon(cur: cursor) -> None:
    """Wait for all who write samples, and let others wait until the transaction ends."""
    cur.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (_HORIZON_LOCK,))


def closed_until(cur: cursor) -> datetime | None:
    """Hours before this instant are closed: retention may have removed their readings."""
    cur.execute("SELECT max(closed_until) FROM sample_horizon")
    row = cur.fetchone()
    return row[0] if row else None


def reject(cur: cursor, kind: str, rows: Sequence[Rejected]) -> None:
    """Keep what cannot be stored; the same row once."""
    if rows:
        execute_values(
            cur,
            "INSERT INTO rejected_row (digest, kind, reason, raw) VALUES %s ON CONFLICT (digest) DO NOTHING",
            sorted({(item.digest, kind, item.reason, item.raw) for item in rows}),
            page_size=500,
        )


def _copy(cur: cursor, chunk: Packed) -> tuple[int, list[Rejected]]:
    """COPY a chunk; the number stored, and readings that differ from a stored one of the same instant."""
    cur.execute("SAVEPOINT chunk")
    try:
        with _told_of_partitions():
            cur.copy_expert(
                f"COPY sample ({_LIST}) FROM STDIN (FORMAT binary)", io.BytesIO(chunk.payload), _AT_ONCE
            )
    except psycopg2.errors.UniqueViolation:
        # COPY knows no ON CONFLICT: what is partly there already goes through a table of this transaction.
        cur.execute("ROLLBACK TO SAVEPOINT chunk")
    else:
        return chunk.rows, []
    cur.execute("CREATE TEMP TABLE incoming (LIKE sample) ON COMMIT DROP")
    _send(cur, "incoming", chunk.payload)
    cur.execute("ANALYZE incoming")
    cur.execute("INSERT INTO sample SELECT * FROM incoming ORDER BY bin, at ON CONFLICT DO NOTHING")
    stored = int(cur.rowcount)
    cur.execute(
        f"SELECT {_LIST} FROM incoming WHERE EXISTS (SELECT 1 FROM sample AS old"  # noqa: S608 - fixed names
        " WHERE old.bin = incoming.bin AND old.at = incoming.at AND old.at BETWEEN %s AND %s"
        f" AND ({_qualified('old')}) IS DISTINCT FROM ({_qualified('incoming')}))",
        chunk.span,
    )
    return stored, [Rejected("conflict", repr(row)) for row in cur]


def _send(cur: cursor, table: str, payload: bytes) -> None:
    cur.copy_expert(f"COPY {table} ({_LIST}) FROM STDIN (FORMAT binary)", io.BytesIO(payload), _AT_ONCE)


def _qualified(table: str) -> str:
    return ", ".join(f"{table}.{name}" for name in SAMPLE_FIELDS[2:])


def _mark(cur: cursor, hours: Sequence[tuple[str, datetime]]) -> None:
    """Remember the hours whose rollups have to be made anew."""
    if hours:
        execute_values(cur, "INSERT INTO sample_stale (bin, hour) VALUES %s", hours, page_size=1000)


def refresh_statistics(cur: cursor, table: str, columns: Sequence[str] = ()) -> None:
    """Let Postgres look at a table now: until autovacuum comes by, its queries would go the wrong ways.

    :param columns: those that queries select by; none means all, which takes longer.
    """
    cur.execute("SET LOCAL statement_timeout = 0")
    # Each page that is looked at is written once more, hint bits and all; autovacuum looks closer in its own time.
    cur.execute("SET LOCAL default_statistics_target = 10")
    names = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns))) if columns else sql.SQL("")
    cur.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)) + names)


def known_bins(cur: cursor) -> frozenset[str]:
    """Names of all bins."""
    cur.execute("SELECT name FROM bin")
    return frozenset(row[0] for row in cur)


def server_clock(cur: cursor) -> datetime:
    """What time Postgres has."""
    cur.execute("SELECT clock_timestamp()")
    row = cur.fetchone()
    return row[0] if row else utc_now()


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _week(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=at.weekday())
