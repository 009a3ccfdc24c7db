"""Worker classes of many sizes, and curves of what they will have free."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from tomas.model.example import FloatArray

__all__ = ["Fleet", "draw_fleet"]

_CORES = (1, 2, 4, 8, 16, 32)
_NAMES = ("cpu-small", "cpu-large", "gpu", "highmem", "spot", "batch", "general", "burst", "edge", "night")
_SHAPES = ("free", "flat", "ramp up", "ramp down", "bursts", "waves", "steps", "outage", "naive", "noise")
_WEIGHTS = (18, 12, 11, 11, 11, 9, 10, 6, 6, 6)
_EMPTIED = 0.5
"""How often the last cell is all free, as other work ends some day; a step of a whole bin must wait for it."""
_NAIVE_CORES = np.array([8, 8, 8, 8, 16, 16, 16, 16]) / 16.0
_NAIVE_SM = np.array([0.5, 0.5, 0.5, 0.8, 0.8, 0.8, 1.0, 1.0])
_NAIVE_GPU_GB = np.array([40, 40, 40, 60, 60, 60, 80, 80]) / 80.0


@dataclass(frozen=True)
class Fleet:
    """Worker classes.

    :ivar capacity: of one bin of each class, shape (classes, 4): cores, GB, percent of a GPU, GB.
    :ivar bins: how many each class has.
    :ivar free: share of each bin's capacity, shape (bins in all, 4, cells), class by class.
    :ivar step_ms: length of a cell; what the last cell says holds on.
    """

    names: tuple[str, ...]
    capacity: FloatArray
    bins: tuple[int, ...]
    free: FloatArray
    step_ms: float

    @property
    def curves(self) -> FloatArray:
        """Free share of each class's bins together, shape (classes, 4, cells)."""
        ends = np.cumsum((0, *self.bins))
        return np.stack([self.free[ends[i] : ends[i + 1]].mean(axis=0) for i in range(len(self.bins))]).astype(
            np.float32
        )

    @property
    def has_gpu(self) -> bool:
        """Whether some class has a GPU."""
        return bool((self.capacity[:, 2] > 0).any())


def draw_fleet(rng: Random, numeric: np.random.Generator) -> Fleet:
    """One to five classes of one to three bins, with and without GPUs, each bin under a curve of some shape."""
    count = rng.choices((1, 2, 3, 4, 5), (15, 40, 25, 15, 5))[0]
    cells = rng.choice((16, 24, 32, 48))
    step_ms = rng.choice((100.0, 500.0, 1000.0, 5000.0, 15000.0))
    capacity = np.zeros((count, 4), dtype=np.float32)
    for row in capacity:
        cores = rng.choice(_CORES)
        row[:2] = cores, max(1.0, round(cores * rng.choice((1.0, 2.0, 4.0, 8.0))))
        if rng.random() < 0.35:
            row[2:] = 100.0, rng.choice((8.0, 16.0, 24.0, 40.0, 80.0))
    bins = tuple(rng.choice((1, 1, 1, 2, 3)) for _ in range(count))
    free = np.empty((sum(bins), 4, cells), dtype=np.float32)
    place = 0
    for index, number in enumerate(bins):
        shape = rng.choices(_SHAPES, _WEIGHTS)[0]
        for _ in range(number):
            free[place] = _curve(rng, numeric, shape, cells)
            if capacity[index, 2] == 0:
                free[place, 2:] = 0.0
            place += 1
    return Fleet(tuple(rng.sample(_NAMES, count)), capacity, bins, free, step_ms)


def _curve(rng: Random, numeric: np.random.Generator, shape: str, cells: int) -> NDArray[np.float64]:
    """Free shares, shape (4, cells); the four resources move together for the most part."""
    time = np.linspace(0.0, 1.0, cells)
    u = [rng.random() for _ in range(4)]
    if shape == "free":
        load = np.zeros(cells)
    elif shape == "naive":
        place = np.minimum((time * 8).astype(int), 7)
        return np.stack(
            [_NAIVE_CORES[place], np.maximum(_NAIVE_CORES[place], 0.6), _NAIVE_SM[place], _NAIVE_GPU_GB[place]]
        )
    elif shape == "flat":
        load = np.full(cells, 0.8 * u[0])
    elif shape == "ramp up":
        load = np.clip(u[0] * 0.3 + (time - u[1] * 0.5) * (0.4 + u[2]), 0.0, 0.95)
    elif shape == "ramp down":
        load = np.clip(0.5 + 0.5 * u[0] - time * (0.5 + u[1]), 0.0, 0.95)
    elif shape == "bursts":
        load = np.full(cells, 0.2 * u[0])
        for _ in range(rng.randint(1, 3)):
            centre, width = rng.random(), 0.03 + 0.12 * rng.random()
            load = np.maximum(load, np.where(np.abs(time - centre) < width, 0.5 + 0.5 * rng.random(), 0.0))
    elif shape == "waves":
        load = 0.45 + 0.4 * u[0] * np.sin(2 * np.pi * (time * (1 + 4 * u[1]) + u[2]))
    elif shape == "steps":
        marks = np.sort(numeric.random(rng.randint(1, 3)))
        load = (0.9 * numeric.random(len(marks) + 1))[np.searchsorted(marks, time)]
    elif shape == "outage":
        begin = 0.5 * u[0]
        load = np.where((time >= begin) & (time < begin + 0.15 + 0.3 * u[1]), 1.0, 0.25 * u[2])
    else:
        load = np.clip(np.cumsum(numeric.normal(0.0, 0.08, cells)) + u[0], 0.0, 0.95)
    if shape != "outage":
        load[-1] = min(load[-1], 0.5)
    if rng.random() < _EMPTIED:
        load[-1] = 0.0
    weights = 0.6 + 0.4 * numeric.random((4, 1))
    weights[0] = 1.0
    if shape == "outage":
        weights[:] = 1.0
    return np.clip(1.0 - load[None, :] * weights, 0.0, 1.0)
