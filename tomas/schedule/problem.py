"""A solver-neutral scheduling problem: multi-mode activities, precedence, time-varying capacities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tomas.schema import POOL_SIZE, CapacityCurve, Resources

__all__ = ["Activity", "Assignment", "Capacity", "Mode", "Problem", "Schedule", "capacity_of"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mode:
    """One way to run an activity: where, with what, and how long that takes."""

    bin: str
    allocation: Resources
    slots: int
    p50_ms: float
    p90_ms: float


@dataclass(frozen=True)
class Activity:
    """A step to be placed; it starts when all ``predecessors`` ended."""

    id: str
    modes: tuple[Mode, ...]
    predecessors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Capacity:
    """What a bin has free over time.

    :param starts_ms: shape (k,), ascending, the first is 0; row ``i`` holds from there to the next start,
        the last one for ever.
    :param free: shape (k, 5): cores, GB, percent of a GPU's SMs, GPU GB, pool slots.
    """

    starts_ms: FloatArray
    free: FloatArray


@dataclass(frozen=True)
class Problem:
    """Activities, the capacities of the bins they may use, and an optional deadline."""

    activities: tuple[Activity, ...]
    capacities: Mapping[str, Capacity]
    deadline_ms: float | None = None


@dataclass(frozen=True)
class Assignment:
    """An activity's chosen mode and its time on the bin, at the mode's p90 latency."""

    activity: str
    mode: Mode
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Schedule:
    """One assignment per activity, in the order of the problem."""

    assignments: tuple[Assignment, ...]
    makespan_ms: float


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
    return Capacity(starts[changed], free[changed])
