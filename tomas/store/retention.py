"""How long history is kept: readings that no stored plan cites go, their rollups stay."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import cursor

from tomas.schema.base import Schema, UtcDatetime
from tomas.store.connection import SCHEMA
from tomas.store.rollups import RollupsMixin, refresh_before
from tomas.store.samples import move_horizon

__all__ = ["Pruned", "RetentionMixin", "TableStats"]

_WEEK = timedelta(days=7)
_CITED = "SELECT range_agg(tstzrange(samples_from, samples_until, '[]')) FROM plan WHERE samples_from IS NOT NULL"


class Pruned(Schema):
    """What retention removed."""

    samples: int = 0
    spared: int = 0
    """Readings before the limit that stored plans cite."""
    partitions: int = 0
    """Weeks of readings that were dropped whole."""
    records: int = 0
    plans: int = 0
    rejected: int = 0


class TableStats(Schema):
    """One table of the store, with its partitions and indexes."""

    name: str
    rows: int
    """As Postgres estimates them."""
    bytes: int
    partitions: int = 0
    first_at: UtcDatetime | None = None
    last_at: UtcDatetime | None = None


class RetentionMixin(RollupsMixin):
    """Removing old history, and saying how much there is."""

    def delete_samples(self, before: datetime) -> int:
        """Remove readings taken before ``before`` that no plan cites; see :meth:`prune_samples`."""
        return self.prune_samples(before).samples

    def prune_samples(self, before: datetime, *, dry_run: bool = False) -> Pruned:
        """Remove readings and refused rows older than ``before``, but no reading that a stored plan cites.

        The rollups are brought up to date first and stay. The hours are closed then: a reading that comes
        later for one of them is refused, for its rollup could not be made again. Whole weeks that nothing
        cites are dropped as partitions, where nobody reads them just now; otherwise the next call does it.

        :param dry_run: count only.
        """
        if dry_run:
            return self._transaction(lambda cur: _count(cur, before))
        # Most of the work comes before the lock that makes the samplers wait.
        self.refresh_rollups()
        self._transaction(lambda cur: _close(cur, before), repeatable=True)
        samples = partitions = 0
        for name, monday in self._transaction(_weeks):
            if monday + _WEEK <= before:
                rows = self._transaction(partial(_drop_week, name=name, monday=monday))
                if rows is not None:
                    samples += rows
                    partitions += 1

        def work(cur: cursor) -> Pruned:
            cur.execute("SET LOCAL statement_timeout = 0")
            cur.execute(f"DELETE FROM sample WHERE at < %s AND NOT coalesce(at <@ ({_CITED}), false)", (before,))  # noqa: S608 - fixed
            deleted = int(cur.rowcount)
            cur.execute(  # where the hour that goes on lost readings
                "INSERT INTO sample_stale (bin, hour) SELECT bin, hour FROM sample_rollup WHERE hour < %s"
                " AND hour >= (SELECT max(closed_until) FROM sample_horizon)",
                (before,),
            )
            cur.execute("SELECT count(*) FROM sample WHERE at < %s", (before,))
            spared = int((cur.fetchone() or (0,))[0])
            cur.execute("DELETE FROM rejected_row WHERE rejected_at < %s", (before,))
            return Pruned(
                samples=samples + deleted, spared=spared, partitions=partitions, rejected=int(cur.rowcount)
            )

        return self._transaction(work, repeatable=True)

    def prune_plans(self, before: datetime, *, dry_run: bool = False) -> Pruned:
        """Remove plans stored before ``before`` that have ended and hold nothing; what they cite is free then.

        Their execution records stay.
        """
        where = (
            "stored_at < %(before)s AND status NOT IN ('released', 'running') AND NOT EXISTS (SELECT 1 FROM"
            " reservation WHERE reservation.plan_id = plan.id AND state = 'active')"
        )
        return Pruned(plans=self._prune("plan", where, before, dry_run=dry_run))

    def prune_records(self, before: datetime, *, dry_run: bool = False) -> Pruned:
        """Remove tries that ended before ``before``, unless their plan is stored."""
        where = "ended_at < %(before)s AND NOT EXISTS (SELECT 1 FROM plan WHERE plan.id = execution_record.plan_id)"
        return Pruned(records=self._prune("execution_record", where, before, dry_run=dry_run))

    def _prune(self, table: str, where: str, before: datetime, *, dry_run: bool) -> int:
        def work(cur: cursor) -> int:
            cur.execute("SET LOCAL statement_timeout = 0")
            verb = "SELECT 1" if dry_run else "DELETE"
            cur.execute(f"{verb} FROM {table} WHERE {where}", {"before": before})
            return int(cur.rowcount)

        return self._transaction(work)

    def refused_rows(self) -> dict[str, int]:
        """How many refused rows ``rejected_row`` holds, by kind and reason, the most frequent first."""
        return self._transaction(_refused)

    def table_stats(self) -> list[TableStats]:
        """Every table, the largest first; the span in time of samples, rollups and records."""

        def work(cur: cursor) -> list[TableStats]:
            cur.execute(
                """
                SELECT root.relname, sum(greatest(part.reltuples, 0)) FILTER (WHERE part.relkind = 'r')::bigint,
                       sum(pg_total_relation_size(part.oid))::bigint,
                       count(*) FILTER (WHERE part.oid <> root.oid)
                FROM pg_class AS root JOIN pg_namespace AS space ON space.oid = root.relnamespace
                JOIN LATERAL (
                    SELECT root.oid UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = root.oid
                ) AS member (oid) ON true
                JOIN pg_class AS part ON part.oid = member.oid
                WHERE space.nspname = %s AND root.relkind IN ('r', 'p') AND NOT root.relispartition
                GROUP BY root.relname ORDER BY 3 DESC, 1
                """,
                (SCHEMA,),
            )
            found = cur.fetchall()
            spans = {}
            for table, column in (("sample", "at"), ("sample_rollup", "hour"), ("execution_record", "ended_at")):
                cur.execute(f"SELECT min({column}), max({column}) FROM {table}")  # noqa: S608 - fixed names
                spans[table] = cur.fetchone() or (None, None)
            return [
                TableStats(
                    name=name,
                    rows=rows,
                    bytes=size,
                    partitions=parts,
                    first_at=spans.get(name, (None, None))[0],
                    last_at=spans.get(name, (None, None))[1],
                )
                for name, rows, size, parts in found
            ]

        return self._transaction(work)


def _refused(cur: cursor) -> dict[str, int]:
    cur.execute("SELECT kind || ': ' || reason, count(*) FROM rejected_row GROUP BY 1 ORDER BY 2 DESC, 1")
    return dict(cur.fetchall())


def _count(cur: cursor, before: datetime) -> Pruned:
    cur.execute("SET LOCAL statement_timeout = 0")
    cur.execute(
        f"SELECT count(*), count(*) FILTER (WHERE at <@ ({_CITED})) FROM sample WHERE at < %s",  # noqa: S608 - fixed
        (before,),
    )
    found, spared = cur.fetchone() or (0, 0)
    cur.execute("SELECT count(*) FROM rejected_row WHERE rejected_at < %s", (before,))
    return Pruned(samples=found - spared, spared=spared, rejected=int((cur.fetchone() or (0,))[0]))


def _close(cur: cursor, before: datetime) -> None:
    """Close the hours up to ``before``, the one it lies in too unless that still goes on."""
    move_horizon(cur)
    refresh_before(cur, before)
    hour = before.replace(minute=0, second=0, microsecond=0)
    cur.execute(
        "INSERT INTO sample_horizon (closed_until) SELECT CASE WHEN %(next)s <= clock_timestamp() THEN %(next)s"
        " ELSE %(hour)s END::timestamptz ON CONFLICT (single) DO UPDATE"
        " SET closed_until = greatest(sample_horizon.closed_until, excluded.closed_until)",
        {"hour": hour, "next": hour if hour == before else hour + timedelta(hours=1)},
    )


def _weeks(cur: cursor) -> list[tuple[str, datetime]]:
    """Names of the partitions and the Mondays they begin with."""
    cur.execute(
        "SELECT part.relname, to_date(right(part.relname, 8), 'YYYYMMDD')::timestamptz"
        " FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid"
        " WHERE inhparent = 'sample'::regclass ORDER BY 2"
    )
    return cur.fetchall()


def _drop_week(cur: cursor, name: str, monday: datetime) -> int | None:
    """Drop a partition that no plan cites; the number of readings, or None if it stays."""
    cur.execute(
        "SELECT 1 FROM plan WHERE samples_from < %s AND samples_until >= %s LIMIT 1", (monday + _WEEK, monday)
    )
    if cur.fetchone() is not None:
        return None
    cur.execute("SET LOCAL statement_timeout = 0")
    cur.execute("SET LOCAL lock_timeout = '1s'")  # whoever waits for this lock makes everybody else wait, too
    table = sql.Identifier(name)
    try:
        cur.execute(sql.SQL("SELECT count(*) FROM {}").format(table))
        rows = int((cur.fetchone() or (0,))[0])
        cur.execute(sql.SQL("DROP TABLE {}").format(table))
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.UndefinedTable):
        return None
    return rows
