"""A solver-neutral scheduling problem: multi-mode activities, precedence, time-varying capacities, budgets.

It is the multi-mode resource-constrained project scheduling problem (MRCPSP; Brucker et al., "Resource-constrained
project scheduling: notation, classification, models, and methods", EJOR 1999) with capacities that change over
time. An activity is a step of a plan, a mode is a candidate allocation on a bin, a bin holds renewable resources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tomas.schema import POOL_SIZE, RESOURCE_NAMES, CapacityCurve, Resources

__all__ = [
    "PLAN_RESOURCES",
    "Activity",
    "Assignment",
    "Capacity",
    "Mode",
    "Problem",
    "Schedule",
    "capacity_of",
    "mode_need",
]

FloatArray = npt.NDArray[np.float64]

PLAN_RESOURCES = (*RESOURCE_NAMES, "pool slots")
"""The renewable resources of a plan's problem; slots are the fifth."""


@dataclass(frozen=True)
class Mode:
    """One way to run an activity: where, with what, and how long that takes."""

    bin: str
    need: tuple[float, ...]
    """Of each of the problem's resources, held from start to end."""
    p50_ms: float
    p90_ms: float
    uses: Mapping[str, float] = field(default_factory=dict)
    """Of the problem's budgets, by name, used up for good."""
    cost: float = 0.0
    """What choosing this mode costs, in any one currency."""


@dataclass(frozen=True)
class Activity:
    """A step to be placed; it starts when all ``predecessors`` ended, and not before ``earliest_ms``."""

    id: str
    modes: tuple[Mode, ...]
    predecessors: tuple[str, ...] = ()
    priority: int = 1
    """Where several plans share a problem: a higher one is placed first."""
    earliest_ms: float = 0.0


@dataclass(frozen=True)
class Capacity:
    """What a bin has free over time.

    :param starts_ms: shape (k,), ascending, the first is 0; row ``i`` holds from there to the next start,
        the last one for ever.
    :param free: shape (k, r): one column per resource of the problem.
    :param spread: how uncertain ``free`` is, as a share of the bin; 0 where it is known.
    """

    starts_ms: FloatArray
    free: FloatArray
    spread: float = 0.0


@dataclass(frozen=True)
class Problem:
    """Activities, the capacities of the bins they may use, budgets, and an optional deadline."""

    activities: tuple[Activity, ...]
    capacities: Mapping[str, Capacity]
    deadline_ms: float | None = None
    resources: tuple[str, ...] = PLAN_RESOURCES
    """Names of the renewable resources, for messages."""
    budgets: Mapping[str, float] = field(default_factory=dict)
    """Non-renewable resources of the whole problem, by name; a mode's ``uses`` are counted against them."""


@dataclass(frozen=True)
class Assignment:
    """An activity's chosen mode and its time on the bin, at the mode's p90 latency."""

    activity: str
    mode: Mode
    mode_index: int
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Schedule:
    """One assignment per activity, in the order of the problem."""

    assignments: tuple[Assignment, ...]
    makespan_ms: float
    bound_ms: float = 0.0
    """No schedule of this problem ends earlier; equal to ``makespan_ms`` where the schedule is optimal."""
    method: str = "list"
    """What made it: ``list`` or ``cp-sat``."""
    interrupted: bool = False
    """Whether a limit in processor time ended the search: only then may a repetition differ."""

    @property
    def cost(self) -> float:
        """Cost of the chosen modes."""
        return sum(item.mode.cost for item in self.assignments)

    @property
    def gap_pct(self) -> float:
        """Distance between makespan and bound, as a percentage of the makespan."""
        return 100.0 * max(0.0, self.makespan_ms - self.bound_ms) / self.makespan_ms if self.makespan_ms else 0.0


def mode_need(allocation: Resources, slots: int) -> tuple[float, ...]:
    """The ``need`` of a plan's mode, in the order of :data:`PLAN_RESOURCES`."""
    return (*allocation, float(slots))


def capacity_of(curve: CapacityCurve, taken_slots: Sequence[tuple[float, float, int]] = ()) -> Capacity:
    """A forecast curve with the pool slots of its bin as fifth resource.

    :param taken_slots: (start, end, slots) of other plans' reservations, in ms from the curve's start; an
        infinite end holds for ever.
    """
    grid = np.arange(len(curve), dtype=np.float64) * curve.step_ms
    marks = {0.0}
    for start, end, _ in taken_slots:
        marks.update(mark for mark in (max(0.0, start), end) if 0.0 < mark < math.inf)
    starts = np.union1d(grid, np.array(sorted(marks)))
    cells = np.minimum((starts // curve.step_ms).astype(np.int64), len(curve) - 1)
    columns = [
        np.asarray(values, dtype=np.float64)[cells]
        for values in (curve.cpu_cores, curve.cpu_mem_gb, curve.gpu_sm, curve.gpu_mem_gb)
    ]
    slots = np.full(len(starts), float(POOL_SIZE))
    for start, end, count in taken_slots:
        slots[(starts >= start) & (starts < end)] -= count
    free = np.column_stack([*columns, np.maximum(slots, 0.0)])
    changed = np.ones(len(starts), dtype=bool)
    changed[1:] = (np.abs(np.diff(free, axis=0)) > 0).any(axis=1)
    return Capacity(starts[changed], free[changed], curve.spread)
