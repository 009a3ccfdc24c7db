"""Load: a sweep over every instant at which a load or a capacity changes.

Amounts are whole numbers of 2^-40 units. Floats would lose a small load that is added to a huge one and left
over when that ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from tomas.schema import POOL_SIZE, RESOURCE_NAMES, Bin, CapacityCurve, Plan, PlanStep, Reservation, Resources

__all__ = ["check_load"]

_BITS = 40
_EPSILON = 2**_BITS // 1_000_000
_OVERLAP_MS = 1e-3
"""Two loads that overlap by less than this touch: times are sums of floats."""
_EARLY = timedelta(milliseconds=1)
_DIMENSIONS = (*RESOURCE_NAMES, "pool slots")
_SLOTS = len(RESOURCE_NAMES)

Load = tuple[float, float, tuple[int, ...]]
"""Start and end in ms from the plan's release, and the amount in each dimension."""


def check_load(plan: Plan, bins: Sequence[Bin], reservations: Sequence[Reservation]) -> Iterator[str]:
    """Violations of capacity; a step on an unknown bin loads nothing."""
    places = {item.name: item for item in bins}
    curves = {curve.bin: curve for curve in plan.forecast}
    if len(curves) != len(plan.forecast):
        yield "a bin has two forecast curves"
    placed: dict[str, list[PlanStep]] = {}
    for step in plan.steps:
        if step.bin in places:
            placed.setdefault(step.bin, []).append(step)
    pools: dict[str, list[str]] = {}
    for place in places.values():
        pools.setdefault(place.pool, []).append(place.name)
    own: dict[str, list[Load]] = {}
    foreign: dict[str, list[Load]] = {}
    for item in reservations:
        if item.plan_id != plan.id:
            foreign.setdefault(item.bin, []).append(_reserved(item, plan))
    for name, steps in sorted(placed.items()):
        curve = curves.get(name)
        if curve is None:
            for step in steps:
                yield f"step {step.id}: the plan holds no forecast for its bin {name}"
        elif curve.start_at - plan.release_at > _EARLY or plan.created_at - curve.start_at > _EARLY:
            yield f"forecast of bin {name}: it starts at {curve.start_at}, not between creation and release"
        else:
            own[name] = [
                (step.start_ms, step.end_ms, _amounts(step.allocation.final, step.pool_slots)) for step in steps
            ]
            yield from _bin(places[name], curve, plan, own[name], foreign.get(name, []))
    for pool, names in sorted(pools.items()):
        mine = [load for name in names for load in own.get(name, ())]
        if len(names) > 1:
            yield from _pool(pool, mine, [load for name in names for load in foreign.get(name, ())])


def _units(value: float) -> int:
    """An amount in 2^-40 units; what is larger than 2^52 is a whole number already."""
    return int(value) << _BITS if value >= 2**52 else round(value * 2**_BITS)


def _shown(amount: int) -> str:
    return f"{amount / 2**_BITS:g}" if amount < 2**1000 else "more than 1e288"


def _amounts(need: Resources, slots: int) -> tuple[int, ...]:
    return (*(_units(value) for value in need), _units(slots))


def _reserved(item: Reservation, plan: Plan) -> Load:
    return (
        (item.start_at - plan.release_at).total_seconds() * 1000.0,
        (item.end_at - plan.release_at).total_seconds() * 1000.0,
        _amounts(item.need, item.slots),
    )


def _bin(place: Bin, curve: CapacityCurve, plan: Plan, own: list[Load], foreign: list[Load]) -> Iterator[str]:
    """One violation per dimension is named."""
    shift = (plan.release_at - curve.start_at).total_seconds() * 1000.0
    columns = [getattr(curve, name) for name in RESOURCE_NAMES]
    capacity = _amounts(place.capacity, POOL_SIZE)
    named: set[int] = set()
    for instant, mine, theirs in _peaks(own, foreign, _edges(curve, shift, own)):
        cell = min(max(0, math.floor((instant + shift + _OVERLAP_MS) / curve.step_ms)), len(curve) - 1)
        for index, amount in enumerate(mine):
            if index in named:
                continue
            free = capacity[index] if index == _SLOTS else _units(columns[index][cell])
            if amount > free + _EPSILON:
                named.add(index)
                yield (
                    f"bin {place.name} at {instant:g} ms: the plan loads {_shown(amount)} {_DIMENSIONS[index]}, "
                    f"but {_shown(free)} are forecast free"
                )
            elif amount > 0 and amount + theirs[index] > capacity[index] + _EPSILON:
                named.add(index)
                yield (
                    f"bin {place.name} at {instant:g} ms: {_shown(amount)} {_DIMENSIONS[index]} of the plan and "
                    f"{_shown(theirs[index])} reserved by others exceed its {_shown(capacity[index])}"
                )


def _pool(pool: str, own: list[Load], foreign: list[Load]) -> Iterator[str]:
    """Where several bins share a pool, its slots are those of all of them."""
    for instant, mine, theirs in _peaks(own, foreign, ()):
        if mine[_SLOTS] > 0 and mine[_SLOTS] + theirs[_SLOTS] > _units(POOL_SIZE):
            yield (
                f"pool {pool} at {instant:g} ms: {_shown(mine[_SLOTS])} slots of the plan and "
                f"{_shown(theirs[_SLOTS])} reserved by others exceed its {POOL_SIZE}"
            )
            return


def _edges(curve: CapacityCurve, shift: float, own: list[Load]) -> Iterator[float]:
    """Instants inside the plan's time on a bin at which the bin's capacity changes."""
    first = min(start for start, _, _ in own) + shift
    last = max(end for _, end, _ in own) + shift
    for cell in range(
        max(1, math.floor(first / curve.step_ms)), min(len(curve), math.ceil(last / curve.step_ms) + 1)
    ):
        yield cell * curve.step_ms - shift


def _peaks(
    own: list[Load], foreign: list[Load], edges: Iterable[float]
) -> Iterator[tuple[float, list[int], list[int]]]:
    """Own and foreign load at every instant at which one rises or a capacity changes, in ascending order."""
    instants = {start for start, _, _ in own}
    instants.update(start for start, _, _ in foreign)
    instants.update(edges)
    own_at, foreign_at = _Running(own), _Running(foreign)
    for instant in sorted(instants):
        yield instant, own_at.advance(instant), foreign_at.advance(instant)


class _Running:
    """The sum of loads that cover an instant, for instants asked in ascending order."""

    def __init__(self, loads: list[Load]) -> None:
        self._starts = sorted(loads)
        # However short a load is, it counts at the instant at which it starts.
        self._ends = sorted(
            (max(end - _OVERLAP_MS, math.nextafter(start, math.inf)), need) for start, end, need in loads
        )
        self._next_start = 0
        self._next_end = 0
        self._total = [0] * len(_DIMENSIONS)

    def advance(self, instant: float) -> list[int]:
        total = self._total
        while self._next_start < len(self._starts) and self._starts[self._next_start][0] <= instant:
            for index, value in enumerate(self._starts[self._next_start][2]):
                total[index] += value
            self._next_start += 1
        while self._next_end < len(self._ends) and self._ends[self._next_end][0] <= instant:
            for index, value in enumerate(self._ends[self._next_end][1]):
                total[index] -= value
            self._next_end += 1
        return total
