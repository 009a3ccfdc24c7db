"""Plans joined with records and task instances, as the API answers them."""

from __future__ import annotations

import json
from datetime import timedelta
from types import ModuleType

import pytest

from tomas.airflow.run_view import MAX_CURVE_POINTS, compress_curve, plan_entry, step_of_task
from tomas.schema import CapacityCurve


def test_each_step_meets_its_own_instance_and_records(sample: ModuleType) -> None:
    plan = sample.plan()
    records = [sample.record(plan, "s1"), sample.record(plan, "s4")]
    facts = sample.run(plan, [sample.task(plan, step.id) for step in plan.steps])
    entry = plan_entry(facts, "plan", plan, sample.Source(plan, records))
    assert [entry["steps"][step.id]["task"]["map_index"] for step in plan.steps] == list(range(8))
    assert [step for step, item in entry["steps"].items() if item["records"]] == ["s1", "s4"]
    assert step_of_task(entry, "steps.tool", 3) == "s4"
    assert step_of_task(entry, "steps.tool", 8) is None
    assert step_of_task(entry, "other", 3) is None


def test_records_name_the_instances_where_the_routing_is_gone(sample: ModuleType) -> None:
    plan = sample.plan()
    facts = sample.run(plan, [sample.task(plan, "s2")], routing={})
    entry = plan_entry(facts, "plan", plan, sample.Source(plan, [sample.record(plan, "s2")]))
    assert step_of_task(entry, "steps.tool", 1) == "s2"


def test_the_answer_is_json_without_credentials(sample: ModuleType) -> None:
    plan = sample.plan()
    facts = sample.run(plan, [sample.task(plan, "s1", label="s3://key:hunter2@archive/x")])
    failed = sample.record(plan, "s1", error="no route to postgresql://tomas:hunter2@db/x")
    text = json.dumps(plan_entry(facts, "plan", plan, sample.Source(plan, [failed])))
    assert "hunter2" not in text
    assert "archive/scans" in text


def test_tools_given_in_the_dag_are_not_sent(sample: ModuleType) -> None:
    plan = sample.plan()
    entry = plan_entry(sample.run(plan, []), "plan", plan, sample.Source(plan, []))
    assert "tools" not in entry["plan"]["request"]
    assert "forecast" not in entry["plan"]
    assert [curve["bin"] for curve in entry["forecast"]] == ["small_1", "large_1"]


def curve(sample: ModuleType, cores: list[float], step_ms: int = 1000, start_ms: int = 0) -> CapacityCurve:
    """A curve whose cores vary."""
    same = [0.0] * len(cores)
    return CapacityCurve(
        bin="small_1",
        start_at=sample.RELEASE + timedelta(milliseconds=start_ms),
        step_ms=step_ms,
        source="samples",
        cpu_cores=cores,
        cpu_mem_gb=same,
        gpu_sm=same,
        gpu_mem_gb=same,
    )


def test_repeated_cells_are_left_out(sample: ModuleType) -> None:
    points = compress_curve(curve(sample, [2, 2, 1, 1, 2], start_ms=-500), sample.RELEASE, 60_000)["points"]
    assert [(at, cores) for at, cores, *_ in points] == [(-500, 2), (1500, 1), (3500, 2)]


def test_cells_far_behind_the_plan_are_left_out(sample: ModuleType) -> None:
    points = compress_curve(curve(sample, [float(i) for i in range(100)]), sample.RELEASE, 5_000)["points"]
    assert points[-1][0] == 15_000


def test_a_long_curve_is_thinned_to_its_minima(sample: ModuleType) -> None:
    cores = [float(i % 7 + 1) for i in range(3000)]
    points = compress_curve(curve(sample, cores), sample.RELEASE, 10_000_000)["points"]
    assert len(points) <= MAX_CURVE_POINTS
    assert min(point[1] for point in points) == 1
    assert all(amount <= cores[int(at // 1000)] for at, amount, *_ in points)


@pytest.mark.parametrize("state", [None, "running", "failed"])
def test_a_task_without_times_is_plain_json(sample: ModuleType, state: str | None) -> None:
    shown = sample.task(sample.plan(), "s1", state, queued=None, start=None, end=None).public()
    assert shown["state"] == state
    assert shown["start"] is None
    json.dumps(shown)
