"""Placement and routes: every step fits its bin, takes its share of slots, and gets where something consumes it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tomas.schema import POOL_SIZE, RESOURCE_NAMES, Bin, Plan, PlanStep

__all__ = ["Routes", "check_routing"]

_EPSILON = 1e-6
_RELATIVE = 1e-9
"""A need may exceed its bin by this share: it may have been computed from it."""


@dataclass(frozen=True)
class Routes:
    """What Airflow has, found out just before the release."""

    pools: Mapping[str, int]
    """Slots of every pool that exists, by name."""
    queues: Collection[str] | None
    """Queues that a live worker consumes; None where that cannot be known."""


def check_routing(plan: Plan, bins: Sequence[Bin], routes: Routes | None) -> Iterator[str]:
    """Violations of placement, slots, and the existence of pools, queues and consumers."""
    places = {item.name: item for item in bins}
    if len(places) != len(bins):
        yield "two bins have one name"
    for step in plan.steps:
        place = places.get(step.bin)
        if place is None:
            yield f"step {step.id}: there is no bin {step.bin}"
        else:
            yield from _placement(step, place)
    if routes is not None:
        for pool in sorted({step.pool for step in plan.steps}):
            yield from _pool(pool, routes.pools.get(pool))
        if routes.queues is not None:
            for queue in sorted({step.queue for step in plan.steps}.difference(routes.queues)):
                yield f"no live worker consumes the queue {queue}"


def _pool(name: str, slots: int | None) -> Iterator[str]:
    if slots is None:
        yield f"the pool {name} does not exist"
    elif slots != POOL_SIZE:
        yield f"the pool {name} has {slots} slots instead of {POOL_SIZE}"


def _placement(step: PlanStep, place: Bin) -> Iterator[str]:
    for field in ("worker_class", "queue", "pool"):
        value, wanted = getattr(step, field), getattr(place, field)
        if value != wanted:
            yield f"step {step.id}: {field} is {value}, but bin {place.name} has {wanted}"
    final, floor = step.allocation.final, step.allocation.floor
    share = 0.0
    for name in RESOURCE_NAMES:
        need, room, least = getattr(final, name), getattr(place.capacity, name), getattr(floor, name)
        if need < least - _EPSILON:
            yield f"step {step.id}: is allotted less {name} than its floor of {least:g}"
        if need > room * (1 + _RELATIVE):
            yield f"step {step.id}: needs {need:g} {name}, but bin {place.name} has {room:g}"
        elif need > 0:
            share = max(share, need / room)
    slots = max(1, math.ceil(share * POOL_SIZE - _EPSILON))
    if step.pool_slots != slots:
        yield f"step {step.id}: pool_slots is {step.pool_slots}, but its dominant share takes {slots}"
