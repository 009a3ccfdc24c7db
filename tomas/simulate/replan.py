"""Placing the steps of a plan again, on the capacity that the simulation has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tomas.errors import FitsNoBin
from tomas.schedule import Activity, Capacity, Mode, Problem, Schedule, list_schedule
from tomas.schema import POOL_SIZE
from tomas.simulate.placing import Booking, Placed
from tomas.simulate.workload import SimBin, SimStep, Workload

__all__ = ["Replanner"]


class Replanner:
    """A :class:`~tomas.simulate.placing.Placer` that asks the scheduler, as the planner does.

    Each step may run, with the allocation and the latency of its plan, on every bin that its allocation fits. The
    bookings of earlier plans are subtracted. Announced changes of capacity are foreseen; the loss of a worker is
    not, and one that is gone is taken to be gone for good.

    :param schedule: what solves the problem; :func:`tomas.schedule.list_schedule` unless given.
    """

    def __init__(self, bins: Sequence[SimBin], schedule: Callable[[Problem], Schedule] = list_schedule) -> None:
        self._bins = {place.name: place for place in bins}
        self._schedule = schedule
        self._slots: dict[tuple[str, str, int, tuple[float, ...]], int] = {}

    def place(
        self,
        workload: Workload,
        steps: Sequence[int],
        *,
        now_ms: float,
        earliest_ms: Mapping[int, float],
        booked: Sequence[Booking],
        lost: frozenset[str],
    ) -> list[Placed]:
        """See :meth:`tomas.simulate.placing.Placer.place`.

        :raises FitsNoBin: a step is larger than every bin that is left.
        :raises Infeasible: a step never fits what is free.
        """
        left = [place for place in self._bins.values() if place.name not in lost]
        moving = set(steps)
        names = [step.id for step in workload.steps]
        activities = tuple(
            Activity(
                names[number],
                self._modes(workload, workload.steps[number], left),
                tuple(names[before] for before in workload.steps[number].after if before in moving),
                earliest_ms=max(0.0, earliest_ms[number] - now_ms),
            )
            for number in steps
        )
        held: dict[str, list[Booking]] = {}
        for booking in booked:
            held.setdefault(booking.bin, []).append(booking)
        capacities = {place.name: _capacity(place, held.get(place.name, ()), now_ms) for place in left}
        solved = self._schedule(Problem(activities, capacities))
        return [
            Placed(
                item.mode.bin,
                round(item.mode.need[4]),
                now_ms + item.start_ms,
                now_ms + item.end_ms,
            )
            for item in solved.assignments
        ]

    def _modes(self, workload: Workload, step: SimStep, bins: Sequence[SimBin]) -> tuple[Mode, ...]:
        extra = workload.hand_over_ms
        modes = []
        for place in bins:
            key = (place.name, step.bin, step.slots, step.need)
            slots = self._slots.get(key)
            if slots is None:
                # On its own bin a step keeps the slots that its plan was routed with.
                slots = place.slots_for(step.need)
                if place.name == step.bin and not place.redeclared and slots <= POOL_SIZE:
                    slots = step.slots
                self._slots[key] = slots
            if slots <= POOL_SIZE:
                need = (*step.need, float(slots))
                modes.append(Mode(place.name, need, step.p50_ms + extra, max(step.p90_ms, step.p50_ms) + extra))
        if not modes:
            raise FitsNoBin(
                f"Step {step.id} of {workload.name} fits none of the {len(bins)} bins that are left.",
                remedy="Add a larger worker.",
            )
        return tuple(modes)


def _capacity(place: SimBin, held: Sequence[Booking], now_ms: float) -> Capacity:
    """What is free from now on, bookings subtracted; losses to come are not foreseen."""
    marks = {0.0}
    marks.update(one.start_ms - now_ms for one in place.stretches if one.start_ms > now_ms)
    for booking in held:
        marks.update(mark - now_ms for mark in (booking.start_ms, booking.end_ms) if mark > now_ms)
    starts = np.array(sorted(marks))
    origins = np.array([one.start_ms for one in place.stretches])
    rows = np.array([(*one.free, float(one.slots)) for one in place.stretches])
    free = rows[np.searchsorted(origins, starts + now_ms, side="right") - 1].copy()
    for booking in held:
        first, last = np.searchsorted(starts, [booking.start_ms - now_ms, booking.end_ms - now_ms])
        free[first:last] -= (*booking.need, float(booking.slots))
    return Capacity(starts, np.maximum(free, 0.0))
