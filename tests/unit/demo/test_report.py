"""The demo's verdict compares the scheduler's rows with the plan; its tables show what was measured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rich.console import Console

from tomas.demo.metadata import TaskInstanceRow
from tomas.demo.report import actual_table, failure_text, plan_table, planned_by, result_text, route_deviations
from tomas.schema import (
    AllocationDecision,
    ExecutionRecord,
    Outcome,
    Plan,
    PlannerInfo,
    PlanRequest,
    PlanStep,
    Resources,
    StepUsage,
)

RELEASE = datetime(2026, 1, 2, tzinfo=UTC)


def step(number: int) -> PlanStep:
    need = Resources(cpu_cores=1, cpu_mem_gb=0.5)
    return PlanStep(
        id=f"s{number}",
        tool="image_resize",
        inputs={},
        depends_on=[f"s{number - 1}"] if number > 1 else [],
        predicted_input_bytes=10,
        allocation=AllocationDecision(floor=need, final=need, why="test"),
        latency_p50_ms=1000,
        latency_p90_ms=2000,
        start_ms=0,
        end_ms=2000,
        bin="small_1",
        worker_class="cpu-small",
        queue="q",
        pool="p",
        pool_slots=30,
        confidence=1,
    )


def plan(steps: int) -> Plan:
    return Plan(
        request=PlanRequest(task="[bold]resize"),
        language="en",
        planner=PlannerInfo(kind="retrieval", version="1"),
        created_at=RELEASE,
        release_at=RELEASE,
        t_inf_predicted_ms=1,
        dispatch_lag_predicted_ms=1,
        forecast=[],
        steps=[step(i + 1) for i in range(steps)],
        makespan_ms=2000,
    )


def record(
    plan_id: str, number: int, *, try_number: int = 1, outcome: Outcome = Outcome.SUCCESS
) -> ExecutionRecord:
    return ExecutionRecord(
        plan_id=plan_id,
        step_id=f"s{number}",
        tool="image_resize",
        try_number=try_number,
        bin="small_1",
        host="h",
        task_id="run.tool",
        map_index=number - 1,
        queue="q",
        requested=Resources(cpu_cores=1, cpu_mem_gb=0.5),
        input_bytes=10,
        started_at=RELEASE + timedelta(seconds=3),
        ended_at=RELEASE + timedelta(seconds=4.5),
        usage=StepUsage(wall_ms=1500, peak_mem_gb=0.125, cpu_seconds=1.25, peak_cpu_cores=0.9, outcome=outcome),
    )


def row(number: int, **changes: object) -> TaskInstanceRow:
    values: dict[str, object] = {
        "task_id": "run.tool",
        "map_index": number - 1,
        "state": "success",
        "queue": "q",
        "pool": "p",
        "pool_slots": 30,
        "priority_weight": 1,
        "hostname": "h",
        "try_number": 1,
        "scheduled_dttm": None,
        "queued_dttm": None,
        "start_date": None,
        "end_date": None,
        "rendered_map_index": None,
    }
    return TaskInstanceRow.model_validate(values | changes)


def test_a_run_on_its_routes_has_no_deviation() -> None:
    made = plan(2)
    records = [record(made.id, 1), record(made.id, 2, outcome=Outcome.FAILED), record(made.id, 2, try_number=2)]
    assert route_deviations(made, records, [row(1), row(2)]) == []


def test_each_deviation_is_named() -> None:
    made = plan(4)
    records = [record(made.id, 1), record(made.id, 2), record(made.id, 3, outcome=Outcome.KILLED)]
    lines = route_deviations(made, records, [row(1, queue="default", pool_slots=1), row(3)])
    assert lines == [
        "s1 (image_resize): queue default, planned q",
        "s1 (image_resize): slots 1, planned 30",
        "s2: Airflow has no task instance run.tool[1]",
        "s3 (image_resize): its record says killed",
        "s4 (image_resize) has no execution record",
    ]


def drawn(table: object) -> str:
    console = Console(width=160, record=True, quiet=False, file=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_tables_show_plan_and_measurement() -> None:
    made = plan(2)
    assert "image_resize" in drawn(plan_table(made))
    text = drawn(actual_table(made, [record(made.id, 1)]))
    assert "3.0 - 4.5" in text
    assert "0.12 GB" in text
    assert "never ran" in text


def test_a_failure_is_told_by_what_was_raised() -> None:
    log = [
        {"event": "started", "level": "info"},
        {
            "event": "Task failed",
            "level": "error",
            "error_detail": [{"exc_type": "DataError", "exc_value": "no file"}],
        },
    ]
    assert failure_text(log) == "DataError: no file"
    assert failure_text([{"event": "only this", "level": "info"}]) == "only this"
    assert failure_text([]) == "Its log is empty."


def test_a_long_result_is_cut_and_says_so() -> None:
    assert result_text({"a": "é"}) == '{\n  "a": "é"\n}'
    assert result_text("x" * 3000).endswith("(3000 characters)")


def test_the_planner_is_named_with_its_version_and_for_whom_it_stood_in() -> None:
    made = plan(1)
    assert planned_by(made) == "retrieval 1"
    neural = PlannerInfo(kind="neural", version="tiny@0123456789ab")
    assert planned_by(made.model_copy(update={"planner": neural})) == "neural tiny@0123456789ab"
    stand_in = PlannerInfo(kind="retrieval", version="1", fallback_from="neural", fallback_reason="It was altered.")
    assert (
        planned_by(made.model_copy(update={"planner": stand_in}))
        == "retrieval 1, in place of neural: It was altered."
    )
