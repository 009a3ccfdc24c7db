"""Samples by COPY: late, twice, from bad clocks, of vanished bins; rollups as the scan; what retention spares."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tomas.errors import StoreError, StoreUnavailable
from tomas.schema import RESOURCE_NAMES, Plan, Resources, Sample, WorkerClass
from tomas.schema.capacity import Bin
from tomas.store import CopyReport, Store, cite_samples
from tomas.store.migrations import load_migrations

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
Row = tuple[Any, ...]


def row(at: datetime, value: float = 1.0, name: str = "small_1") -> Row:
    return (name, at, *(float(value + i) for i in range(12)))


PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'sample'::regclass"


def copy(store: Store, *rows: Any, **options: Any) -> CopyReport:
    report = store.copy_samples(rows, now=options.pop("now", NOW), **options)
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


# -- ingestion --------------------------------------------------------------------------------------------


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


def test_late_rows_fill_a_chunk_that_is_partly_stored(store: Store) -> None:
    copy(store, *(row(NOW - i * SECOND) for i in range(0, 100, 2)))
    report = copy(store, *(row(NOW - i * SECOND) for i in range(100)))
    assert (report.stored, report.duplicates) == (50, 50)
    assert len(stored(store)) == 100


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
            for name, arrays in found.items()
            for at, free, background, reserved in zip(*(part.tolist() for part in arrays), strict=True)
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


AMOUNTS = {"free": Resources(), "background": Resources(), "reserved": Resources()}


# -- rollups ----------------------------------------------------------------------------------------------

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


# -- retention --------------------------------------------------------------------------------------------


def test_retention_spares_what_stored_plans_cite(store: Store, dsn: str, make_plan: Callable[..., Plan]) -> None:
    start = NOW - 40 * DAY
    rows = [row(start + i * HOUR, i) for i in range(40 * 24)]
    copy(store, *rows)
    cited = start + 3 * DAY
    samples = store.recent_samples(cited, until=cited + 5 * HOUR, bins=["small_1"])
    plan = make_plan().model_copy(update={"snapshots": {"samples": cite_samples(samples, cited, cited + 5 * HOUR)}})
    store.release_plan(plan, [], lambda _: None)
    limit = start + 25 * DAY + HOUR / 2
    counted = store.prune_samples(limit, dry_run=True)
    assert (counted.samples, counted.spared) == (25 * 24 + 1 - 6, 6)
    assert len(stored(store)) == len(rows)
    pruned = store.prune_samples(limit)
    assert (pruned.samples, pruned.spared) == (counted.samples, 6)
    assert pruned.partitions >= 2, "weeks that nothing cites go whole"
    left = [item[1] for item in stored(store)]
    assert left == [cited + i * HOUR for i in range(6)] + [item[1] for item in rows[25 * 24 + 1 :]]
    assert store.samples_of_plan(plan) == samples
    assert store.prune_samples(limit).samples == 0


def test_rollups_outlive_the_readings_and_late_rows_of_closed_hours_are_refused(store: Store, dsn: str) -> None:
    past = datetime(2025, 1, 1, 12, 0, tzinfo=UTC)
    rows = [row(past - i * 600 * SECOND, i) for i in range(1, 100)]
    copy(store, *rows)
    wanted = store.scan_hours(past - DAY, past)
    store.prune_samples(past - 3 * HOUR - 20 * 60 * SECOND)
    assert store.rollups(past - DAY, past) == wanted
    late = row(past - 10 * HOUR + SECOND, 9)
    assert copy(store, late, row(past - SECOND), now=past).rejected == {"closed": 1}
    assert store.add_samples([Sample(bin="small_1", at=late[1], **AMOUNTS)]) == 0
    assert {reason for (reason,) in query(dsn, "SELECT reason FROM rejected_row")} == {"closed"}
    store.refresh_rollups()
    assert store.rollups(past - DAY, past)[:-1] == wanted[:-1]
    assert store.rollups(past - DAY, past)[-1].readings == wanted[-1].readings + 1


def test_deleting_up_to_now_leaves_the_hour_that_goes_on_open(store: Store) -> None:
    now = datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    copy(store, *(row(now - i * SECOND) for i in range(5)), row(hour - SECOND), now=now)
    assert store.delete_samples(now + SECOND) == 6
    assert copy(store, row(now), now=now).stored == 1
    store.refresh_rollups()
    found = {item.hour: item.readings for item in store.rollups(hour - HOUR, hour + HOUR)}
    assert found[hour] == 1
    assert found.get(hour - HOUR, 0) == 1 + sum(now - i * SECOND < hour for i in range(5)) - (
        hour - SECOND in [now - i * SECOND for i in range(5)]
    )


def test_a_reader_of_old_weeks_does_not_block_the_samplers(store: Store, dsn: str) -> None:
    copy(store, row(NOW - 60 * DAY), row(NOW))
    link = psycopg2.connect(dsn)
    try:
        with link.cursor() as cur:
            cur.execute("SELECT count(*) FROM tomas.sample")  # holds its locks until the transaction ends
            pruned = store.prune_samples(NOW - 30 * DAY)
            assert (pruned.samples, pruned.partitions) == (1, 0)
            assert copy(store, row(NOW + SECOND)).stored == 1
            assert copy(store, row(NOW - 15 * DAY)).stored == 1, "a new partition is made beside the reader"
    finally:
        link.close()
    assert store.prune_samples(NOW - 30 * DAY).partitions >= 1


def test_samples_of_a_plan_that_changed_are_told(store: Store, make_plan: Callable[..., Plan]) -> None:
    copy(store, *(row(NOW - i * 5 * SECOND, i) for i in range(10)))
    samples = store.recent_samples(NOW - HOUR, until=NOW, bins=["small_1"])
    plan = make_plan().model_copy(update={"snapshots": {"samples": cite_samples(samples, NOW - HOUR, NOW)}})
    assert store.samples_of_plan(plan) == samples
    assert store.samples_of_plan(make_plan()) == []
    copy(store, row(NOW - 7 * SECOND))
    with pytest.raises(StoreError, match="not as they were: there are 11 now"):
        store.samples_of_plan(plan)


def test_sizes_and_spans_of_the_tables(store: Store) -> None:
    copy(store, row(NOW), row(NOW - 20 * DAY))
    stats = {item.name: item for item in store.table_stats()}
    assert (stats["sample"].first_at, stats["sample"].last_at) == (NOW - 20 * DAY, NOW)
    assert stats["sample"].partitions >= 2
    assert stats["sample"].bytes > 0
    assert "sample_20300101" not in stats
    assert {"plan", "execution_record", "rejected_row"} <= set(stats)


# -- migration --------------------------------------------------------------------------------------------


def test_the_migration_keeps_samples_edges_and_what_old_plans_cite(
    postgres: Any, tmp_path: Any, make_plan: Callable[..., Plan]
) -> None:
    files = load_migrations()
    early = tmp_path / "sql"
    early.mkdir()
    for item in files[:3]:
        (early / f"{item.name}.sql").write_text(item.text)
    dsn = postgres.create_database("old_history", "tomas", postgres._passwords["tomas"])
    plan = make_plan(bins=("small_1", "small_1"))
    cited = (NOW - HOUR).isoformat()
    body = plan.model_dump(mode="json") | {"snapshots": {"samples": f"3 until {cited}"}}
    try:
        with Store(dsn) as store:
            store.migrate(early)
            for i in range(30):
                query(dsn, "INSERT INTO sample VALUES (%s, %s" + ", %s" * 12 + ")", *row(NOW - i * DAY, i))
            query(dsn, "INSERT INTO sample VALUES (%s, %s" + ", 1e20" * 12 + ")", "vast_1", NOW)
            query(
                dsn,
                "INSERT INTO plan (id, status, created_at, release_at, makespan_ms, body)"
                " VALUES (%s, 'succeeded', now(), now(), 1, %s)",
                *(plan.id, psycopg2.extras.Json(body)),
            )
            for i, step in enumerate(plan.steps):
                query(
                    dsn,
                    "INSERT INTO plan_step VALUES (%s, %s, %s, 't', 'b', 'q', 'p', 1" + ", 1" * 8 + ")",
                    *(plan.id, step.id, i),
                )
            store.migrate()
            assert stored(store) == sorted(row(NOW - i * DAY, i) for i in range(30))
            assert query(dsn, "SELECT reason FROM rejected_row") == [("amount",)]
            assert query(dsn, "SELECT samples_from, samples_until FROM plan") == [
                (NOW - HOUR - timedelta(minutes=10), NOW - HOUR)
            ]
            assert query(dsn, "SELECT depends_on FROM plan_step ORDER BY position") == [([],), (["s0"],)]
            store.refresh_rollups()
            assert store.rollups(NOW - 40 * DAY, NOW + DAY) == store.scan_hours(NOW - 40 * DAY, NOW + DAY)
            assert len(store.rollups(NOW - 40 * DAY, NOW + DAY)) == 30
    finally:
        postgres.drop_database("old_history")


def test_postgres_away_is_told_and_nothing_is_half_stored() -> None:
    with Store("postgresql://nobody:x@127.0.0.1:1/nowhere") as store, pytest.raises(StoreUnavailable):
        store.copy_samples([row(NOW)], now=NOW)
