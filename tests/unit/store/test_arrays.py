"""Readings as rows and as arrays are the same readings, whatever their order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tomas.store.arrays import SampleArrays, by_bin, in_columns, in_order, instant, microseconds, slices
from tomas.store.encode import Rejected, pack_columns, pack_samples

NOW = datetime(2030, 1, 1, tzinfo=UTC)
UNIX = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
Row = tuple[Any, ...]

AMOUNT = st.one_of(st.floats(0, 1e14), st.sampled_from([0.0, -1.0, float("nan"), float("inf")]))
AT = st.one_of(
    st.integers(-3_600_000_000, 3_600_000_000).map(lambda us: NOW + us * MICROSECOND),
    st.sampled_from([NOW, NOW - timedelta(seconds=5), UNIX]),
)
ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b_2", "no name"]), AT, st.lists(AMOUNT, min_size=12, max_size=12)).map(
        lambda parts: (parts[0], parts[1], *parts[2])
    ),
    min_size=1,
    max_size=40,
)


def arrays(rows: list[Row]) -> dict[str, SampleArrays]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return {
        name: SampleArrays(
            np.array([(row[1] - UNIX) // MICROSECOND for row in own]),
            *(np.array([row[i : i + 4] for row in own]) for i in (2, 6, 10)),
        )
        for name, own in found.items()
    }


def by_text(rejected: list[Rejected]) -> list[tuple[str, str]]:
    return sorted((item.reason, item.raw) for item in rejected)


@given(ROWS)
def test_rows_and_arrays_are_packed_alike(rows: list[Row]) -> None:
    """The order between bins is not kept in arrays; that within a bin decides which of two readings is first."""
    limits = {"closed_until": NOW - timedelta(minutes=50), "latest": NOW + timedelta(minutes=5)}
    one, other = pack_samples(rows, **limits), pack_columns(in_columns(arrays(rows)), **limits)
    assert one.payload == other.payload
    assert by_text(one.rejected) == by_text(other.rejected)
    assert (one.given, one.rows, one.hours, one.weeks, one.span) == (
        *(other.given, other.rows, other.hours, other.weeks, other.span),
    )
    assert one.given == len(rows) >= one.rows + len(one.rejected)


@given(ROWS, st.integers(1, 7))
def test_parts_and_order_lose_nothing(rows: list[Row], size: int) -> None:
    columns = in_columns(arrays(rows))
    parts = list(slices(columns, size))
    assert {len(part.times) for part in parts[:-1]} <= {size}
    assert [int(time) for part in parts for time in part.times] == columns.times.tolist()
    ordered = in_order(columns)
    keys = list(zip(ordered.codes.tolist(), ordered.times.tolist(), strict=True))
    assert keys == sorted(keys)
    assert in_order(ordered) is ordered
    for name, own in by_bin(ordered).items():
        given = sorted((row for row in rows if row[0] == name), key=lambda row: row[1])
        np.testing.assert_array_equal(np.concatenate(own[1:], axis=1), np.array([row[2:] for row in given]))
        assert [instant(us + microseconds(UNIX)) for us in own.at_us.tolist()] == [row[1] for row in given]
