"""Curves of free capacity: naive, declared, or a low quantile of recent worker samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

from tomas.schema import RESOURCE_NAMES, Bin, CapacityCurve, Reservation, Sample

__all__ = ["CPU_SHARE", "LEAST_SAMPLES", "NAIVE_STEP_MS", "QUANTILE", "forecast"]

FloatArray = npt.NDArray[np.float64]

QUANTILE = 0.1
LEAST_SAMPLES = 3
"""Fewer recent samples of a bin say less than its declared capacity."""
CPU_SHARE = 0.5
"""Processor time is shared, not held: whatever runs beside it, a step gets at least this share of its bin."""
NAIVE_STEP_MS = 7500
"""The eight values of the naive curves cover a window of 60 s."""
_NAIVE = {
    "cpu_cores": (8.0, 8.0, 8.0, 8.0, 16.0, 16.0, 16.0, 16.0),
    "gpu_sm": (50.0, 50.0, 50.0, 80.0, 80.0, 80.0, 100.0, 100.0),
    "gpu_mem_gb": (40.0, 40.0, 40.0, 60.0, 60.0, 60.0, 80.0, 80.0),
}
"""Fixed free amounts, cut to what a bin has; main memory is free throughout."""


def forecast(
    bins: Sequence[Bin],
    *,
    samples: Iterable[Sample],
    reservations: Iterable[Reservation],
    start_at: datetime,
    horizon_ms: float,
    step_ms: int,
    naive: bool,
) -> list[CapacityCurve]:
    """Free capacity of each bin from ``start_at`` on, other plans' reservations subtracted.

    Without naive curves, a bin with at least :data:`LEAST_SAMPLES` samples gets, per resource, the 10 %
    quantile of declared capacity minus background; another bin its declared capacity. What TOMAS's own
    steps use is not background: it is subtracted as reservations, each for its own time. A reservation
    that is past its end, and still given, belongs to a step that overruns; it is taken to last as long
    again as it was planned.

    :param samples: recent ones, of any bin.
    :param reservations: of other plans, still active.
    :param horizon_ms: beyond it the last value holds on; a curve ends earlier where nothing changes.
    :param naive: take the fixed curves instead of samples.
    """
    by_bin: dict[str, list[Sample]] = {}
    for sample in samples:
        by_bin.setdefault(sample.bin, []).append(sample)
    held: dict[str, list[Reservation]] = {}
    for item in reservations:
        held.setdefault(item.bin, []).append(item)
    cells = max(1, math.ceil(horizon_ms / step_ms))
    return [
        _curve(place, by_bin.get(place.name, []), held.get(place.name, []), start_at, cells, step_ms, naive)
        for place in bins
    ]


def _curve(
    place: Bin,
    samples: Sequence[Sample],
    held: Sequence[Reservation],
    start_at: datetime,
    cells: int,
    step_ms: int,
    naive: bool,
) -> CapacityCurve:
    source: Literal["naive", "samples", "declared"]
    capacity = np.array(list(place.capacity))
    spread = 0.0
    if naive:
        source, free = "naive", _naive(capacity, cells, step_ms)
    elif len(samples) >= LEAST_SAMPLES:
        low = _quantile(capacity, samples)
        spread = _spread(capacity, samples, low)
        source, free = "samples", np.tile(low, (cells, 1))
    else:
        source, free = "declared", np.tile(capacity, (cells, 1))
    for item in held:
        first, last = _cells(item, start_at, step_ms)
        if last > 0 and first < cells:
            # The last value holds for ever, so what outlasts the horizon keeps its last cell.
            free[max(0, first) : min(last, cells)] -= np.array(list(item.need))
    free = np.maximum(free, 0.0)
    changes = np.flatnonzero((np.diff(free, axis=0) != 0).any(axis=1))
    length = int(changes[-1]) + 2 if changes.size else 1
    columns = {
        name: [round(float(value), 6) for value in free[:length, i]] for i, name in enumerate(RESOURCE_NAMES)
    }
    return CapacityCurve(
        bin=place.name,
        start_at=start_at,
        step_ms=step_ms,
        quantile=QUANTILE,
        source=source,
        spread=round(spread, 6),
        **columns,
    )


def _naive(capacity: FloatArray, cells: int, step_ms: int) -> FloatArray:
    index = np.minimum(np.arange(cells) * step_ms // NAIVE_STEP_MS, 7)
    free = np.tile(capacity, (cells, 1))
    for column, name in enumerate(RESOURCE_NAMES):
        if name in _NAIVE:
            free[:, column] = np.minimum(capacity[column], np.array(_NAIVE[name])[index])
    return free


def _quantile(capacity: FloatArray, samples: Sequence[Sample]) -> FloatArray:
    background = np.array([list(sample.background) for sample in samples])
    free = np.quantile(np.maximum(capacity - background, 0.0), QUANTILE, axis=0, method="lower")
    free[0] = max(free[0], CPU_SHARE * capacity[0])
    return np.asarray(np.minimum(free, capacity))


def _spread(capacity: FloatArray, samples: Sequence[Sample], low: FloatArray) -> float:
    """How far the median lies above ``low``, as the largest share of the capacity over the resources."""
    background = np.array([list(sample.background) for sample in samples])
    median = np.median(np.maximum(capacity - background, 0.0), axis=0)
    has = capacity > 0
    return float(np.max(np.maximum(median - low, 0.0)[has] / capacity[has], initial=0.0))


def _cells(item: Reservation, start_at: datetime, step_ms: int) -> tuple[int, int]:
    """The grid cells that a reservation touches, half-open."""
    end_at = item.end_at
    if end_at <= start_at:
        end_at = start_at + max(item.end_at - item.start_at, timedelta(milliseconds=step_ms))
    first = (item.start_at - start_at).total_seconds() * 1000.0 / step_ms
    last = (end_at - start_at).total_seconds() * 1000.0 / step_ms
    return math.floor(first + 1e-9), math.ceil(last - 1e-9)
