"""Samples by COPY, as rows and as arrays: what comes out is what went in."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.integration.store.readings import (
    AMOUNTS,
    DAY,
    NOW,
    SECOND,
    Row,
    arrays,
    copy,
    copy_arrays,
    query,
    row,
    stored,
)
from tomas.errors import DataError, StoreError, StoreUnavailable
from tomas.schema import Resources, Sample
from tomas.store import Store, cite_samples

PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'sample'::regclass"


def test_rows_come_out_as_they_went_in_whatever_the_chunks(store: Store) -> None:
    rows = [row(NOW - i * SECOND, i / 7, name) for i in range(500) for name in ("small_1", "large.2_b")]
    report = copy(store, *rows, chunk=64, writers=3)
    assert report.stored == 1000
    assert stored(store) == sorted(rows)
    assert copy(store, *rows, chunk=300).duplicates == 1000, "the same again adds nothing"
    assert stored(store) == sorted(rows)


def test_samples_and_text_of_numbers_are_rows_too(store: Store) -> None:
    sample = Sample(
        bin="small_1", at=NOW, free=Resources(cpu_cores=0.1), background=Resources(), reserved=Resources()
    )
    other = ("small_1", NOW - SECOND, "0.25", *["0"] * 11)
    assert copy(store, sample, other).stored == 2
    assert store.recent_samples(NOW) == [sample]
    assert stored(store)[0][2] == 0.25


def test_arrays_hold_the_same_readings(store: Store) -> None:
    rows = [
        row(NOW - i * SECOND - timedelta(microseconds=i), i / 3, name) for i in range(40) for name in ("b_2", "a_1")
    ]
    copy(store, *rows)
    since, until = NOW - 30 * SECOND, NOW - 10 * SECOND
    for bins in (None, ["b_2", "never_1"], ["a_1", "b_2"], []):
        wanted = [item for item in sorted(rows) if since <= item[1] <= until and (bins is None or item[0] in bins)]
        found = store.sample_arrays(since, until=until, bins=bins)
        flat = [
            (name, datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at), *free, *background, *reserved)
            for name, own in found.items()
            for at, free, background, reserved in zip(*(part.tolist() for part in own), strict=True)
        ]
        assert flat == wanted
        samples = store.recent_samples(since, until=until, bins=bins)
        assert [(item.bin, item.at, *item.free, *item.background, *item.reserved) for item in samples] == wanted
        for item in samples:
            assert item == Sample.model_validate_json(item.model_dump_json()) == pickle.loads(pickle.dumps(item))  # noqa: S301
            assert item.free.minus(item.free) == Resources()
            assert item.model_fields_set == set(Sample.model_fields)


def test_rows_are_read_no_further_ahead_than_they_are_stored(store: Store) -> None:
    seen = itertools.count()
    given = 0

    def rows() -> Iterator[Row]:
        nonlocal given
        for given in seen:
            if given == 5000:
                raise RuntimeError("the source broke")
            assert given - len(stored(store)) <= 4 * 500 if given % 1000 == 0 else True
            yield row(NOW - given * SECOND)

    with pytest.raises(RuntimeError, match="the source broke"):
        store.copy_samples(rows(), now=NOW, chunk=500, writers=2)
    assert len(stored(store)) == 5000, "what was read before is stored"


def test_a_failure_says_so_and_the_same_rows_can_be_given_again(store: Store, dsn: str) -> None:
    rows = [row(NOW - i * SECOND) for i in range(1000)]

    def cut_off() -> Iterator[Row]:
        yield from rows[:500]
        query(dsn, "ALTER TABLE sample RENAME TO elsewhere")
        yield from rows[500:]

    try:
        with pytest.raises(StoreError):
            store.copy_samples(cut_off(), now=NOW, chunk=100, writers=1)
    finally:
        query(dsn, "ALTER TABLE elsewhere RENAME TO sample")
    report = copy(store, *rows)
    assert report.stored + report.duplicates == 1000
    assert stored(store) == sorted(rows)


def test_partitions_are_made_as_weeks_are_needed(store: Store, dsn: str) -> None:
    monday = datetime(2029, 3, 5, tzinfo=UTC)
    before = {name for (name,) in query(dsn, PARTITIONS)}
    copy(store, row(monday), row(monday - timedelta(microseconds=1)), row(monday + 7 * DAY - SECOND))
    made = {name for (name,) in query(dsn, PARTITIONS)} - before
    assert made == {"sample_20290226", "sample_20290305"}
    query(dsn, "DROP TABLE sample_20290305")
    assert copy(store, row(monday + SECOND)).stored == 1, "a process that knew the partition finds it gone"
    query(dsn, "DROP TABLE sample_20290305")
    assert store.add_samples([Sample(**dict(zip(("bin", "at"), row(monday), strict=False)), **AMOUNTS)]) == 1


def test_postgres_away_is_told_and_nothing_is_half_stored() -> None:
    with Store("postgresql://nobody:x@127.0.0.1:1/nowhere") as store, pytest.raises(StoreUnavailable):
        store.copy_samples([row(NOW)], now=NOW)


def test_sizes_and_spans_of_the_tables(store: Store) -> None:
    copy(store, row(NOW), row(NOW - 20 * DAY))
    stats = {item.name: item for item in store.table_stats()}
    assert (stats["sample"].first_at, stats["sample"].last_at) == (NOW - 20 * DAY, NOW)
    assert stats["sample"].partitions >= 2
    assert stats["sample"].bytes > 0
    assert "sample_20300101" not in stats
    assert {"plan", "execution_record", "rejected_row"} <= set(stats)


def test_arrays_go_in_as_rows_do(store: Store) -> None:
    rows = [row(NOW - i * SECOND, i / 7, name) for i in range(500) for name in ("small_1", "large.2_b")]
    report = copy_arrays(store, *rows[::-1], chunk=64, writers=3)
    assert (report.stored, report.unknown_bins) == (1000, ["large.2_b", "small_1"])
    assert stored(store) == sorted(rows)
    assert copy(store, *rows).duplicates == 1000, "as rows they are the same readings"
    late = row(NOW - 7 * SECOND / 2)
    assert copy_arrays(store, *rows, late, chunk=300).stored == 1, "what is partly stored is filled up"
    kept = store.sample_arrays(NOW - DAY)
    again = store.copy_arrays(({name: kept[name]} for name in kept), now=NOW)
    assert (again.given, again.duplicates) == (1001, 1001), "what is read can be written"


@pytest.mark.parametrize(
    "wrong",
    [
        {"small_1": arrays([row(NOW)])["small_1"]._replace(free=np.zeros((1, 3)))},
        {"small_1": arrays([row(NOW)])["small_1"]._replace(background=np.zeros((2, 4)))},
        {"small_1": arrays([row(NOW)])["small_1"]._replace(at_us=np.array([1.5]))},
        {7: arrays([row(NOW)])["small_1"]},
    ],
)
def test_arrays_of_other_shapes_are_refused_and_the_blocks_before_stored(store: Store, wrong: Any) -> None:
    with pytest.raises(DataError):
        store.copy_arrays([arrays([row(NOW)]), wrong], now=NOW)
    assert stored(store) == [row(NOW)]


def test_arrays_are_cited_as_objects_are(store: Store) -> None:
    copy(store, *(row(NOW - i * SECOND / 7, i / 3, name) for i in range(40) for name in ("b_2", "a_1")))
    for bins in (["b_2", "a_1"], ["never_1"]):
        objects = store.recent_samples(NOW - DAY, until=NOW, bins=bins)
        found = store.sample_arrays(NOW - DAY, until=NOW, bins=bins)
        assert cite_samples(found, NOW - DAY, NOW) == cite_samples(objects, NOW - DAY, NOW)
