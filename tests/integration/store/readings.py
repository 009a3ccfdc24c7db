"""Rows of samples for the tests of history, and looks past the store's methods."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg2

from tomas.schema import Resources
from tomas.store import CopyReport, SampleArrays, Store

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
AMOUNTS = {"free": Resources(), "background": Resources(), "reserved": Resources()}
Row = tuple[Any, ...]


def row(at: datetime, value: float = 1.0, name: str = "small_1") -> Row:
    return (name, at, *(float(value + i) for i in range(12)))


def copy(store: Store, *rows: Any, **options: Any) -> CopyReport:
    report = store.copy_samples(rows, now=options.pop("now", NOW), **options)
    assert report.given == len(rows) == report.stored + report.duplicates + sum(report.rejected.values())
    return report


def arrays(rows: Iterable[Row]) -> dict[str, SampleArrays]:
    """The same rows as arrays, in the order in which they stand."""
    by_bin: dict[str, list[Row]] = {}
    for item in rows:
        by_bin.setdefault(item[0], []).append(item)
    unix = datetime(1970, 1, 1, tzinfo=UTC)
    return {
        name: SampleArrays(
            np.array([(item[1] - unix) // timedelta(microseconds=1) for item in found]),
            *(np.array([item[i : i + 4] for item in found], dtype=np.float64) for i in (2, 6, 10)),
        )
        for name, found in by_bin.items()
    }


def copy_arrays(store: Store, *rows: Row, **options: Any) -> CopyReport:
    report = store.copy_arrays([arrays(rows)], now=options.pop("now", NOW), **options)
    assert report.given == len(rows) == report.stored + report.duplicates + sum(report.rejected.values())
    return report


def query(dsn: str, text: str, *values: Any) -> list[tuple[Any, ...]]:
    link = psycopg2.connect(dsn, options="-c search_path=tomas -c timezone=UTC")
    try:
        with link, link.cursor() as cur:
            cur.execute(text, values)
            return cur.fetchall() if cur.description else []
    finally:
        link.close()


def stored(store: Store) -> list[Row]:
    return [
        (item.bin, item.at, *item.free, *item.background, *item.reserved)
        for item in store.recent_samples(NOW - 400 * DAY)
    ]
