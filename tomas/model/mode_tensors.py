"""What the allocation pass reads: the modes of every step, and how steps stand to each other in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomas.errors import DataError
from tomas.model.config import NeuralConfig
from tomas.model.example import PlanningInput, StepModes
from tomas.model.tensors import TensorBatch

__all__ = ["MODE_FEATURES", "RELATIONS", "ModeTensors", "build_mode_tensors"]

MODE_FEATURES = 18
"""Four needs as shares of the class, ln(1 + need) of each, ln(1 + p50), ln(1 + p90), time over the step's
fastest, cost over its cheapest, whether it is the fastest, whether it is the cheapest, whether a GPU is used, the
least spare share while it would run at the earliest, whether it then fits, its part of the critical path."""
RELATIONS = 6
"""None, itself, parent, child, other ancestor, other descendant."""


@dataclass(frozen=True)
class ModeTensors(TensorBatch):
    """Tensors of B plans of at most S steps of at most M modes; M is 0 where no plan has modes."""

    features: Tensor
    """(B, S, M, MODE_FEATURES)."""
    need: Tensor
    """(B, S, M, 4) in cores, GB, percent, GB."""
    group: Tensor
    """(B, S, M): index of the class."""
    overload: Tensor
    """(B, S, M): by how much its shares exceed what is free while it would run at the earliest."""
    mask: Tensor
    """(B, S, M)."""
    relation: Tensor
    """(B, S, S): how the column stands to the row."""


def build_mode_tensors(
    inputs: Sequence[PlanningInput],
    modes: Sequence[Sequence[StepModes]],
    parents: Sequence[Sequence[Sequence[int]]],
    config: NeuralConfig,
) -> ModeTensors:
    """Pad the modes of plans to common lengths.

    :param modes: per plan, of every step; empty where allocations are not asked for.
    :param parents: per plan, per step, the indices of earlier steps that it waits for.
    :raises DataError: a step has no mode, more than ``model.allocation.max_modes``, or one of an unknown class.
    """
    size = len(inputs)
    steps = max(len(row) for row in parents)
    most = max((len(step.modes) for row in modes for step in row), default=0)
    a: dict[str, NDArray[np.generic]] = {
        "features": np.zeros((size, steps, most, MODE_FEATURES), np.float32),
        "need": np.zeros((size, steps, most, 4), np.float32),
        "group": np.zeros((size, steps, most), np.int64),
        "overload": np.zeros((size, steps, most), np.float32),
        "mask": np.zeros((size, steps, most), np.bool_),
        "relation": np.zeros((size, steps, steps), np.int64),
    }
    for b, (given, row, before) in enumerate(zip(inputs, modes, parents, strict=True)):
        a["relation"][b, : len(before), : len(before)] = _relations(before)
        if not row:
            continue
        _check(given, row, config)
        earliest, tails, critical = _times(row, before)
        for s, step in enumerate(row):
            count = len(step.modes)
            table = _Table.of(given, step)
            spare = table.spare(given, earliest[s])
            path = (earliest[s] + table.p90 + tails[s]) / max(critical, 1e-6)
            a["features"][b, s, :count] = table.features(spare, path)
            a["overload"][b, s, :count] = np.clip(-spare, 0.0, None)
            a["need"][b, s, :count] = table.need
            a["group"][b, s, :count] = table.group
            a["mask"][b, s, :count] = True
    return ModeTensors(**{name: torch.from_numpy(value) for name, value in a.items()})


def _check(given: PlanningInput, row: Sequence[StepModes], config: NeuralConfig) -> None:
    for s, step in enumerate(row):
        if not 1 <= len(step.modes) <= config.model.allocation.max_modes:
            raise DataError(
                f"Step {s} of “{given.task[:60]}” has {len(step.modes)} modes; the model reads 1 to "
                f"{config.model.allocation.max_modes}.",
                remedy="Leave out modes that others dominate, or raise model.allocation.max_modes.",
            )
        if any(not 0 <= mode.class_index < len(given.classes) for mode in step.modes):
            raise DataError(
                f"Step {s} of “{given.task[:60]}” has a mode of no class.", remedy="Correct class_index."
            )


def _relations(parents: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    count = len(parents)
    above: list[set[int]] = []
    for row in parents:
        above.append(set(row).union(*(above[p] for p in row)))
    found = np.zeros((count, count), np.int64)
    for s in range(count):
        found[s, s] = 1
        for j in above[s]:
            found[s, j], found[j, s] = (2, 3) if j in parents[s] else (4, 5)
    return found


def _times(
    row: Sequence[StepModes], parents: Sequence[Sequence[int]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Earliest starts, longest ways after each step, and the critical path, all with every step at its fastest."""
    fastest = np.array([min(mode.p90_ms for mode in step.modes) for step in row])
    starts, tails = np.zeros(len(row)), np.zeros(len(row))
    for s in range(len(row)):
        starts[s] = max((starts[p] + fastest[p] for p in parents[s]), default=0.0)
    for s in reversed(range(len(row))):
        for p in parents[s]:
            tails[p] = max(tails[p], fastest[s] + tails[s])
    return starts, tails, float((starts + fastest + tails).max())


@dataclass(frozen=True)
class _Table:
    """The modes of one step as columns; M modes."""

    need: NDArray[np.float64]
    """(M, 4)."""
    shares: NDArray[np.float64]
    """(M, 4), of the class's capacity."""
    group: NDArray[np.int64]
    p50: NDArray[np.float64]
    p90: NDArray[np.float64]
    cost: NDArray[np.float64]

    @classmethod
    def of(cls, given: PlanningInput, step: StepModes) -> _Table:
        need = np.array([mode.need for mode in step.modes], np.float64)
        group = np.array([mode.class_index for mode in step.modes], np.int64)
        capacity = np.maximum(given.capacity[group].astype(np.float64), 1e-6)
        times = np.array([(mode.p50_ms, mode.p90_ms, mode.cost) for mode in step.modes], np.float64)
        return cls(need, np.clip(need / capacity, 0.0, 10.0), group, times[:, 0], times[:, 1], times[:, 2])

    def spare(self, given: PlanningInput, start_ms: float) -> NDArray[np.float64]:
        """Least free share minus the share taken, over the resources used, while each would run at the earliest."""
        cells = given.curves.shape[2]
        first = min(int(start_ms // given.step_ms), cells - 1)
        last = np.minimum(((start_ms + self.p90) // given.step_ms).astype(int), cells - 1)
        # Least free share from the first cell up to each later one.
        least = np.minimum.accumulate(given.curves[:, :, first:], axis=2)
        free = least[self.group, :, last - first]
        used = self.shares > 0
        spare: NDArray[np.float64] = np.where(used, free - self.shares, np.inf).min(axis=1)
        return np.where(np.isfinite(spare), spare, 1.0)

    def features(self, spare: NDArray[np.float64], path: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M, MODE_FEATURES)."""
        fastest, cheapest = self.p90.min(), self.cost.min()
        columns = [
            np.log1p(self.p50) / 10.0,
            np.log1p(self.p90) / 10.0,
            np.log(np.maximum(self.p90, 1e-6) / max(fastest, 1e-6)),
            np.log((self.cost + 1e-9) / (cheapest + 1e-9)),
            self.p90 <= fastest,
            self.cost <= cheapest,
            (self.need[:, 2:] > 0).any(axis=1),
            spare,
            spare >= 0.0,
            np.log(np.maximum(path, 1e-6)),
        ]
        return np.concatenate([self.shares, np.log1p(self.need), np.stack(columns, axis=1)], axis=1)
