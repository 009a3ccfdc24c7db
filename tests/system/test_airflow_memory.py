"""A step that runs out of memory gets more on its next try, and as many pool slots as that needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.airflow_checks import TOOL, errors_in_log, instance, plan_of, tools_of
from tomas.demo.stack import Stack
from tomas.schema import Outcome, WorkerClass, pool_slots

GROWS_TO = 1.3
"""What ``probe_devour`` needs, in terms of what its first try got."""


@pytest.fixture
def one_small_bin(stack: Stack) -> Iterator[WorkerClass]:
    """One bin with cores to spare: its slots follow the memory."""
    classes = stack.store.worker_classes()
    small = next(group for group in classes if group.name == "cpu-small")
    capacity = small.capacity.model_copy(update={"cpu_cores": 8.0})
    bins = [item.model_copy(update={"capacity": capacity}) for item in small.bins]
    alone = small.model_copy(update={"capacity": capacity, "bins": bins})
    stack.store.upsert_worker_classes([alone], prune=True)
    yield alone
    stack.store.upsert_worker_classes(classes, prune=True)


def tries(stack: Stack, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    """Every try of the only step as Airflow's base has it."""
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{TOOL}/0/tries"
    found: list[dict[str, Any]] = stack.airflow_api.request("GET", path).json()["task_instances"]
    return sorted(found, key=lambda row: row["try_number"])


def test_the_second_try_has_more_memory_and_the_slots_for_it(stack: Stack, one_small_bin: WorkerClass) -> None:
    dag_id = "probe_devour"
    run_id = stack.trigger(dag_id)
    assert stack.wait_run(dag_id, run_id) == "success"
    plan = plan_of(stack, dag_id, run_id)
    (step,) = plan.steps
    first, second = sorted(stack.store.records(plan.id), key=lambda record: record.try_number)
    assert first.usage.outcome is Outcome.OUT_OF_MEMORY
    assert first.requested == step.allocation.final
    assert second.usage.outcome is Outcome.SUCCESS
    assert second.requested.cpu_mem_gb == 2 * first.requested.cpu_mem_gb
    assert first.requested.cpu_mem_gb < second.usage.peak_mem_gb < second.requested.cpu_mem_gb
    needed = pool_slots(second.requested, one_small_bin.capacity)
    assert needed > step.pool_slots
    assert [row["pool_slots"] for row in tries(stack, dag_id, run_id)] == [step.pool_slots, needed]
    (row,) = tools_of(stack, dag_id, run_id)
    assert (row.try_number, row.pool, row.queue, row.pool_slots) == (2, step.pool, step.queue, needed)
    assert stack.store.stored_reservations(plan_id=plan.id) == []
    (held,) = stack.store.stored_reservations(plan_id=plan.id, ended=True)
    assert (held.reservation.need, held.reservation.slots) == (second.requested, needed)


def test_what_breaks_with_all_memory_of_its_bin_fails_without_another_try(
    stack: Stack, one_small_bin: WorkerClass
) -> None:
    dag_id = "probe_gorge"
    run_id = stack.trigger(dag_id)
    assert stack.wait_run(dag_id, run_id) == "failed"
    plan = plan_of(stack, dag_id, run_id)
    requested = [record.requested.cpu_mem_gb for record in stack.store.records(plan.id)]
    cap = one_small_bin.capacity.cpu_mem_gb
    assert requested[-1] == cap
    assert requested[:-1] == [requested[0] * 2**i for i in range(len(requested) - 1)]
    rows = tries(stack, dag_id, run_id)
    assert len(rows) == len(requested) < 7, "the six retries are not used up"
    assert rows[-1]["pool_slots"] == 100
    reason = errors_in_log(stack, instance(stack, dag_id, run_id, TOOL, 0), dag_id, run_id)
    assert f"hit its memory limit of {cap:.2f} GB" in reason
    assert "all the memory of its bin small_1" in reason
    assert "declare a larger worker" in reason
    summary = errors_in_log(stack, instance(stack, dag_id, run_id, "plan_run.results"), dag_id, run_id)
    assert "all the memory of its bin small_1" in summary
