"""A plan on the running stack: routed, measured, in order, and collected."""

from __future__ import annotations

import pytest

from tests.system.airflow_checks import assert_routed, instance, plan_of, plans_of, tools_of
from tomas.demo.stack import Stack
from tomas.schema import Outcome, PlanStatus, WorkerClass

DAG = "tomas_quickstart"


@pytest.fixture(scope="module")
def run_id(stack: Stack) -> str:
    run_id = stack.trigger(DAG)
    assert stack.wait_run(DAG, run_id) == "success"
    return run_id


def test_queue_and_pool_per_map_index_are_the_planned_ones(stack: Stack, run_id: str) -> None:
    plan = plan_of(stack, DAG, run_id)
    assert len(plan.steps) >= 6
    assert {step.bin for step in plan.steps} == {item.name for item in stack.bins}
    assert_routed(stack, DAG, run_id, plan)


def test_every_step_is_measured_and_starts_after_its_predecessors(stack: Stack, run_id: str) -> None:
    plan = plan_of(stack, DAG, run_id)
    records = {record.step_id: record for record in stack.store.records(plan.id)}
    assert set(records) == {step.id for step in plan.steps}
    for index, step in enumerate(plan.steps):
        record = records[step.id]
        assert record.usage.outcome is Outcome.SUCCESS
        assert record.usage.peak_mem_gb > 0.005
        assert record.usage.cpu_seconds > 0
        assert (record.map_index, record.queue, record.bin) == (index, step.queue, step.bin)
        for name in step.depends_on:
            assert record.started_at >= records[name].ended_at


def test_the_plan_ends_and_frees_what_it_had_reserved(stack: Stack, run_id: str) -> None:
    plan = plan_of(stack, DAG, run_id)
    assert plan.status is PlanStatus.SUCCEEDED
    assert plan.dispatch_lag_actual_ms is not None
    assert 0 < plan.dispatch_lag_actual_ms < 120_000
    held = stack.store.reservations(plan.created_at, plan.release_at.replace(year=plan.release_at.year + 1))
    assert [item for item in held if item.plan_id == plan.id] == []
    call = next(call for call in stack.store.recent_calls() if call.plan_id == plan.id)
    assert call.dispatch_lag_ms == pytest.approx(plan.dispatch_lag_actual_ms)


def test_the_declared_result_reaches_the_next_task(stack: Stack, run_id: str) -> None:
    received = stack.airflow_api.xcom(DAG, run_id, "publish")
    assert list(received["results"]) == ["report"]
    assert received["report"] == received["results"]["report"]
    assert received["report"][0].endswith(".html")


def test_the_plan_link_leads_to_the_run(stack: Stack, run_id: str) -> None:
    for task_id, map_index in (("plan", -1), ("plan_run.tool", 0), ("plan_run.results", -1)):
        link = stack.airflow_api.xcom(DAG, run_id, task_id, "tomas_plan_link", map_index)
        assert link.startswith(f"dags/{DAG}/runs/")


def test_values_of_users_are_not_rendered_again(stack: Stack) -> None:
    text = "Extract the keywords of the documents {{ 7*7 }} {% raise %}"
    run_id = stack.trigger("probe_simple", {"task": text})
    assert stack.wait_run("probe_simple", run_id) == "success"
    assert plan_of(stack, "probe_simple", run_id).request.task == text


def test_without_declared_outputs_the_last_steps_are_the_results(stack: Stack) -> None:
    run_id = stack.trigger("probe_simple")
    assert stack.wait_run("probe_simple", run_id) == "success"
    plan = plan_of(stack, "probe_simple", run_id)
    results = stack.airflow_api.xcom("probe_simple", run_id, "plan_run.results")
    assert len(results) == len(plan.steps) == 2
    assert all(uris for uris in results.values())


def test_a_clear_replans_and_moves_the_instances(stack: Stack) -> None:
    dag_id = "probe_simple"
    run_id = stack.trigger(dag_id)
    assert stack.wait_run(dag_id, run_id) == "success"
    first = plan_of(stack, dag_id, run_id)
    classes = stack.store.worker_classes()
    busiest = first.steps[0].worker_class
    others: list[WorkerClass] = [item for item in classes if item.name != busiest]
    stack.store.upsert_worker_classes(others, prune=True)
    try:
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": ["plan"],
            "include_downstream": True,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        stack.airflow_api.request("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)
        assert stack.wait_run(dag_id, run_id) == "success"
    finally:
        stack.store.upsert_worker_classes(classes, prune=True)
    second = plan_of(stack, dag_id, run_id)
    assert second.id != first.id
    assert {plan.id for plan in plans_of(stack, run_id)} == {first.id, second.id}
    assert {step.worker_class for step in second.steps} == {item.name for item in others}
    for row, step in zip(tools_of(stack, dag_id, run_id), second.steps, strict=True):
        assert (row.queue, row.pool, row.pool_slots) == (step.queue, step.pool, step.pool_slots)
    assert instance(stack, dag_id, run_id, "plan").try_number == 2
