"""Hourly rollups equal the scan of the readings, whatever comes late or twice."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import psycopg2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.store.readings import (
    DAY,
    HOUR,
    NOW,
    SECOND,
    Row,
    copy,
    query,
    row,
)
from tomas.schema import RESOURCE_NAMES
from tomas.store import Store

OFFSETS = st.integers(0, 4 * 3600)
AMOUNT = st.one_of(st.floats(0, 1e6), st.sampled_from([0.0, 0.1, 0.2, 1e-300, 9e14]))
READINGS = st.lists(st.tuples(st.sampled_from(["a", "b"]), OFFSETS, AMOUNT), max_size=30)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(READINGS, min_size=1, max_size=4))
def test_rollups_equal_the_scan_whatever_comes_late_or_twice(
    store: Store, dsn: str, batches: list[list[tuple[str, int, float]]]
) -> None:
    query(dsn, "TRUNCATE sample, sample_rollup, sample_stale, rejected_row")
    kept: dict[tuple[str, datetime], Row] = {}
    for batch in batches:
        rows = [row(NOW - 4 * HOUR + offset * SECOND, value, name) for name, offset, value in batch]
        copy(store, *rows)
        for item in rows:
            kept.setdefault(item[:2], item)
        store.refresh_rollups()
        found = store.rollups(NOW - DAY, NOW + DAY)
        assert found == store.scan_hours(NOW - DAY, NOW + DAY)
        assert [_plain(item) for item in found] == _by_hand(kept)
    assert store.refresh_rollups() == 0


def _plain(item: Any) -> tuple[Any, ...]:
    spreads = (item.free, item.background, item.reserved)
    names = ("low", "p10", "p50", "p90", "high", "mean")
    return (
        *(item.bin, item.hour, item.readings, item.first_at, item.last_at),
        *([value for spread in spreads for value in getattr(spread, name)] for name in names),
    )


def _by_hand(kept: dict[tuple[str, datetime], Row]) -> list[tuple[Any, ...]]:
    """The rollups by plain Python, amount by amount in the order of time."""
    groups: dict[tuple[str, datetime], list[Row]] = {}
    for item in sorted(kept.values()):
        groups.setdefault((item[0], item[1].replace(minute=0, second=0)), []).append(item)
    result = []
    for (name, hour), rows in sorted(groups.items()):
        columns = [[item[2 + i] for item in rows] for i in range(3 * len(RESOURCE_NAMES))]
        n = len(rows)
        ranked = [sorted(column) for column in columns]
        at = [[column[max(0, math.ceil(level * n - 1e-12) - 1)] for column in ranked] for level in (0.1, 0.5, 0.9)]
        result.append(
            (
                *(name, hour, n, rows[0][1], rows[-1][1]),
                *([column[0] for column in ranked], *at, [column[-1] for column in ranked]),
                [_sum(column) / n for column in columns],
            )
        )
    return result


def _sum(values: list[float]) -> float:
    total = 0.0
    for value in values:  # sum() of some Pythons compensates
        total += value
    return total


def test_a_mark_set_during_a_refresh_is_not_lost(store: Store, dsn: str) -> None:
    """The reading of a transaction that commits after the refresh gets into the next one."""
    copy(store, row(NOW))
    link = psycopg2.connect(dsn, options="-c search_path=tomas")
    with link.cursor() as cur:
        cur.execute(
            "INSERT INTO sample SELECT bin, at - interval '1 h', 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM sample"
        )
        cur.execute("INSERT INTO sample_stale (bin, hour) SELECT bin, date_trunc('hour', at) FROM sample")
        store.refresh_rollups()
    link.commit()
    link.close()
    assert store.refresh_rollups() >= 1
    assert store.rollups(NOW - DAY, NOW + DAY) == store.scan_hours(NOW - DAY, NOW + DAY)
    assert [item.readings for item in store.rollups(NOW - DAY, NOW + DAY)] == [1, 1]
