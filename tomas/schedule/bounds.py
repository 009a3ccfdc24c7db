"""Lower bounds on the makespan: the longest chain, and the work against the capacity."""

from __future__ import annotations

from collections.abc import Iterator

from tomas.schedule.compiled import Compiled

__all__ = ["lower_bound"]


def lower_bound(compiled: Compiled) -> float:
    """No schedule ends earlier than this, in ms.

    The larger of two relaxations: without capacities (each activity starts at the first instant at which one of
    its modes fits its empty bin, after its predecessors), and without precedence (see :func:`_energy`).
    """
    return max(_chain(compiled), _energy(compiled))


def _chain(compiled: Compiled) -> float:
    ends = [0.0] * len(compiled)
    for j in compiled.order:
        ready = max([compiled.earliest[j], *(ends[b] for b in compiled.before[j])])
        ends[j] = min(
            compiled.timelines[option.bin].earliest(option.need, ready, option.duration) + option.duration
            for option in compiled.options[j]
        )
    return max(ends, default=0.0)


def _energy(compiled: Compiled) -> float:
    """Time until all bins together have offered the least work, of the resource that takes longest.

    Each activity needs at least the smallest amount x duration over its modes.
    """
    resources = len(compiled.problem.resources)
    work = [0.0] * resources
    for group in compiled.options:
        for index in range(resources):
            work[index] += min(
                next((amount for i, amount in option.need if i == index), 0.0) * option.duration for option in group
            )
    return max((_time_of(compiled, index, amount) for index, amount in enumerate(work)), default=0.0)


def _time_of(compiled: Compiled, resource: int, work: float) -> float:
    """The first instant until which all bins together have offered ``work`` of a resource."""
    if work <= 0:
        return 0.0
    steps = [
        (start, change)
        for capacity in compiled.problem.capacities.values()
        for start, change in _changes(capacity.starts_ms.tolist(), capacity.free[:, resource].tolist())
    ]
    rate, now = 0.0, 0.0
    for start, change in sorted(steps):
        if rate * (start - now) >= work:
            break
        work -= rate * (start - now)
        rate, now = rate + change, start
    return now + work / rate if rate > 0 else now


def _changes(starts: list[float], values: list[float]) -> Iterator[tuple[float, float]]:
    previous = 0.0
    for start, value in zip(starts, values, strict=True):
        if value != previous:
            yield start, value - previous
        previous = value
