"""Execution records, planner calls and model versions: what the learning loop reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from tomas.schema import Artifact, ExecutionRecord, Outcome, Plan, PlannerCall, utc_now
from tomas.store import Store

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MakeRecord = Callable[..., ExecutionRecord]


def test_heartbeats_become_the_final_record_and_never_overwrite_it(store: Store, make_record: MakeRecord) -> None:
    beat = make_record("p", started_at=NOW, wall_ms=2000)
    store.save_record(beat)
    assert store.records("p") == store.running_records() == [beat]
    end = make_record("p", started_at=NOW, ended_at=NOW + 3 * SECOND, output_bytes=5, error="说明 \" ' %s")
    store.save_record(end)
    store.save_record(beat)
    assert store.records("p") == [end]
    assert store.running_records() == []
    again = make_record("p", started_at=NOW + 60 * SECOND)
    store.save_record(again)
    assert store.records("p") == [again], "the same step run anew from a plan file"


def test_record_of_a_killed_worker_stops_counting_as_running(
    store: Store, dsn: str, make_record: MakeRecord
) -> None:
    store.save_record(make_record("p", started_at=utc_now()))
    link = psycopg2.connect(dsn)
    with link, link.cursor() as cur:
        cur.execute("UPDATE tomas.execution_record SET updated_at = now() - interval '10 minutes'")
    link.close()
    assert store.running_records() == []
    assert len(store.records("p")) == 1


def test_outputs_are_those_of_the_last_successful_try(store: Store, make_record: MakeRecord) -> None:
    def end(try_number: int, outcome: Outcome) -> None:
        store.save_record(
            make_record(
                "p",
                started_at=NOW + try_number * SECOND,
                ended_at=NOW + (try_number + 1) * SECOND,
                try_number=try_number,
                outcome=outcome,
                outputs=[Artifact(name="out", type="text/plain", uri=f"try-{try_number}.txt")],
            )
        )

    assert store.outputs("p", "s0") == []
    end(1, Outcome.FAILED)
    assert store.outputs("p", "s0") == []
    end(2, Outcome.SUCCESS)
    end(3, Outcome.SUCCESS)
    end(4, Outcome.OUT_OF_MEMORY)
    assert [item.uri for item in store.outputs("p", "s0")] == ["try-3.txt"]
    assert [item.try_number for item in store.records("p")] == [1, 2, 3, 4]


def test_records_of_an_interval_are_half_open_and_finished(store: Store, make_record: MakeRecord) -> None:
    for number in range(4):
        ended_at = NOW + number * SECOND
        store.save_record(make_record(f"p{number}", started_at=NOW - SECOND, ended_at=ended_at))
    store.save_record(make_record("running", started_at=NOW))
    found = store.records_between(NOW + SECOND, NOW + 3 * SECOND)
    assert [item.plan_id for item in found] == ["p1", "p2"]


def test_calls_are_filtered_newest_first(store: Store) -> None:
    def call(number: int, planner: str = "retrieval") -> PlannerCall:
        return PlannerCall(
            at=NOW + number * SECOND,
            planner=planner,
            task_chars=10,
            tools=7,
            steps=number,
            t_inf_ms=100.5,
            plan_id=f"p{number}",
            error="no tool" if number == 2 else None,
        )

    calls = [call(i) for i in range(4)]
    for item in calls:
        store.log_call(item)
    store.log_call(call(9, "neural"))
    assert store.recent_calls("retrieval") == calls[::-1]
    assert [item.steps for item in store.recent_calls(limit=2)] == [9, 3]
    assert [item.steps for item in store.recent_calls(since=NOW + SECOND, until=NOW + 3 * SECOND)] == [2, 1]
    store.set_call_dispatch_lag("p3", 2500)
    assert store.recent_calls("retrieval", limit=1)[0].dispatch_lag_ms == 2500


def test_the_hand_over_is_the_gap_between_a_step_and_its_last_predecessor(
    store: Store, make_plan: Callable[..., Plan], make_record: MakeRecord
) -> None:
    plan = make_plan(bins=("small_1", "small_1", "small_1"))
    store.release_plan(plan, [], lambda _: None)
    assert store.hand_over_ms(NOW) is None
    at = NOW
    for step, gap_s in zip(plan.steps, (0, 2, 4), strict=True):
        begin, at = at + gap_s * SECOND, at + (gap_s + 1) * SECOND
        store.save_record(make_record(plan.id, step.id, started_at=begin, ended_at=at, dag_id="d"))
    assert store.hand_over_ms(NOW) == pytest.approx(3000.0)
    assert store.hand_over_ms(NOW + 3600 * SECOND) is None
