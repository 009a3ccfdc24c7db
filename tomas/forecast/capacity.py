"""Curves of free capacity: naive, declared, or a low quantile forecast from recent worker samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Literal

import numpy as np
import numpy.typing as npt

from tomas.forecast.background import HIGH, LEAST_SAMPLES, Background, backgrounds
from tomas.schema import RESOURCE_NAMES, Bin, CapacityCurve, Reservation, Sample
from tomas.store import SampleArrays

__all__ = ["CPU_SHARE", "LEAST_SAMPLES", "NAIVE_STEP_MS", "QUANTILE", "forecast"]

FloatArray = npt.NDArray[np.float64]

QUANTILE = 1 - HIGH
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
    samples: Iterable[Sample] | Mapping[str, SampleArrays],
    reservations: Iterable[Reservation],
    start_at: datetime,
    horizon_ms: float,
    step_ms: int,
    naive: bool,
) -> list[CapacityCurve]:
    """Free capacity of each bin from ``start_at`` on, other plans' reservations subtracted.

    Without naive curves, a bin's curve is the 10 % quantile of declared capacity minus background: forecast from
    the bin's samples (source ``learned``, :mod:`tomas.forecast.background`), with fewer samples their quantile
    (``samples``), with fewer than :data:`LEAST_SAMPLES` the declared capacity (``declared``). What TOMAS's own
    steps use is not background: it is subtracted as reservations, each for its own time. A reservation that is
    past its end, and still given, belongs to a step that overruns; it is taken to last as long again as it was
    planned.

    :param samples: recent ones, of any bin; or arrays by bin, which take a fraction of the time to read.
    :param reservations: of other plans, still active.
    :param horizon_ms: beyond it the last value holds on; a curve ends earlier where nothing changes.
    :param naive: take the fixed curves instead of samples.
    """
    held: dict[str, list[Reservation]] = {}
    for item in reservations:
        held.setdefault(item.bin, []).append(item)
    cells = max(1, math.ceil(horizon_ms / step_ms))
    known = {} if naive else backgrounds(_by_bin(samples), start_at)
    return [
        _curve(place, known.get(place.name), held.get(place.name, []), start_at, cells, step_ms, naive)
        for place in bins
    ]


def _by_bin(
    samples: Iterable[Sample] | Mapping[str, SampleArrays],
) -> Mapping[str, Sequence[Sample] | SampleArrays]:
    if isinstance(samples, Mapping):
        return samples
    by_bin: dict[str, list[Sample]] = {}
    # Read by bin, they come in runs of one bin each.
    for name, run in groupby(samples, attrgetter("bin")):
        by_bin.setdefault(name, []).extend(run)
    return by_bin


def _curve(
    place: Bin,
    found: Background | None,
    held: Sequence[Reservation],
    start_at: datetime,
    cells: int,
    step_ms: int,
    naive: bool,
) -> CapacityCurve:
    source: Literal["naive", "samples", "declared", "learned"]
    capacity = np.array(list(place.capacity))
    spread = 0.0
    if naive:
        source, free = "naive", _naive(capacity, cells, step_ms)
    elif found is None:
        source, free = "declared", np.tile(capacity, (cells, 1))
    else:
        source = "learned" if found.learned else "samples"
        low, median = _free(capacity, found.high), np.maximum(capacity - found.median, 0.0)
        has = capacity > 0
        spread = float(np.max(np.maximum(median - low, 0.0)[:, has] / capacity[has], initial=0.0))
        until = (np.append(found.ends_s, np.inf) - start_at.timestamp()) * 1000.0
        # A cell takes the forecast of its end; what is forecast last holds on.
        free = low[np.searchsorted(until[:-1], (np.arange(cells) + 1) * step_ms - 1e-6)]
    for item in held:
        first, last = _cells(item, start_at, step_ms)
        if last > 0 and first < cells:
            # The last value holds for ever, so what outlasts the horizon keeps its last cell.
            free[max(0, first) : min(last, cells)] -= np.array(list(item.need))
    free = np.maximum(free, 0.0)
    changes = np.flatnonzero((np.diff(free, axis=0) != 0).any(axis=1))
    length = int(changes[-1]) + 2 if changes.size else 1
    values = np.round(free[:length], 6)
    columns = {name: values[:, i].tolist() for i, name in enumerate(RESOURCE_NAMES)}
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


def _free(capacity: FloatArray, background: FloatArray) -> FloatArray:
    """Of shape (knots, resources), between zero and the capacity."""
    free = np.clip(capacity - background, 0.0, capacity)
    free[:, 0] = np.maximum(free[:, 0], CPU_SHARE * capacity[0])
    return np.asarray(free)


def _cells(item: Reservation, start_at: datetime, step_ms: int) -> tuple[int, int]:
    """The grid cells that a reservation touches, half-open."""
    end_at = item.end_at
    if end_at <= start_at:
        end_at = start_at + max(item.end_at - item.start_at, timedelta(milliseconds=step_ms))
    first = (item.start_at - start_at).total_seconds() * 1000.0 / step_ms
    last = (end_at - start_at).total_seconds() * 1000.0 / step_ms
    return math.floor(first + 1e-9), math.ceil(last - 1e-9)
