"""A step that runs out of memory gets more on its next try, and as many pool slots as that needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from tests.system.airflow_checks import TOOL, errors_in_log, instance, plan_of, tools_of
from tomas.demo.stack import Stack
from tomas.schema import ExecutionRecord, Outcome, Plan, WorkerClass, pool_slots

ENOUGH_GB = 4.0


@contextmanager
def one_bin(stack: Stack, memory_gb: float) -> Iterator[WorkerClass]:
    """Only ``small_1``, with so much memory and so many cores that its slots follow the memory."""
    classes = stack.store.worker_classes()
    small = next(group for group in classes if group.name == "cpu-small")
    capacity = small.capacity.model_copy(update={"cpu_cores": 100.0, "cpu_mem_gb": memory_gb})
    bins = [item.model_copy(update={"capacity": capacity}) for item in small.bins]
    alone = small.model_copy(update={"capacity": capacity, "bins": bins})
    stack.store.upsert_worker_classes([alone], prune=True)
    try:
        yield alone
    finally:
        stack.store.upsert_worker_classes(classes, prune=True)


def tries(stack: Stack, dag_id: str, run_id: str, task_id: str = TOOL) -> list[dict[str, Any]]:
    """Every try of the only step as Airflow's base has it."""
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/0/tries"
    found: list[dict[str, Any]] = stack.airflow_api.request("GET", path).json()["task_instances"]
    return sorted(found, key=lambda row: row["try_number"])


def records_of(stack: Stack, plan: Plan) -> list[ExecutionRecord]:
    return sorted(stack.store.records(plan.id), key=lambda record: record.try_number)


def test_the_second_try_has_more_memory_and_the_slots_for_it(stack: Stack) -> None:
    dag_id = "probe_devour"
    with one_bin(stack, ENOUGH_GB) as group:
        run_id = stack.trigger(dag_id)
        assert stack.wait_run(dag_id, run_id) == "success"
        plan = plan_of(stack, dag_id, run_id)
        (step,) = plan.steps
        first, second = records_of(stack, plan)
        assert first.usage.outcome is Outcome.OUT_OF_MEMORY
        assert first.requested == step.allocation.final
        assert second.usage.outcome is Outcome.SUCCESS
        assert second.requested.cpu_mem_gb == 2 * first.requested.cpu_mem_gb
        assert first.requested.cpu_mem_gb < second.usage.peak_mem_gb < second.requested.cpu_mem_gb
        needed = pool_slots(second.requested, group.capacity)
        assert needed > step.pool_slots
        rows = tries(stack, dag_id, run_id)
        assert [row["pool_slots"] for row in rows] == [step.pool_slots, needed]
        (row,) = tools_of(stack, dag_id, run_id)
        assert (row.try_number, row.pool, row.queue, row.pool_slots) == (2, step.pool, step.queue, needed)
        between = datetime.fromisoformat(rows[1]["start_date"]) - datetime.fromisoformat(rows[0]["end_date"])
        assert between.total_seconds() < 60, "it does not wait for the five minutes of Airflow's retry_delay"
        (held,) = stack.store.stored_reservations(plan_id=plan.id, ended=True)
        assert (held.state, held.reservation.need, held.reservation.slots) == ("released", second.requested, needed)

        clear(stack, dag_id, run_id, [TOOL, 0], "plan_run.results")
        assert stack.wait_run(dag_id, run_id) == "success"
        *_, third = records_of(stack, plan)
        assert (third.try_number, third.requested) == (3, second.requested), "what was enough is kept"
        assert tries(stack, dag_id, run_id)[-1]["pool_slots"] == needed

        clear(stack, dag_id, run_id, "plan", TOOL, "plan_run.results")
        assert stack.wait_run(dag_id, run_id) == "success"
        anew = plan_of(stack, dag_id, run_id)
        assert anew.id != plan.id
        needs = [pool_slots(record.requested, group.capacity) for record in records_of(stack, anew)]
        assert [row["pool_slots"] for row in tries(stack, dag_id, run_id)[3:]] == needs
        assert needs[0] == anew.steps[0].pool_slots < needs[1], "a new plan does not keep what the old one needed"


def clear(stack: Stack, dag_id: str, run_id: str, *tasks: str | list[str | int]) -> None:
    """Clear these tasks, or instances of mapped ones, of a run."""
    body = {
        "dry_run": False,
        "dag_run_id": run_id,
        "task_ids": list(tasks),
        "only_failed": False,
        "reset_dag_runs": True,
    }
    stack.airflow_api.request("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)


def test_a_try_that_holds_too_few_slots_goes_back_for_them(stack: Stack) -> None:
    dag_id = "probe_devour_killed"
    with one_bin(stack, ENOUGH_GB) as group:
        run_id = stack.trigger(dag_id)
        assert stack.wait_run(dag_id, run_id) == "success"
        plan = plan_of(stack, dag_id, run_id)
        first, second = records_of(stack, plan)
    assert (first.usage.outcome, second.usage.outcome) == (Outcome.OUT_OF_MEMORY, Outcome.SUCCESS)
    needed = pool_slots(second.requested, group.capacity)
    assert [row["pool_slots"] for row in tries(stack, dag_id, run_id, "tool")] == [plan.steps[0].pool_slots, needed]
    (row,) = tools_of(stack, dag_id, run_id, "tool")
    log = str(stack.airflow_api.task_log(dag_id, run_id, "tool", row.try_number, 0))
    assert f"needs {needed} pool slots and holds {plan.steps[0].pool_slots}" in log


def test_what_breaks_with_all_memory_of_its_bin_fails_without_another_try(stack: Stack) -> None:
    dag_id, cap_gb = "probe_gorge", 1.5
    with one_bin(stack, cap_gb):
        run_id = stack.trigger(dag_id)
        assert stack.wait_run(dag_id, run_id) == "failed"
    requested = [record.requested.cpu_mem_gb for record in records_of(stack, plan_of(stack, dag_id, run_id))]
    assert requested == [min(cap_gb, requested[0] * 2**i) for i in range(len(requested))]
    assert requested[-1] == cap_gb
    rows = tries(stack, dag_id, run_id)
    assert len(rows) == len(requested) < 7, "the six retries are not used up"
    assert rows[-1]["pool_slots"] == 100
    reason = errors_in_log(stack, instance(stack, dag_id, run_id, TOOL, 0), dag_id, run_id)
    for part in (
        f"hit its memory limit of {cap_gb:.2f} GB",
        "all the memory of its bin small_1",
        "declare a larger worker",
    ):
        assert part in reason
    summary = errors_in_log(stack, instance(stack, dag_id, run_id, "plan_run.results"), dag_id, run_id)
    assert "all the memory of its bin small_1" in summary
