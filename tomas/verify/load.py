"""Routing and load: bins, slots, and a sweep over every instant at which a load or a capacity changes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime

from tomas.schema import POOL_SIZE, RESOURCE_NAMES, Bin, CapacityCurve, Plan, PlanStep, Reservation, Resources

__all__ = ["check_load"]

_EPSILON = 1e-6
_OVERLAP_MS = 1e-3
"""Two loads that overlap by less than this touch: times are sums of floats."""


def check_load(plan: Plan, bins: Sequence[Bin], reservations: Sequence[Reservation]) -> Iterator[str]:
    """Violations of placement, slots and capacity."""
    known = {item.name: item for item in bins}
    curves = {curve.bin: curve for curve in plan.forecast}
    if len(curves) != len(plan.forecast):
        yield "a bin has two forecast curves"
    placed: dict[str, list[PlanStep]] = {}
    for step in plan.steps:
        place = known.get(step.bin)
        if place is None:
            yield f"step {step.id}: there is no bin {step.bin}"
            continue
        yield from _routing(step, place)
        if not (math.isfinite(step.start_ms) and math.isfinite(step.end_ms)):
            continue  # named among the times; no instant can be swept
        if step.bin in curves:
            placed.setdefault(step.bin, []).append(step)
        else:
            yield f"step {step.id}: the plan holds no forecast for its bin {step.bin}"
    for name, steps in sorted(placed.items()):
        others = [item for item in reservations if item.bin == name and item.plan_id != plan.id]
        yield from _sweep(steps, known[name], curves[name], plan.release_at, others)


def _routing(step: PlanStep, place: Bin) -> Iterator[str]:
    expected = {"worker_class": place.worker_class, "queue": place.queue, "pool": place.pool}
    for field, value in expected.items():
        if getattr(step, field) != value:
            yield f"step {step.id}: {field} is {getattr(step, field)}, but bin {place.name} has {value}"
    share = 0.0
    for name, need in _amounts(step.allocation.final).items():
        room = getattr(place.capacity, name)
        if not math.isfinite(need) or need < 0:
            yield f"step {step.id}: {name} of its allocation is {need}"
            return
        if need > room + _EPSILON:
            yield f"step {step.id}: needs {need:g} {name}, but bin {place.name} has {room:g}"
            return
        if need > 0:
            share = max(share, need / room)
    for name, floor in _amounts(step.allocation.floor).items():
        if getattr(step.allocation.final, name) < floor - _EPSILON:
            yield f"step {step.id}: is allotted less {name} than its floor of {floor:g}"
    slots = max(1, math.ceil(share * POOL_SIZE - _EPSILON))
    if step.pool_slots != slots:
        yield f"step {step.id}: pool_slots is {step.pool_slots}, but its dominant share takes {slots}"


def _amounts(resources: Resources) -> dict[str, float]:
    return {name: getattr(resources, name) for name in RESOURCE_NAMES}


def _sweep(
    steps: list[PlanStep], place: Bin, curve: CapacityCurve, release_at: datetime, others: list[Reservation]
) -> Iterator[str]:
    """Add up all loads of a bin over time; one violation per bin and resource is named."""
    shift = (release_at - curve.start_at).total_seconds() * 1000.0
    own = [
        (step.start_ms + shift, step.end_ms + shift, [*_amounts(step.allocation.final).values(), step.pool_slots])
        for step in steps
    ]
    foreign = [
        (
            (item.start_at - curve.start_at).total_seconds() * 1000.0,
            (item.end_at - curve.start_at).total_seconds() * 1000.0,
            [*_amounts(item.need).values(), item.slots],
        )
        for item in others
    ]
    first = min(start for start, _, _ in own)
    last = max(end for _, end, _ in own)
    instants = {start for start, _, _ in own}
    instants |= {start for start, _, _ in foreign if first < start < last}
    step_ms = curve.step_ms
    cell = max(0, math.floor(first / step_ms)) + 1
    while cell < len(curve) and cell * step_ms < last:
        instants.add(float(cell * step_ms))
        cell += 1
    capacity = [*_amounts(place.capacity).values(), float(POOL_SIZE)]
    names = [*RESOURCE_NAMES, "pool slots"]
    named: set[str] = set()
    # Load only ever rises at the start of a load, and capacity only changes at a cell's edge.
    own_at = _Running(own)
    foreign_at = _Running(foreign)
    for instant in sorted(instants):
        mine, theirs = own_at.advance(instant), foreign_at.advance(instant)
        free = [*_amounts(curve.at_index(math.floor((instant + _OVERLAP_MS) / step_ms))).values(), float(POOL_SIZE)]
        for index, name in enumerate(names):
            if name in named or mine[index] <= _EPSILON:
                continue
            if mine[index] > free[index] + _EPSILON:
                named.add(name)
                yield (
                    f"bin {place.name} at {instant - shift:g} ms: the plan loads {mine[index]:g} {name}, "
                    f"but {free[index]:g} are forecast free"
                )
            elif mine[index] + theirs[index] > capacity[index] + _EPSILON:
                named.add(name)
                yield (
                    f"bin {place.name} at {instant - shift:g} ms: {mine[index]:g} {name} of the plan and "
                    f"{theirs[index]:g} reserved by others exceed its {capacity[index]:g}"
                )


class _Running:
    """The sum of loads that cover an instant, for instants asked in ascending order."""

    def __init__(self, loads: list[tuple[float, float, list[float]]]) -> None:
        self._starts = sorted(loads, key=lambda load: load[0])
        self._ends = sorted(loads, key=lambda load: load[1])
        self._next_start = 0
        self._next_end = 0
        self._total = [0.0] * 5

    def advance(self, instant: float) -> list[float]:
        while self._next_start < len(self._starts) and self._starts[self._next_start][0] <= instant:
            self._add(self._starts[self._next_start][2], 1.0)
            self._next_start += 1
        while self._next_end < len(self._ends) and self._ends[self._next_end][1] <= instant + _OVERLAP_MS:
            self._add(self._ends[self._next_end][2], -1.0)
            self._next_end += 1
        return self._total

    def _add(self, load: list[float], sign: float) -> None:
        for index, value in enumerate(load):
            self._total[index] += sign * value
