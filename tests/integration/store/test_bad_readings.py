"""Bad readings: late, twice, from bad clocks, of vanished bins; each is handled as documented, none is lost."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from tests.integration.store.readings import (
    DAY,
    HOUR,
    NOW,
    SECOND,
    arrays,
    copy,
    copy_arrays,
    query,
    row,
    stored,
)
from tomas.schema import Resources, WorkerClass
from tomas.schema.capacity import Bin
from tomas.store import Store

BAD: dict[str, list[Any]] = {
    "not a number": [(*row(NOW)[:5], math.nan, *row(NOW)[6:]), (*row(NOW)[:5], None, *row(NOW)[6:])],
    "negative": [row(NOW, -0.5), row(NOW, -math.inf)],
    "too large": [row(NOW, math.inf), row(NOW, 1e15)],
    "clock unset": [row(datetime(1970, 1, 1, 0, 3, tzinfo=UTC))],
    "future": [row(NOW + timedelta(minutes=6)), row(datetime(9999, 12, 31, tzinfo=UTC))],
    "name": [row(NOW, name="no such\0name"), row(NOW, name=""), row(NOW, name="机器"), row(NOW, name="a" * 200)],
    "malformed": [
        row(NOW)[:-1], row(NOW.replace(tzinfo=None)), ("small_1", "2030-01-01", *[1.0] * 12), ("\ud800", NOW),
        ("small_1", NOW, *["many"] * 12), (["small_1"], NOW, *[1.0] * 12), (*row(NOW), 1.0), None, 7, {}, "small_1",
    ],
}  # fmt: skip


def test_late_rows_fill_a_chunk_that_is_partly_stored(store: Store) -> None:
    copy(store, *(row(NOW - i * SECOND) for i in range(0, 100, 2)))
    report = copy(store, *(row(NOW - i * SECOND) for i in range(100)))
    assert (report.stored, report.duplicates) == (50, 50)
    assert len(stored(store)) == 100


@pytest.mark.parametrize("reason", BAD)
def test_bad_rows_are_kept_apart_with_the_reason_and_the_others_stored(store: Store, dsn: str, reason: str) -> None:
    good = [row(NOW - (i + 1) * SECOND) for i in range(3)]
    bad = BAD[reason]
    report = copy(store, good[0], *bad, *good[1:])
    assert report.rejected == {reason: len(bad)}
    assert stored(store) == sorted(good)
    kept = query(dsn, "SELECT reason, raw FROM rejected_row")
    assert len(kept) == len(bad)
    assert {item[0] for item in kept} == {reason}
    copy(store, *bad)
    assert len(query(dsn, "SELECT 1 FROM rejected_row")) == len(bad), "the same again adds nothing"


@pytest.mark.parametrize("reason", ["not a number", "negative", "too large", "clock unset", "future", "name"])
def test_bad_readings_in_arrays_are_the_same_rows_kept_apart(store: Store, dsn: str, reason: str) -> None:
    good = [row(NOW - (i + 1) * SECOND) for i in range(3)]
    bad = [item for item in BAD[reason] if None not in item and item[0]]
    assert copy_arrays(store, good[0], *bad, *good[1:]).rejected == {reason: len(bad)}
    assert stored(store) == sorted(good)
    copy(store, *bad)
    assert len(query(dsn, "SELECT 1 FROM rejected_row")) == len(bad), "given as rows they are the same"


def test_instants_beyond_any_calendar_are_kept_apart(store: Store, dsn: str) -> None:
    own = arrays([row(NOW), row(NOW)])["small_1"]
    report = store.copy_arrays([{"small_1": own._replace(at_us=np.array([2**62, -(2**62)]))}], now=NOW)
    assert report.rejected == {"clock unset": 1, "future": 1}
    assert len(query(dsn, "SELECT 1 FROM rejected_row")) == 2


def test_local_time_that_a_clock_shows_twice_is_two_instants(store: Store) -> None:
    twice = datetime(2029, 10, 28, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    assert copy(store, row(twice, 1), row(twice.replace(fold=1), 2)).stored == 2
    assert [(item[1].hour, item[2]) for item in stored(store)] == [(0, 1.0), (1, 2.0)]


def test_gaps_stay_gaps(store: Store) -> None:
    """A sampler was away for three hours and started anew: nothing is made up, the rollups count what is there."""
    before = [row(NOW - 4 * HOUR + i * 5 * SECOND) for i in range(10)]
    after = [row(NOW - 40 * SECOND + i * 5 * SECOND) for i in range(8)]
    copy(store, *before)
    assert copy(store, *before[-2:], *after).duplicates == 2, "as a restarted sampler repeats its last instants"
    store.refresh_rollups()
    assert stored(store) == before + after
    found = {item.hour: item.readings for item in store.rollups(NOW - DAY, NOW + DAY)}
    assert found == {NOW - 4 * HOUR: 10, NOW - HOUR: 8}


def test_of_two_readings_of_one_instant_the_first_stays_and_the_other_is_kept_apart(store: Store, dsn: str) -> None:
    assert copy(store, row(NOW, 1), row(NOW, 1), row(NOW, 2)).rejected == {"conflict": 1}
    report = copy(store, row(NOW, 3), row(NOW - SECOND, 3), row(NOW, 1))
    assert (report.stored, report.rejected) == (1, {"conflict": 2}), "the chunk disagrees in itself, too"
    assert [item[2] for item in stored(store)] == [3.0, 1.0]
    kept = [raw for (raw,) in query(dsn, "SELECT raw FROM rejected_row ORDER BY raw")]
    assert [text.split("utc), ")[1].split(",")[0] for text in kept] == ["1.0", "2.0", "3.0"]


def test_a_clock_that_was_set_back_repeats_instants_and_loses_nothing(store: Store) -> None:
    forward = [row(NOW - 60 * SECOND + i * 5 * SECOND, i) for i in range(12)]
    again = [row(NOW - 30 * SECOND + i * 5 * SECOND, 100 + i) for i in range(9)]
    copy(store, *forward)
    report = copy(store, *again, now=NOW + 60 * SECOND)
    assert (report.stored, report.rejected) == (3, {"conflict": 6}), "six instants had a reading"
    assert [item[2] for item in stored(store)][-4:] == [11.0, 106.0, 107.0, 108.0]


def test_a_reading_ahead_of_the_clock_is_a_matter_of_minutes(store: Store) -> None:
    report = copy(store, row(NOW + timedelta(minutes=4, seconds=59)), row(NOW + timedelta(minutes=5, seconds=1)))
    assert report.rejected == {"future": 1}
    ahead = datetime.now(UTC) + timedelta(hours=1)
    assert store.copy_samples([row(ahead)]).rejected == {"future": 1}, "by Postgres's own clock"


def test_bins_that_nobody_knows_are_stored_and_named(store: Store) -> None:
    one = Resources(cpu_cores=1)
    place = Bin(name="small_1", worker_class="small", queue="q", pool="p", capacity=one)
    store.upsert_worker_classes([WorkerClass(name="small", capacity=one, bins=[place])])
    assert copy(store, row(NOW), row(NOW, name="gone_1")).unknown_bins == ["gone_1"]
    store.upsert_worker_classes([], prune=True)
    assert copy(store, row(NOW - SECOND)).unknown_bins == ["small_1"], "a bin vanished; its history stays"
    assert len(store.recent_samples(NOW - DAY, bins=["small_1"])) == 2
    assert len(store.recent_samples(NOW - DAY, bins=["small_1", "never_1"])) == 2
