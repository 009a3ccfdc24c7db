"""Execution records by COPY: once each, bad ones kept apart; the newest of each tool; what retention removes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tomas.schema import ExecutionRecord, Outcome
from tomas.store import CopyReport, Store

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
MakeRecord = Callable[..., ExecutionRecord]


def copy(store: Store, *rows: Any, **options: Any) -> CopyReport:
    report = store.copy_records(rows, now=NOW, **options)
    assert report.given == len(rows) == report.stored + report.duplicates + sum(report.rejected.values())
    return report


def ended(make_record: MakeRecord, number: int, **fields: Any) -> ExecutionRecord:
    begin = NOW - number * 10 * SECOND - 60 * SECOND
    return make_record(f"p{number}", started_at=begin, ended_at=begin + 5 * SECOND, **fields)


def test_records_mappings_and_json_are_stored_once(store: Store, make_record: MakeRecord) -> None:
    records = [ended(make_record, i, error="说明 \" ' \\ , \n\t%s" if i % 3 else None) for i in range(300)]
    rows = [
        (item, item.model_dump(mode="json"), item.model_dump_json(), item.model_dump_json().encode())[i % 4]
        for i, item in enumerate(records)
    ]
    report = copy(store, *rows, chunk=64)
    assert (report.stored, report.unknown_bins) == (300, ["small_1"])
    assert store.records_between(NOW - timedelta(days=1), NOW) == records[::-1]
    assert copy(store, *rows, *rows[:5], chunk=100).duplicates == 305
    store.save_record(records[0])
    assert copy(store, records[0]).duplicates == 1, "as save_record stores it"


def test_an_ended_record_replaces_a_running_one_and_nothing_else(store: Store, make_record: MakeRecord) -> None:
    running = make_record("p", started_at=NOW - 9 * SECOND)
    end = make_record("p", started_at=NOW - 9 * SECOND, ended_at=NOW)
    other = end.model_copy(update={"output_bytes": 7})
    assert copy(store, running, end, running, end).stored == 1
    assert store.records("p") == [end]
    assert copy(store, running).duplicates == 1
    assert copy(store, other).rejected == {"conflict": 1}
    assert store.records("p") == [end]
    assert copy(store, make_record("q", started_at=NOW - 3650 * DAY)).stored == 1
    assert store.running_records() == [], "history is no heartbeat"
    assert copy(store, make_record("q", started_at=NOW - 3650 * DAY, ended_at=NOW)).stored == 1
    assert store.records("q")[0].ended_at == NOW


def test_bad_records_are_kept_apart_with_the_reason(store: Store, make_record: MakeRecord) -> None:
    good = ended(make_record, 1)
    plain = good.model_dump(mode="json")
    usage = plain["usage"]
    old = datetime(1970, 1, 1, tzinfo=UTC)
    bad: list[tuple[str, Any]] = [
        ("malformed: usage.peak_mem_gb", plain | {"usage": usage | {"peak_mem_gb": float("nan")}}),
        ("malformed: usage.wall_ms", plain | {"usage": usage | {"wall_ms": -1}}),
        ("malformed: usage.cpu_seconds", plain | {"usage": usage | {"cpu_seconds": "Infinity"}}),
        ("malformed: bin", plain | {"bin": ""}),
        ("malformed: started_at", plain | {"started_at": "2030-01-01T00:00:00"}),
        ("malformed: surprise", plain | {"surprise": 1}),
        ("malformed: plan_id, step_id", plain | {"plan_id": ""}),
        ("malformed: number too large", plain | {"input_bytes": 2**63}),
        ("malformed: NUL", plain | {"error": "a\0b"}),
        ("malformed", "{no json"),
        ("malformed", 7),
        ("clock unset", good.model_copy(update={"started_at": old})),
        ("future", good.model_copy(update={"ended_at": NOW + timedelta(minutes=6)})),
        ("ends before it starts", good.model_copy(update={"ended_at": good.started_at - SECOND})),
    ]
    report = copy(store, *(row for _, row in bad), good)
    assert report.stored == 1
    assert report.rejected == {reason: [item for item, _ in bad].count(reason) for reason, _ in bad}
    assert store.records_between(old, NOW) == [good]
    assert copy(store, plain | {"plan_id": "backslash", "error": r"C:\u0000 is text"}).stored == 1


def test_the_newest_records_of_each_tool(store: Store, make_record: MakeRecord) -> None:
    rows = [
        ended(make_record, i, tool=("often", "seldom", "never_asked")[0 if i % 10 else i // 10 % 2 + 1])
        for i in range(200)
    ]
    copy(store, *rows, make_record("running", started_at=NOW, tool="often"))
    found = store.recent_records(["often", "seldom", "absent"], NOW - timedelta(hours=1), NOW, per_tool=15)
    often = [item for item in rows if item.tool == "often"][:15]
    seldom = [item for item in rows if item.tool == "seldom"][:15]
    assert found == sorted(often + seldom, key=lambda item: item.ended_at or NOW)
    since = rows[20].ended_at
    assert since is not None
    assert store.recent_records(["often"], since, NOW - 75 * SECOND) == [
        item
        for item in rows[2:21][::-1]
        if item.tool == "often" and item.ended_at and since <= item.ended_at < NOW - 75 * SECOND
    ]


@pytest.mark.parametrize("dry_run", [True, False])
def test_old_records_and_plans_go_together(
    store: Store, make_record: MakeRecord, make_plan: Callable[..., Any], dry_run: bool
) -> None:
    from tomas.schema import PlanStatus

    plans = [make_plan(), make_plan()]
    for plan in plans:
        store.release_plan(plan, [], lambda _: None)
        store.save_record(make_record(plan.id, started_at=NOW, ended_at=NOW + SECOND, outcome=Outcome.SUCCESS))
    store.save_record(make_record("elsewhere", started_at=NOW, ended_at=NOW + SECOND))
    store.set_plan_status(plans[0].id, PlanStatus.SUCCEEDED)
    later = datetime.now(UTC) + timedelta(days=3650)
    assert store.prune_plans(later, dry_run=dry_run).plans == 1, "the other one has not ended"
    assert [item.id for item in store.plans()] == [item.id for item in plans[::-1]][: 2 if dry_run else 1]
    assert store.prune_records(later, dry_run=dry_run).records == (1 if dry_run else 2)
    assert len(store.records(plans[1].id)) == 1
    assert len(store.records_between(NOW, later)) == (3 if dry_run else 1)
