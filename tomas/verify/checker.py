"""Proof that a plan is executable: identity, graph, types, arguments, routing, and load at every instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from tomas.errors import PlanRejected
from tomas.schema import MAX_TASK_CHARS, Bin, Plan, Reservation, Tool
from tomas.verify.graph import check_graph
from tomas.verify.load import check_load
from tomas.verify.typing import check_arguments, check_outputs, check_ports

__all__ = ["MAX_LISTED", "verify_plan"]

MAX_LISTED = 20
"""Violations named in one refusal; a broken plan has either few or thousands."""
MAX_STEPS = 10_000
MAX_WARNINGS = 1000


def verify_plan(
    plan: Plan, registry_tools: Mapping[str, Tool], bins: Sequence[Bin], reservations: Sequence[Reservation]
) -> None:
    """Check everything that a released plan promises; shares no code with the scheduler.

    The plan's own loads, each at its p90 latency, must stay within ``plan.forecast`` (from which other
    plans' reservations are already subtracted) and, together with ``reservations``, within the bins'
    capacity and pools.

    :param registry_tools: the tools that may appear, by name; those of the request are added.
    :param reservations: of other plans; those of ``plan`` itself are ignored.
    :raises PlanRejected: with all violations found, at most :data:`MAX_LISTED` of them in words.
    """
    tools = {**registry_tools, **{tool.name: tool for tool in plan.request.tools}}
    violations = list(islice(_violations(plan, tools, bins, reservations), MAX_LISTED + 1))
    if not violations:
        return
    listed = violations[:MAX_LISTED]
    more = " There are more." if len(violations) > MAX_LISTED else ""
    raise PlanRejected(
        f"Plan {plan.id} breaks {len(listed)} rule(s): " + " · ".join(listed) + f".{more}",
        remedy="Plan the task again; if the same violation returns, report it with the plan's JSON.",
    )


def _violations(
    plan: Plan, tools: Mapping[str, Tool], bins: Sequence[Bin], reservations: Sequence[Reservation]
) -> Iterator[str]:
    too_large = list(_sizes(plan))
    yield from too_large
    if too_large:
        return  # the remaining checks are linear in what was just found to be unbounded
    yield from check_graph(plan)
    yield from _tools(plan, tools)
    yield from check_ports(plan, tools)
    yield from check_arguments(plan, tools)
    yield from check_outputs(plan, tools)
    yield from check_load(plan, bins, reservations)


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
