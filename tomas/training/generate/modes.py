"""From a law and a fleet to the modes of a step, and from a graph of steps to a scheduling problem."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np

from tomas.model.example import ModeCard, PlanningExample
from tomas.neural.placed import mode_problem
from tomas.schedule import Capacity, Problem
from tomas.schema import POOL_SIZE
from tomas.training.generate.fleet import Fleet
from tomas.training.generate.portrait import Law

__all__ = ["MARGIN", "draw_modes", "input_sizes", "make_problem"]

_UNKNOWN_BYTES = 1e6
_MOST_BYTES = 2e9
MARGIN = 1.15
_MOST_MODES = 8
_SMS = (25.0, 50.0, 100.0)
_PRICES = (0.04, 0.005, 0.02, 0.0)
"""Of an hour of a core, a GB, a percent of a GPU, a GB on it."""
_MS_PER_HOUR = 3_600_000.0


def input_sizes(example: PlanningExample, laws: Sequence[Law]) -> list[float]:
    """Bytes that each step reads; what steps write follows their laws."""
    given = [size if size is not None else _UNKNOWN_BYTES for _, _, size in example.given.inputs]
    made: list[float] = []
    sizes: list[float] = []
    for step, law in zip(example.target.steps, laws, strict=True):
        if step.bindings:
            total = sum(
                given[source.index] if source.step < 0 else made[source.step]
                for port in step.bindings
                for source in port
            )
        else:
            total = sum(made[parent] for parent in step.parents) or _UNKNOWN_BYTES
        sizes.append(min(max(total, 100.0), _MOST_BYTES))
        made.append(min(max(sizes[-1] * law.output_ratio, 100.0), _MOST_BYTES))
    return sizes


def draw_modes(law: Law, input_bytes: float, fleet: Fleet, rng: Random) -> tuple[ModeCard, ...]:
    """What a sizer would offer: per class some numbers of cores or shares of a GPU; empty where nothing fits.

    Estimates carry an error; memory is rounded up with a margin, the same for all modes of the step.
    """
    slip = math.exp(rng.gauss(0.0, 0.05))
    spread = rng.uniform(1.1, 1.4)
    memory = math.ceil(law.peak_gb(input_bytes) * MARGIN * rng.uniform(1.0, 1.25) * 8.0) / 8.0
    gpu_memory = float(math.ceil(law.gpu_peak_gb(input_bytes) * MARGIN))
    found: list[ModeCard] = []
    for index, capacity in enumerate(fleet.capacity.tolist()):
        needs: list[tuple[float, float, float, float]] = []
        if not law.gpu_only:
            cores = 1.0
            while cores <= min(capacity[0], law.max_cores):
                needs.append((cores, memory, 0.0, 0.0))
                cores *= 2.0
        if law.gpu_speed and capacity[2]:
            needs += [(1.0, memory, share, gpu_memory) for share in _SMS]
        for need in needs:
            if all(amount <= most for amount, most in zip(need, capacity, strict=True)):
                p50 = max(1.0, law.latency_ms(input_bytes, need[0], need[2]) * slip)
                p90 = float(math.ceil(p50 * spread))
                cost = sum(map(float.__mul__, need, _PRICES)) * p90 / _MS_PER_HOUR
                found.append(ModeCard(index, need, round(p50, 1), p90, round(cost, 9)))
    if len(found) > _MOST_MODES:
        found = sorted(rng.sample(found, _MOST_MODES), key=lambda mode: (mode.class_index, mode.need))
    return tuple(found)


def make_problem(
    parents: Sequence[Sequence[int]],
    modes: Sequence[Sequence[ModeCard]],
    fleet: Fleet,
    step_ms: float,
    only: Mapping[int, Sequence[int]] | None = None,
) -> tuple[Problem, list[list[int]]]:
    """The scheduling problem of a graph: a mode of a class may run on each bin of it.

    :param only: per step, the modes that are allowed; others keep all of theirs.
    :return: and per step the index of the mode that each of the problem's modes stands for.
    """
    ends = np.cumsum((0, *fleet.bins))
    bins: list[dict[str, Capacity]] = []
    starts = np.arange(fleet.free.shape[2], dtype=np.float64) * step_ms
    for index, count in enumerate(fleet.bins):
        bins.append({})
        for number in range(count):
            free = fleet.free[ends[index] + number].astype(np.float64) * fleet.capacity[index][:, None]
            slots = np.full((1, free.shape[1]), float(POOL_SIZE))
            bins[-1][f"c{index}b{number}"] = Capacity(starts, np.concatenate([free, slots]).T)
    return mode_problem(parents, modes, fleet.capacity.tolist(), bins, only)
