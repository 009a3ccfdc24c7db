"""How near drafted plans come to the right ones: tools, edges, refusals, confidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from tomas.evaluation.answers import Answer
from tomas.evaluation.cases import Case
from tomas.model.calibrate import expected_error

__all__ = ["Bin", "Metrics", "Pair", "calibration", "f1", "paired_error", "plan_metrics", "right_steps"]

Pair = tuple[Case, Answer]
Metrics = dict[str, float | None]
_BINS = 10
_Z = 1.96


@dataclass(frozen=True)
class Bin:
    """Chosen tools of like confidence.

    :ivar confidence: their mean.
    :ivar right: share of them that are right.
    """

    confidence: float
    right: float
    count: int


def f1(found: Iterable[object], right: Iterable[object]) -> float:
    """Of two sets; 1 where both are empty."""
    a, b = set(found), set(right)
    return 2.0 * len(a & b) / (len(a) + len(b)) if a or b else 1.0


def _same_tools(case: Case, answer: Answer) -> bool:
    return set(answer.tools) == set(case.tools)


_SCORES: dict[str, Callable[[Case, Answer], float]] = {
    "node_f1": lambda case, answer: f1(answer.tools, case.tools),
    "edge_f1": lambda case, answer: f1(answer.edges, case.edges),
    "exact_set": _same_tools,
    "exact_plan": lambda case, answer: _same_tools(case, answer) and answer.edges == case.edges,
}


def plan_metrics(pairs: Sequence[Pair]) -> Metrics:
    """The figures of drafted plans; None where there is nothing to measure.

    ``node_f1``, ``edge_f1``: mean over the requests that have a plan of the F1 of tools, and of (tool, tool) pairs;
    a plan of one step has no pair, and counts 1 where none was drafted either. ``exact_set``, ``exact_plan``: share
    of these requests with all tools right, and with all tools and edges. ``tool_accuracy``: share of all chosen
    tools that are right, see :func:`right_steps`. ``refusal_precision``, ``refusal_recall``: of what was refused
    the share that no tool serves, and the reverse. ``confidence_error``: expected calibration error of the chosen
    tools' confidence.
    """
    planned = [pair for pair in pairs if not pair[0].refuse]
    chosen = [
        (sure, right) for pair in pairs for sure, right in zip(pair[1].confidences, right_steps(*pair), strict=True)
    ]
    refused = [case.refuse for case, answer in pairs if answer.refuse]
    lost = [answer.refuse for case, answer in pairs if case.refuse]
    return {
        "requests": float(len(pairs)),
        **{name: _mean(score(*pair) for pair in planned) for name, score in _SCORES.items()},
        "tool_accuracy": _mean(right for _, right in chosen),
        "refusal_precision": _mean(refused),
        "refusal_recall": _mean(lost),
        "confidence_error": expected_error([s for s, _ in chosen], [r for _, r in chosen]) if chosen else None,
    }


def right_steps(case: Case, answer: Answer) -> list[bool]:
    """Per chosen tool, whether it is needed and all tools that it waits for were chosen before it."""
    parents: dict[str, set[str]] = {}
    for before, after in case.edges:
        parents.setdefault(after, set()).add(before)
    return [
        name in case.tools and parents.get(name, set()) <= set(answer.tools[:place])
        for place, name in enumerate(answer.tools)
    ]


def paired_error(first: Sequence[Pair], second: Sequence[Pair]) -> Metrics:
    """How far differences of the means of two sets of requests may be off by chance: half a 95 % interval.

    Requests that ask for the same in other words (of one number: ``en-017``, ``zh-017``) are compared with each
    other. None where there are fewer than two such pairs.
    """
    others = {_number(case): (case, answer) for case, answer in second}
    both = [(pair, others[_number(pair[0])]) for pair in first if not pair[0].refuse and _number(pair[0]) in others]
    both = [(one, other) for one, other in both if not other[0].refuse]
    found: Metrics = {}
    for name, score in _SCORES.items():
        moved = [score(*one) - score(*other) for one, other in both]
        found[name] = _Z * stdev(moved) / math.sqrt(len(moved)) if len(moved) > 1 else None
    return found


def calibration(pairs: Sequence[Pair]) -> list[Bin]:
    """Confidence against truth over ten equal intervals; empty ones are left out."""
    rows: list[list[tuple[float, bool]]] = [[] for _ in range(_BINS)]
    for case, answer in pairs:
        for sure, right in zip(answer.confidences, right_steps(case, answer), strict=True):
            rows[min(_BINS - 1, int(sure * _BINS))].append((sure, right))
    return [Bin(fmean(s for s, _ in row), fmean(r for _, r in row), len(row)) for row in rows if row]


def _number(case: Case) -> str:
    return case.id.rpartition("-")[2]


def _mean(values: Iterable[float]) -> float | None:
    found = [float(value) for value in values]
    return fmean(found) if found else None
