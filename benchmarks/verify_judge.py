"""A second opinion on order and load, by plain addition at every instant; slow, short, and of no cleverness.

It shares nothing with the verifier: it confirms that what the generator calls good or overloaded is so.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.verify_world import Case
from tomas.schema import RESOURCE_NAMES, Plan

__all__ = ["LEAST", "broken", "instants", "loads"]

LEAST = 1e-4
"""A violation is larger than this in every unit; rounding is smaller."""


def instants(case: Case, name: str) -> list[float]:
    """Every instant on a bin, in ms from the release, at which a load begins or free capacity may change."""
    plan = case.plan
    last = max(step.end_ms for step in plan.steps)
    found = {step.start_ms for step in plan.steps if step.bin == name}
    curve = next(item for item in plan.forecast if item.bin == name)
    shift = (plan.release_at - curve.start_at).total_seconds() * 1000.0
    found |= {i * curve.step_ms - shift for i in range(len(curve))}
    found |= {_since_release(plan, item.start_at) for item in case.reservations if item.bin == name}
    return sorted(instant for instant in found if 0 <= instant < last)


def _since_release(plan: Plan, instant: object) -> float:
    return float((instant - plan.release_at).total_seconds() * 1000.0)  # type: ignore[operator]


def loads(case: Case, name: str, instant: float) -> tuple[list[float], list[float]]:
    """Own and reserved load of a bin at an instant: four resources, then slots."""
    plan = case.plan
    own, foreign = [0.0] * 5, [0.0] * 5
    for step in plan.steps:
        if step.bin == name and step.start_ms <= instant + LEAST and instant + LEAST < step.end_ms:
            for i, value in enumerate([*step.allocation.final, step.pool_slots]):
                own[i] += value
    for item in case.reservations:
        begin, end = _since_release(plan, item.start_at), _since_release(plan, item.end_at)
        if item.bin == name and item.plan_id != plan.id and begin <= instant + LEAST and instant + LEAST < end:
            for i, value in enumerate([*item.need, min(item.slots, 10**9)]):
                foreign[i] += value
    return own, foreign


def broken(case: Case) -> Iterator[str]:
    """What is wrong with order or load."""
    plan = case.plan
    ends = {step.id: step.end_ms for step in plan.steps}
    for step in plan.steps:
        for before in step.depends_on:
            if step.start_ms < ends[before] + plan.hand_over_predicted_ms - LEAST:
                yield f"{step.id} starts too early after {before}"
    for place in case.bins:
        curve = next((item for item in plan.forecast if item.bin == place.name), None)
        if curve is None:
            continue
        shift = (plan.release_at - curve.start_at).total_seconds() * 1000.0
        capacity = [*place.capacity, 100.0]
        for instant in instants(case, place.name):
            own, foreign = loads(case, place.name, instant)
            cell = min(max(int((instant + shift + LEAST) // curve.step_ms), 0), len(curve) - 1)
            free = [*(getattr(curve, name)[cell] for name in RESOURCE_NAMES), 100.0]
            for i in range(5):
                if own[i] > 0 and (own[i] > free[i] + LEAST or own[i] + foreign[i] > capacity[i] + LEAST):
                    yield f"{place.name} is overloaded in dimension {i} at {instant} ms"
