"""Hourly rollups of samples: always what a scan of the readings gives, made anew only where readings came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import count
from typing import Any

from psycopg2.extensions import cursor

from tomas.schema import RESOURCE_NAMES, Resources
from tomas.schema.base import Identifier, Schema, UtcDatetime
from tomas.store.arrays import SAMPLE_FIELDS, SAMPLE_PARTS
from tomas.store.connection import Database
from tomas.store.samples import closed_until

__all__ = ["HOURS_PER_BATCH", "HourOfBin", "RollupsMixin", "Spread"]

_LEVELS = (0.1, 0.5, 0.9)
HOURS_PER_BATCH = 400
"""Hours of one bin per transaction."""
_WIDTH = len(RESOURCE_NAMES)
_COLUMNS = "bin, hour, readings, first_at, last_at, low, mean, high, quantiles"


def _each(template: str) -> str:
    return "ARRAY[" + ", ".join(template.format(name) for name in SAMPLE_FIELDS[2:]) + "]"


# Sums of floating-point numbers depend on their order, so the order is fixed.
_AGGREGATES = ", ".join(
    (
        "count(*)::integer, min(at), max(at)",
        _each("min({0})"),
        _each("sum({0} ORDER BY at) / count(*)"),
        _each("max({0})"),
        _each(f"percentile_disc(ARRAY{list(_LEVELS)}) WITHIN GROUP (ORDER BY {{0}})"),
    )
)


class Spread(Schema):
    """How one amount lay within an hour: resource by resource."""

    low: Resources
    p10: Resources
    p50: Resources
    p90: Resources
    high: Resources
    mean: Resources


class HourOfBin(Schema):
    """The readings of one bin within one hour. Quantiles are values that were read, the nearest at or above."""

    bin: Identifier
    hour: UtcDatetime
    readings: int
    first_at: UtcDatetime
    last_at: UtcDatetime
    free: Spread
    background: Spread
    reserved: Spread


class RollupsMixin(Database):
    """Hourly rollups; they stay when retention removes the readings."""

    def refresh_rollups(self, *, batches: int | None = None) -> int:
        """Make the rollups anew of every hour that readings were added to; the number of hours of bins.

        Each batch of :data:`HOURS_PER_BATCH` is a transaction; ``batches`` limits their number.

        Late rows and duplicates change nothing but the hours they fall into. Several may call it at once: one
        works at a time. Hours that retention has closed stay as they are.
        """
        total = 0
        for _ in range(batches) if batches is not None else count():
            done = self._transaction(_refresh, repeatable=True)
            total += done
            if done < HOURS_PER_BATCH:
                break
        return total

    def rollups(self, start: datetime, end: datetime, *, bins: Sequence[str] | None = None) -> list[HourOfBin]:
        """Rollups of the hours that begin in ``[start, end)``, by bin and hour, as of the last refresh."""

        def work(cur: cursor) -> list[HourOfBin]:
            cur.execute(
                f"SELECT {_COLUMNS} FROM sample_rollup WHERE hour >= %(start)s AND hour < %(end)s"  # noqa: S608 - fixed names
                " AND (%(bins)s::text[] IS NULL OR bin = ANY(%(bins)s)) ORDER BY bin, hour",
                {"start": start, "end": end, "bins": None if bins is None else list(bins)},
            )
            return [_hour_of_bin(row) for row in cur]

        return self._transaction(work)

    def scan_hours(self, start: datetime, end: datetime) -> list[HourOfBin]:
        """What :meth:`rollups` should give, computed from the readings in ``[start, end)``; slow."""

        def work(cur: cursor) -> list[HourOfBin]:
            cur.execute("SET LOCAL statement_timeout = 0")
            cur.execute(
                f"SELECT bin, date_trunc('hour', at, 'UTC') AS hour, {_AGGREGATES} FROM sample"  # noqa: S608 - fixed names
                " WHERE at >= %s AND at < %s GROUP BY bin, hour ORDER BY bin, hour",
                (start, end),
            )
            return [_hour_of_bin(row) for row in cur]

        return self._transaction(work)


def refresh_before(cur: cursor, before: datetime) -> None:
    """Make all rollups that wait of hours that begin before an instant, in this transaction."""
    while _refresh(cur, before) == HOURS_PER_BATCH:
        pass


def _refresh(cur: cursor, before: datetime | None = None) -> int:
    """One batch; the number of hours of bins that were waiting."""
    cur.execute("SET LOCAL statement_timeout = 0")  # a batch of long hours takes its time
    cur.execute("SELECT pg_advisory_xact_lock(hashtextextended('tomas:rollup', 0))")
    # The marks go first, by a statement of their own: the next one sees at least the readings they stand for.
    cur.execute(
        "DELETE FROM sample_stale WHERE (bin, hour) IN (SELECT DISTINCT bin, hour FROM sample_stale"
        " WHERE %(before)s::timestamptz IS NULL OR hour < %(before)s ORDER BY hour, bin LIMIT %(batch)s)"
        " RETURNING bin, hour",
        {"batch": HOURS_PER_BATCH, "before": before},
    )
    waiting = sorted(set(cur.fetchall()))
    closed = closed_until(cur)
    open_hours = [(name, hour) for name, hour in waiting if closed is None or hour >= closed]
    if open_hours:
        values = {"bins": [name for name, _ in open_hours], "hours": [hour for _, hour in open_hours]}
        cur.execute(
            "DELETE FROM sample_rollup WHERE (bin, hour) IN"
            " (SELECT * FROM unnest(%(bins)s::text[], %(hours)s::timestamptz[]))",
            values,
        )
        # Aggregated inside the LATERAL, so that each hour is an index scan of its own whatever the statistics say.
        cur.execute(
            f"INSERT INTO sample_rollup ({_COLUMNS}) SELECT stale.name, stale.hour, found.*"  # noqa: S608 - fixed names
            " FROM unnest(%(bins)s::text[], %(hours)s::timestamptz[]) AS stale (name, hour)"
            f" CROSS JOIN LATERAL (SELECT {_AGGREGATES} FROM sample WHERE bin = stale.name AND at >= stale.hour"
            " AND at < stale.hour + interval '1 hour') AS found (readings) WHERE found.readings > 0",
            values,
        )
    return len(waiting)


def _hour_of_bin(row: Sequence[Any]) -> HourOfBin:
    name, hour, readings, first_at, last_at, low, mean, high, quantiles = row
    spreads = {}
    for i, part in enumerate(SAMPLE_PARTS):
        own = slice(i * _WIDTH, (i + 1) * _WIDTH)
        by_level = list(zip(*quantiles[own], strict=True))
        spreads[part] = Spread(
            low=_resources(low[own]),
            p10=_resources(by_level[0]),
            p50=_resources(by_level[1]),
            p90=_resources(by_level[2]),
            high=_resources(high[own]),
            mean=_resources(mean[own]),
        )
    return HourOfBin(bin=name, hour=hour, readings=readings, first_at=first_at, last_at=last_at, **spreads)


def _resources(values: Sequence[float]) -> Resources:
    return Resources(**dict(zip(RESOURCE_NAMES, values, strict=True)))
