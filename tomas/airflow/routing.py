"""Where each step runs: the payload that travels from plan task to scheduler, and how it is read.

Pure data, no Airflow: the policy (scheduler), the trigger (triggerer), the listeners (API server) and the
operators (workers) agree here on one shape::

    {tool_task_id: [{"queue", "pool", "slots", "priority", "after": [map indexes], "step"}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypedDict

from tomas.errors import RoutingError
from tomas.schema import Plan

__all__ = [
    "PREFLIGHT_KEY",
    "ROUTING_KEY",
    "SLOTS_KEY",
    "TOOL_OPERATOR_NAME",
    "UNROUTED_POOL",
    "Route",
    "StepArgument",
    "decode_routing",
    "route_of",
    "routing_payload",
    "step_arguments",
]

ROUTING_KEY = "tomas_routing"
"""XCom key of the routing, of its own because the return value may live in object storage."""

PREFLIGHT_KEY = "tomas_preflight"
"""XCom key under which a plan task asks the API server about pools."""

SLOTS_KEY = "tomas_slots"
"""XCom key under which a step says how many pool slots its next try needs, where the plan gave fewer."""

UNROUTED_POOL = "tomas_unrouted"
"""Default pool of tool tasks: where a step lands that no plan routed, and where it refuses to work."""

TOOL_OPERATOR_NAME = "TOMAS tool"
"""Shown in the UI, and how the policy knows its own task instances."""


class Route(TypedDict):
    """The route of one mapped task instance."""

    queue: str
    pool: str
    slots: int
    priority: int
    after: list[int]
    step: str


class StepArgument(TypedDict):
    """What a mapped tool task receives: ids and its route, no text of a user."""

    plan_id: str
    step_id: str
    tool: str
    queue: str
    pool: str
    pool_slots: int
    allocation: dict[str, float]


def step_arguments(plan: Plan) -> list[StepArgument]:
    """One argument per step, in the plan's order: the index is the map index."""
    return [
        StepArgument(
            plan_id=plan.id,
            step_id=step.id,
            tool=step.tool,
            queue=step.queue,
            pool=step.pool,
            pool_slots=step.pool_slots,
            allocation=step.allocation.final.model_dump(mode="json"),
        )
        for step in plan.steps
    ]


def routing_payload(plan: Plan, tool_task_ids: list[str]) -> dict[str, list[Route]]:
    """The routes of all steps for each task that expands them.

    The priority is the plan's own times the number of steps that still depend on the step, itself included:
    where two steps compete for a pool, the one that more work waits for goes first.
    """
    index = {step.id: i for i, step in enumerate(plan.steps)}
    waiting = _descendants(plan)
    routes = [
        Route(
            queue=step.queue,
            pool=step.pool,
            slots=step.pool_slots,
            priority=plan.request.priority * (1 + len(waiting[step.id])),
            after=sorted(index[name] for name in step.depends_on),
            step=step.id,
        )
        for step in plan.steps
    ]
    return dict.fromkeys(tool_task_ids, routes)


def _descendants(plan: Plan) -> dict[str, set[str]]:
    children: dict[str, list[str]] = {step.id: [] for step in plan.steps}
    for step in plan.steps:
        for name in step.depends_on:
            children[name].append(step.id)
    found: dict[str, set[str]] = {}
    for root in children:
        seen: set[str] = set()
        stack = list(children[root])
        while stack:
            name = stack.pop()
            if name not in seen:
                seen.add(name)
                stack.extend(children[name])
        found[root] = seen
    return found


def decode_routing(value: Any) -> dict[str, list[Route]] | None:
    """The routing as it stands in an XCom row (JSON text or already decoded); None where it is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def route_of(routing: Mapping[str, list[Route]] | None, task_id: str, map_index: int) -> Route:
    """The route of one instance.

    :raises RoutingError: the plan holds none for it.
    """
    routes = (routing or {}).get(task_id, [])
    if not 0 <= map_index < len(routes):
        raise RoutingError(
            f"The plan holds no route for task {task_id} at map index {map_index}.",
            remedy="Clear the plan task together with its downstream tasks.",
        )
    return routes[map_index]
