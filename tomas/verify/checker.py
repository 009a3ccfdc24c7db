"""Proof that a plan is executable: shape, identity, graph, times, types, arguments, routes, load, budget."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import chain, islice

from tomas.errors import PlanRejected
from tomas.schema import MAX_TASK_CHARS, Bin, Plan, Reservation, Tool
from tomas.verify.budget import check_budget
from tomas.verify.clock import check_clock, check_reach
from tomas.verify.graph import check_graph
from tomas.verify.load import check_load
from tomas.verify.routing import Routes, check_routing
from tomas.verify.shape import check_context, check_shape, short
from tomas.verify.typing import check_arguments, check_outputs, check_ports

__all__ = ["MAX_LISTED", "verify_plan"]

MAX_LISTED = 20
"""Violations named in one refusal; a broken plan has either few or thousands."""
MAX_STEPS = 10_000
MAX_WARNINGS = 1000
_MAX_CHARS = 400
"""Of one violation; names in a plan may be of any length."""
_REMEDY = "Plan the task again; if the same violation returns, report it with the plan's JSON."


def verify_plan(
    plan: Plan,
    registry_tools: Mapping[str, Tool],
    bins: Sequence[Bin],
    reservations: Sequence[Reservation],
    *,
    prices: Mapping[str, float] | None = None,
    routes: Routes | None = None,
) -> None:
    """Check everything that a released plan promises; shares no code with the scheduler.

    The plan's own loads, each at its p90 latency, must stay within ``plan.forecast`` (from which other
    plans' reservations are already subtracted) and, together with ``reservations``, within the bins'
    capacity and pools. A dependent step starts no earlier than its predecessors' ends plus the hand-over.

    :param registry_tools: the tools that may appear, by name; those of the request are added.
    :param reservations: of other plans; those of ``plan`` itself are ignored.
    :param prices: as in the settings ``TOMAS__PLANNER__PRICES__*``; needed where the budget limits the cost.
    :param routes: pools and consumed queues, where they are known; without them bins are believed.
    :raises PlanRejected: with all violations found, at most :data:`MAX_LISTED` of them in words. Nothing else
        is raised, whatever the arguments hold, also past pydantic's own checks.
    """
    name = short(getattr(plan, "id", "?"))
    found: list[str] = []
    cause: Exception | None = None
    try:
        found.extend(islice(_violations(plan, registry_tools, bins, reservations, prices, routes), MAX_LISTED + 1))
    except Exception as error:  # noqa: BLE001 - a plan that cannot be checked to the end is not proven
        cause = error
        found.append(f"it cannot be checked further ({type(error).__name__}: {short(error)})")
    if not found:
        return
    listed = [text[:_MAX_CHARS] for text in found[:MAX_LISTED]]
    more = " There are more." if len(found) > MAX_LISTED else ""
    raise PlanRejected(
        f"Plan {name} breaks {len(listed)} rule(s): " + " · ".join(listed) + f".{more}", remedy=_REMEDY
    ) from cause


def _violations(
    plan: Plan,
    registry_tools: Mapping[str, Tool],
    bins: Sequence[Bin],
    reservations: Sequence[Reservation],
    prices: Mapping[str, float] | None,
    routes: Routes | None,
) -> Iterator[str]:
    """Checks in stages: each may rely on what an earlier stage let pass."""
    if (yield from _any(check_shape(plan))):
        return
    bins, reservations = list(bins), list(reservations)  # read more than once, whatever was given
    tools = {**registry_tools, **{tool.name: tool for tool in plan.request.tools}}
    if (yield from _any(_sizes(plan), check_reach(plan), check_context(plan, tools, bins, reservations))):
        return
    yield from check_graph(plan)
    yield from check_clock(plan)
    yield from _tools(plan, tools)
    yield from check_ports(plan, tools)
    yield from check_arguments(plan, tools)
    yield from check_outputs(plan, tools)
    yield from check_routing(plan, bins, routes)
    yield from check_load(plan, bins, reservations)
    yield from check_budget(plan, prices)


def _any(*checks: Iterator[str]) -> Generator[str, None, bool]:
    """Pass violations on; whether there were any."""
    found = False
    for text in chain(*checks):
        found = True
        yield text
    return found


def _sizes(plan: Plan) -> Iterator[str]:
    if not plan.steps:
        yield "it has no steps"
    if len(plan.steps) > MAX_STEPS:
        yield f"it has {len(plan.steps)} steps, more than {MAX_STEPS}"
    if len(plan.request.task) > MAX_TASK_CHARS:
        yield f"its task has {len(plan.request.task)} characters, more than {MAX_TASK_CHARS}"
    if len(plan.warnings) > MAX_WARNINGS:
        yield f"it has {len(plan.warnings)} warnings, more than {MAX_WARNINGS}"


def _tools(plan: Plan, tools: Mapping[str, Tool]) -> Iterator[str]:
    allowed = plan.request.allowed_tools
    extra = {tool.name for tool in plan.request.tools}
    for step in plan.steps:
        if step.tool not in tools:
            yield f"step {step.id}: the registry has no tool {step.tool}"
        elif allowed is not None and step.tool not in allowed and step.tool not in extra:
            yield f"step {step.id}: the request does not allow the tool {step.tool}"
