"""Whether proposals answer to the curves: the same task and modes, while one class or the GPUs are busy early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from tomas.evaluation.answers import proposals
from tomas.evaluation.cases import Allocation, Case
from tomas.evaluation.plans import Metrics
from tomas.model.checkpoint import Checkpoint
from tomas.model.drafted import ModeProposal
from tomas.model.example import FloatArray, ModeCard

__all__ = ["sensitivity"]

_BUSY = 0.05
"""Free share of a class that is busy."""
_EARLY = 0.5
"""Share of the horizon for which it is."""
_GPU = slice(2, 4)


@dataclass(frozen=True)
class _Question:
    """Two curves under which the share of some modes must differ: higher under ``free`` than under ``busy``."""

    kind: str
    concerns: Callable[[ModeCard], bool]
    free: FloatArray
    busy: FloatArray


def sensitivity(
    checkpoint: Checkpoint, cases: Sequence[Case], *, report: Callable[[int], None] | None = None
) -> dict[str, Metrics]:
    """How often the probability of modes moves in the right direction, before floor and scheduler.

    ``class``: of two classes the one is busy for the first half of the horizon and the other free, and the reverse;
    the mean probability of the modes on the first class, over the steps that can run on either, must be higher when
    it is free. ``gpu``: the GPUs of all classes are busy early, or free; the probability of modes with a GPU, over
    the steps that can do without, must be higher when they are free. The right tools are chosen in all cases; only
    curves differ.

    ``right``: share of cases that move so; ``moved``: mean difference of the probabilities.
    """
    moves: dict[str, list[float]] = {"class": [], "gpu": []}
    for number, case in enumerate(cases, start=1):
        for question in _questions(case):
            free, busy = (
                proposals(checkpoint, case, given=replace(case.given, curves=curves))
                for curves in (question.free, question.busy)
            )
            if free is not None and busy is not None and case.allocation is not None:
                change = _share(case.allocation, free, question) - _share(case.allocation, busy, question)
                moves[question.kind].append(change)
        if report is not None:
            report(number)
    return {
        kind: {
            "cases": float(len(values)),
            "right": fmean(value > 0 for value in values) if values else None,
            "moved": fmean(values) if values else None,
        }
        for kind, values in moves.items()
    }


def _questions(case: Case) -> list[_Question]:
    if case.allocation is None:
        return []
    found = []
    classes = _contested(case.allocation)
    if classes is not None:
        one, other = classes
        found.append(
            _Question(
                "class",
                lambda card: card.class_index == one,
                _curves(case, busy=[(other, slice(0, 4))]),
                _curves(case, busy=[(one, slice(0, 4))]),
            )
        )
    if any(_optional(step.modes, _uses_gpu) for step in case.allocation.modes):
        every = [(index, _GPU) for index in range(len(case.given.classes))]
        found.append(_Question("gpu", _uses_gpu, _curves(case, busy=[]), _curves(case, busy=every)))
    return found


def _contested(allocation: Allocation) -> tuple[int, int] | None:
    """The two classes that most steps can run on both of; None where no step has a choice."""
    counts: dict[tuple[int, int], int] = {}
    for step in allocation.modes:
        classes = sorted({card.class_index for card in step.modes})
        for i, one in enumerate(classes):
            for other in classes[i + 1 :]:
                counts[one, other] = counts.get((one, other), 0) + 1
    return max(counts, key=lambda pair: (counts[pair], pair)) if counts else None


def _curves(case: Case, busy: Sequence[tuple[int, slice]]) -> FloatArray:
    """All free but what is busy early; a class without a GPU has none of it free."""
    cells = case.given.curves.shape[2]
    curves = np.ones_like(case.given.curves)
    for index, resources in busy:
        curves[index, resources, : max(1, int(cells * _EARLY))] = _BUSY
    curves[np.asarray(case.given.capacity) <= 0] = 0.0
    return curves


def _share(allocation: Allocation, modes: Sequence[ModeProposal], question: _Question) -> float:
    """Mean probability of the modes concerned, over the steps that have others as well."""
    found = []
    for step, proposal in zip(allocation.modes, modes, strict=True):
        if _optional(step.modes, question.concerns):
            concerned = zip(step.modes, proposal.probabilities, strict=True)
            found.append(sum(chance for card, chance in concerned if question.concerns(card)))
    return fmean(found)


def _optional(cards: Sequence[ModeCard], concerns: Callable[[ModeCard], bool]) -> bool:
    return 0 < sum(map(concerns, cards)) < len(cards)


def _uses_gpu(card: ModeCard) -> bool:
    return card.need[2] > 0 or card.need[3] > 0
