"""From a request and its context to what the model reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tomas.model.config import LimitsConfig
from tomas.model.example import FloatArray, PlanningInput, ToolCard
from tomas.model.prompt import narrow
from tomas.planner.outlook import Outlook
from tomas.planner.text import detect_language
from tomas.schedule import Capacity, capacity_of
from tomas.schema import RESOURCE_NAMES, Bin, CapacityCurve, PlanRequest, ProfileRow, Tool

__all__ = ["Fleet", "planning_input", "read_fleet", "rows_by_tool"]

_CELLS = 48
_CELL_MS = 5000.0
"""The model reads four minutes of the forecast, in cells of this length."""


@dataclass(frozen=True)
class Fleet:
    """Worker classes as the model reads them; shapes as in :class:`~tomas.model.example.PlanningInput`.

    :ivar bins: all bins of the classes that are read.
    """

    classes: tuple[str, ...]
    capacity: FloatArray
    curves: FloatArray
    bins: tuple[Bin, ...]

    def index(self, worker_class: str) -> int:
        """Place of a class."""
        return self.classes.index(worker_class)

    def free(self, curves: Sequence[CapacityCurve]) -> list[dict[str, Capacity]]:
        """Per class, what each of its bins has free. Pool slots are all free: curves know nothing of them."""
        known = {curve.bin: curve for curve in curves}
        found: list[dict[str, Capacity]] = [{} for _ in self.classes]
        for item in self.bins:
            found[self.index(item.worker_class)][item.name] = capacity_of(known[item.name])
        return found

    def shown_in(self, given: PlanningInput) -> PlanningInput:
        """The same request with these classes."""
        return replace(given, classes=self.classes, capacity=self.capacity, curves=self.curves, step_ms=_CELL_MS)


def read_fleet(outlook: Outlook, tools: Sequence[str], most: int) -> Fleet:
    """The worker classes with what they will have free.

    :param tools: names of those that will be sized.
    :param most: classes that are read; of more, those with the most cores.
    """
    groups: dict[str, list[Bin]] = defaultdict(list)
    for item in outlook.context(tools).bins:
        groups[item.worker_class].append(item)
    curves = {curve.bin: curve for curve in outlook.curves()}
    names = sorted(groups, key=lambda name: (-sum(b.capacity.cpu_cores for b in groups[name]), name))[:most]
    capacity = np.array([list(groups[name][0].capacity) for name in names], np.float32).reshape(-1, 4)
    shares = [_shares([curves[b.name] for b in groups[name]], capacity[c]) for c, name in enumerate(names)]
    free = np.stack(shares) if shares else np.zeros((0, 4, _CELLS), np.float32)
    return Fleet(tuple(names), capacity, free, tuple(b for name in names for b in groups[name]))


def planning_input(
    request: PlanRequest, cards: Sequence[ToolCard], scores: FloatArray, limits: LimitsConfig
) -> PlanningInput:
    """What the model reads of a request, within its limits; worker classes are not in it yet.

    Candidates beyond ``max_candidates`` go by their scores; inputs beyond ``max_inputs`` are left to the binding by
    type that follows the draft.
    """
    inputs = [(name, item.type, _bytes(item.bytes)) for name, item in request.inputs.items()][: limits.max_inputs]
    outputs = list(request.outputs.values())[: limits.max_inputs - len(inputs)]
    given = PlanningInput(
        task=request.task,
        language=detect_language(request.task),
        candidates=tuple(cards),
        retrieval=scores,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        priority=request.priority,
        deadline_s=request.deadline_s,
    )
    return narrow(given, limits.max_candidates)


def rows_by_tool(rows: Sequence[ProfileRow], tools: Mapping[str, Tool]) -> dict[str, list[ProfileRow]]:
    """Profile rows of each tool."""
    found: dict[str, list[ProfileRow]] = {name: [] for name in tools}
    for row in rows:
        if row.tool in found:
            found[row.tool].append(row)
    return found


def _bytes(size: int | None) -> float | None:
    return None if size is None else float(size)


def _shares(curves: Sequence[CapacityCurve], capacity: FloatArray) -> FloatArray:
    """Free share of the bins of one class together, (4, _CELLS); 0 where the class has none of a resource."""
    rows = []
    for curve in curves:
        # The last value of a forecast holds on.
        at = np.minimum((np.arange(_CELLS) * _CELL_MS) // curve.step_ms, len(curve) - 1).astype(int)
        rows.append(np.array([getattr(curve, name) for name in RESOURCE_NAMES], np.float64)[:, at])
    free = np.mean(rows, axis=0)
    wide = capacity[:, None].astype(np.float64)
    shares: FloatArray = np.where(wide > 0, free / np.maximum(wide, 1e-9), 0.0).clip(0.0, 1.0).astype(np.float32)
    return shares
