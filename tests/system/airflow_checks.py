"""What several system tests of the Airflow side look at."""

from __future__ import annotations

import re
from typing import Any

from tomas.demo.metadata import TaskInstanceRow
from tomas.demo.stack import Stack
from tomas.schema import Plan

TOOL = "plan_run.tool"


def plan_of(stack: Stack, dag_id: str, run_id: str) -> Plan:
    """The run's plan in the store."""
    plan = stack.store.latest_plan(dag_id, run_id)
    assert plan is not None, f"{dag_id} {run_id} has no plan"
    return plan


def plans_of(stack: Stack, run_id: str) -> list[Plan]:
    """All plans ever released for the run."""
    return [
        plan
        for plan in stack.store.plans(limit=500)
        if plan.request.origin and plan.request.origin.run_id == run_id
    ]


def instance(stack: Stack, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> TaskInstanceRow:
    """One task instance as Airflow's base has it."""
    rows = stack.task_instances(dag_id, run_id)
    return next(row for row in rows if (row.task_id, row.map_index) == (task_id, map_index))


def tools_of(stack: Stack, dag_id: str, run_id: str, task_id: str = TOOL) -> list[TaskInstanceRow]:
    """The instances of the expanded tool task, in the order of the plan's steps."""
    rows = [row for row in stack.task_instances(dag_id, run_id) if row.task_id == task_id]
    return sorted(rows, key=lambda row: row.map_index)


def errors_in_log(
    stack: Stack, row: TaskInstanceRow, dag_id: str, run_id: str, try_number: int | None = None
) -> str:
    """Messages and exceptions of error level in the log of the last try."""
    found: list[str] = []
    lines: list[Any] = stack.airflow_api.task_log(dag_id, run_id, row.task_id, row.try_number, row.map_index)
    for line in lines:
        if isinstance(line, dict) and line.get("level") == "error":
            found.append(str(line.get("event")))
            found.extend(f"{item['exc_type']}: {item['exc_value']}" for item in line.get("error_detail") or [])
    return "\n".join(found)


def assert_routed(stack: Stack, dag_id: str, run_id: str, plan: Plan) -> None:
    """Every step ran on its planned queue and pool, says Airflow's base and the log of that queue's worker."""
    rows = tools_of(stack, dag_id, run_id)
    assert [row.map_index for row in rows] == list(range(len(plan.steps)))
    for row, step in zip(rows, plan.steps, strict=True):
        assert (row.queue, row.pool, row.pool_slots) == (step.queue, step.pool, step.pool_slots)
        assert row.rendered_map_index == f"{step.tool} on {step.queue}"
        for other in stack.bins:
            log = stack.logs(f"worker-{other.name}")
            seen = re.search(rf"run_id={re.escape(run_id)}/task_id={TOOL}/map_index={row.map_index}/", log)
            assert bool(seen) is (other.queue == step.queue), f"step {step.id} in the log of worker {other.name}"
