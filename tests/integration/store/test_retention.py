"""What retention removes, and what it spares."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import psycopg2
import pytest

from tests.integration.store.readings import (
    AMOUNTS,
    DAY,
    HOUR,
    NOW,
    SECOND,
    copy,
    query,
    row,
    stored,
)
from tomas.errors import StoreError
from tomas.schema import Plan, Sample
from tomas.store import Store, cite_samples


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
