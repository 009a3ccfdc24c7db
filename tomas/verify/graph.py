"""Identity and order: ids, dependencies, cycles."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tomas.schema import Plan, PlanStep, StepBinding

__all__ = ["check_graph"]

_TOLERANCE_MS = 1e-3
_HAND_OVER_TOLERANCE_MS = 1.0
"""The hand-over is a prediction in milliseconds, and a scheduler may count in whole ones."""
_PLAN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,127}")
"""Outputs are stored in a folder of this name."""


def check_graph(plan: Plan) -> Iterator[str]:
    """Violations of identity and precedence."""
    if not _PLAN_ID.fullmatch(plan.id):
        yield "its id is not safe as the name of a folder"
    yield from _ids(plan)
    by_id = {step.id: step for step in plan.steps}
    for step in plan.steps:
        bound = {
            binding.step for items in step.inputs.values() for binding in items if isinstance(binding, StepBinding)
        }
        for name in sorted(bound.difference(step.depends_on)):
            yield f"step {step.id} reads from {name} without depending on it"
        if len(set(step.depends_on)) != len(step.depends_on):
            yield f"step {step.id} lists a dependency twice"
        for name in step.depends_on:
            before = by_id.get(name)
            if before is None:
                yield f"step {step.id} depends on {name}, which is not in the plan"
            elif name == step.id:
                yield f"step {step.id} depends on itself"
            else:
                yield from _order(step, before, plan.hand_over_predicted_ms)
    yield from _cycles(plan)


def _ids(plan: Plan) -> Iterator[str]:
    seen: dict[str, str] = {}
    for step in plan.steps:
        folded = step.id.lower()
        if folded not in seen:
            seen[folded] = step.id
        elif seen[folded] == step.id:
            yield f"step id {step.id} is used twice"
        else:
            # Where a file system ignores case, both would write into one folder.
            yield f"step ids {seen[folded]} and {step.id} differ in case alone"


def _order(step: PlanStep, before: PlanStep, hand_over_ms: float) -> Iterator[str]:
    if step.start_ms < before.end_ms - _TOLERANCE_MS:
        yield (
            f"step {step.id} starts at {step.start_ms:g} ms, before {before.id}, on which it depends, "
            f"ends at {before.end_ms:g} ms"
        )
    elif step.start_ms < before.end_ms + hand_over_ms - _HAND_OVER_TOLERANCE_MS:
        yield (
            f"step {step.id} starts {step.start_ms - before.end_ms:g} ms after {before.id}, on which it depends, "
            f"ends; handing over takes {hand_over_ms:g} ms"
        )


def _cycles(plan: Plan) -> Iterator[str]:
    known = {step.id for step in plan.steps}
    remaining = {step.id: {name for name in step.depends_on if name in known} for step in plan.steps}
    readers: dict[str, list[str]] = {}
    for name, before in remaining.items():
        for other in before:
            readers.setdefault(other, []).append(name)
    free = [name for name, before in remaining.items() if not before]
    while free:
        done = free.pop()
        del remaining[done]
        for reader in readers.get(done, ()):
            remaining[reader].discard(done)
            if not remaining[reader]:
                free.append(reader)
    if remaining:
        yield f"the steps {', '.join(sorted(remaining)[:10])} depend on each other in a cycle"
