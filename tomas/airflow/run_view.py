"""What the Plan tab and the step tab show: a run's plans joined with what Airflow knows of their tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from tomas.airflow.plan_error import ERROR_KEY
from tomas.airflow.redact import public
from tomas.airflow.routing import ROUTING_KEY, Route, decode_routing
from tomas.schema import Bin, CapacityCurve, ExecutionRecord, Plan

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["PlanSource", "RunFacts", "TaskFacts", "compress_curve", "plan_entry", "read_run", "step_of_task"]

PLAN_OPERATOR_NAME = "TOMAS plan"
"""What the plan operator calls itself in the UI, subclasses included."""

MAX_CURVE_POINTS = 400


class PlanSource(Protocol):
    """The queries of :class:`tomas.store.Store` that these pages need."""

    def latest_plan(self, dag_id: str, run_id: str, task_id: str | None = None) -> Plan | None: ...
    def records(self, plan_id: str) -> list[ExecutionRecord]: ...
    def bins(self) -> list[Bin]: ...


@dataclass(frozen=True)
class TaskFacts:
    """One task instance of Airflow's metadata base."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    queued: datetime | None
    start: datetime | None
    end: datetime | None
    queue: str | None
    pool: str
    pool_slots: int
    label: str | None

    def public(self) -> dict[str, Any]:
        """As JSON: instants in ISO format."""
        return {
            "task_id": self.task_id,
            "map_index": self.map_index,
            "state": self.state,
            "try_number": self.try_number,
            "queued": _iso(self.queued),
            "start": _iso(self.start),
            "end": _iso(self.end),
            "queue": self.queue,
            "pool": self.pool,
            "pool_slots": self.pool_slots,
            "label": public(self.label),
        }


@dataclass(frozen=True)
class RunFacts:
    """A DAG run as far as plans are concerned."""

    dag_id: str
    run_id: str
    state: str
    start: datetime | None
    end: datetime | None
    plan_tasks: list[TaskFacts]
    routing: dict[str, dict[str, list[Route]]] = field(default_factory=dict)
    """Plan task id → tool task id → one route per map index, as the plan task pushed it."""
    errors: dict[str, Any] = field(default_factory=dict)
    """Plan task id → the error that it pushed before it failed."""
    tool_tasks: dict[tuple[str, int], TaskFacts] = field(default_factory=dict)

    def step_tasks(self, plan_task_id: str, records: Iterable[ExecutionRecord]) -> dict[str, TaskFacts]:
        """Step id → task instance: by the routing, or where that is gone, by the execution records."""
        places = {
            (record.task_id, record.map_index): record.step_id
            for record in records
            if record.task_id is not None and record.map_index is not None
        }
        for task_id, routes in self.routing.get(plan_task_id, {}).items():
            for index, route in enumerate(routes):
                if isinstance(route, Mapping) and isinstance(route.get("step"), str):
                    places[task_id, index] = route["step"]
        return {step: self.tool_tasks[place] for place, step in places.items() if place in self.tool_tasks}


def read_run(session: Session, dag_id: str, run_id: str) -> RunFacts | None:
    """Read a run from Airflow's metadata base; None if there is no such run."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import or_, select

    run = session.execute(
        select(DagRun.state, DagRun.start_date, DagRun.end_date).where(
            DagRun.dag_id == dag_id, DagRun.run_id == run_id
        )
    ).one_or_none()
    if run is None:
        return None
    pushed = session.execute(
        select(XComModel.task_id, XComModel.key, XComModel.value).where(
            XComModel.dag_id == dag_id,
            XComModel.run_id == run_id,
            XComModel.key.in_((ROUTING_KEY, ERROR_KEY)),
        )
    ).all()
    decoded = {row.task_id: decode_routing(row.value) for row in pushed if row.key == ROUTING_KEY}
    routing = {task_id: routes for task_id, routes in decoded.items() if routes is not None}
    tool_task_ids = {task_id for routes in routing.values() for task_id in routes}
    instances = session.scalars(
        select(TaskInstance).where(
            TaskInstance.dag_id == dag_id,
            TaskInstance.run_id == run_id,
            or_(
                TaskInstance.custom_operator_name == PLAN_OPERATOR_NAME,
                TaskInstance.task_id.in_(tool_task_ids | routing.keys()),
            ),
        )
    ).all()
    facts = [_facts(instance) for instance in instances]
    return RunFacts(
        dag_id=dag_id,
        run_id=run_id,
        state=str(run.state),
        start=run.start_date,
        end=run.end_date,
        plan_tasks=sorted(
            (task for task in facts if task.task_id not in tool_task_ids), key=lambda task: task.task_id
        ),
        routing=routing,
        errors={row.task_id: row.value for row in pushed if row.key == ERROR_KEY},
        tool_tasks={(task.task_id, task.map_index): task for task in facts if task.task_id in tool_task_ids},
    )


def _facts(instance: Any) -> TaskFacts:
    return TaskFacts(
        task_id=instance.task_id,
        map_index=instance.map_index,
        state=None if instance.state is None else str(instance.state),
        try_number=instance.try_number,
        queued=instance.queued_dttm,
        start=instance.start_date,
        end=instance.end_date,
        queue=instance.queue,
        pool=instance.pool,
        pool_slots=instance.pool_slots,
        label=instance.rendered_map_index if instance.map_index >= 0 else None,
    )


def plan_entry(facts: RunFacts, plan_task_id: str, plan: Plan, source: PlanSource) -> dict[str, Any]:
    """One plan with its steps' records and task instances, ready for JSON and free of credentials."""
    records = source.records(plan.id)
    tasks = facts.step_tasks(plan_task_id, records)
    by_step: dict[str, list[ExecutionRecord]] = {}
    for record in records:
        by_step.setdefault(record.step_id, []).append(record)
    used = {step.bin for step in plan.steps}
    return {
        "task_id": plan_task_id,
        "plan": public(plan.model_dump(mode="json", exclude={"forecast": True, "request": {"tools"}})),
        "bins": [item.model_dump(mode="json") for item in source.bins() if item.name in used],
        "forecast": [
            compress_curve(curve, plan.release_at, plan.makespan_ms) for curve in plan.forecast if curve.bin in used
        ],
        "steps": {
            step.id: {
                "task": tasks[step.id].public() if step.id in tasks else None,
                "records": [public(record.model_dump(mode="json")) for record in by_step.get(step.id, [])],
            }
            for step in plan.steps
        },
    }


def compress_curve(curve: CapacityCurve, release_at: datetime, makespan_ms: float) -> dict[str, Any]:
    """A forecast as ``points`` ``[ms from release, cores, memory GB, SM %, GPU memory GB]``.

    Cells that repeat the one before are left out, so are those later than three makespans. Where more than
    :data:`MAX_CURVE_POINTS` remain, neighbours are merged to the smallest value of each resource.
    """
    offset_ms = (curve.start_at - release_at).total_seconds() * 1000.0
    points: list[list[float]] = []
    for index in range(len(curve)):
        at_ms = offset_ms + index * curve.step_ms
        values = list(curve.at_index(index))
        if at_ms > 3 * makespan_ms and points:
            break
        if not points or values != points[-1][1:]:
            points.append([at_ms, *values])
    return {
        "bin": curve.bin,
        "quantile": curve.quantile,
        "source": curve.source,
        "points": _thin(points, MAX_CURVE_POINTS),
    }


def _thin(points: Sequence[list[float]], most: int) -> list[list[float]]:
    group = -(-len(points) // most)
    merged = (points[i : i + group] for i in range(0, len(points), group))
    return [[part[0][0], *(min(values) for values in list(zip(*part, strict=True))[1:])] for part in merged]


def step_of_task(entry: Mapping[str, Any], task_id: str, map_index: int) -> str | None:
    """The step of a plan entry that a task instance runs; None if it runs none of this plan."""
    for step_id, facts in entry["steps"].items():
        task = facts["task"]
        if task is not None and (task["task_id"], task["map_index"]) == (task_id, map_index):
            return str(step_id)
    return None


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()
