"""Identity and order: ids, dependencies, cycles, times."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tomas.schema import Plan, StepBinding

__all__ = ["check_graph"]

_TOLERANCE_MS = 1e-3


def check_graph(plan: Plan) -> Iterator[str]:
    """Violations of identity, precedence and time."""
    by_id = {step.id: step for step in plan.steps}
    if len(by_id) != len(plan.steps):
        seen: set[str] = set()
        for step in plan.steps:
            if step.id in seen:
                yield f"step id {step.id} is used twice"
            seen.add(step.id)
    for step in plan.steps:
        bound = {
            binding.step for items in step.inputs.values() for binding in items if isinstance(binding, StepBinding)
        }
        for name in sorted(bound - set(step.depends_on)):
            yield f"step {step.id} reads from {name} without depending on it"
        if len(set(step.depends_on)) != len(step.depends_on):
            yield f"step {step.id} lists a dependency twice"
        for name in step.depends_on:
            before = by_id.get(name)
            if before is None:
                yield f"step {step.id} depends on {name}, which is not in the plan"
            elif name == step.id:
                yield f"step {step.id} depends on itself"
            elif step.start_ms < before.end_ms - _TOLERANCE_MS:
                yield (
                    f"step {step.id} starts at {step.start_ms:g} ms, before {name}, on which it depends, "
                    f"ends at {before.end_ms:g} ms"
                )
    yield from _cycles(plan)
    yield from _times(plan)


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
        remaining.pop(done, None)
        for reader in readers.get(done, []):
            if reader in remaining:
                remaining[reader].discard(done)
                if not remaining[reader]:
                    free.append(reader)
    if remaining:
        yield f"the steps {', '.join(sorted(remaining)[:10])} depend on each other in a cycle"


def _times(plan: Plan) -> Iterator[str]:
    numbers = {"makespan_ms": plan.makespan_ms, "t_inf_predicted_ms": plan.t_inf_predicted_ms}
    for name, value in numbers.items():
        if not math.isfinite(value) or value < 0:
            yield f"{name} is {value}"
    last = 0.0
    for step in plan.steps:
        values = {
            "start_ms": step.start_ms,
            "end_ms": step.end_ms,
            "latency_p50_ms": step.latency_p50_ms,
            "latency_p90_ms": step.latency_p90_ms,
            "predicted_input_bytes": step.predicted_input_bytes,
            "confidence": step.confidence,
        }
        bad = [f"step {step.id}: {name} is {value}" for name, value in values.items() if not _sound(value)]
        if bad:
            yield from bad
            continue
        if step.latency_p50_ms > step.latency_p90_ms + _TOLERANCE_MS:
            yield f"step {step.id}: its median latency is above its 90 % latency"
        if abs(step.start_ms + step.latency_p90_ms - step.end_ms) > max(_TOLERANCE_MS, 1e-9 * step.end_ms):
            yield f"step {step.id}: it ends at {step.end_ms:g} ms, which is not its start plus its 90 % latency"
        last = max(last, step.end_ms)
    if abs(last - plan.makespan_ms) > max(_TOLERANCE_MS, 1e-9 * last):
        yield f"makespan_ms is {plan.makespan_ms:g}, but the last step ends at {last:g} ms"
    deadline_s = plan.request.deadline_s
    wait_ms = (plan.release_at - plan.created_at).total_seconds() * 1000.0
    if wait_ms < 0:
        yield "it is released before it was created"
    if deadline_s is not None and wait_ms + last > deadline_s * 1000.0 + 1.0:
        yield (
            f"the last step ends {(wait_ms + last) / 1000.0:.1f} s after the request, later than the deadline of "
            f"{deadline_s:g} s"
        )


def _sound(value: float) -> bool:
    return math.isfinite(value) and value >= 0
