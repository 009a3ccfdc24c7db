"""Whether the warning that a named tool was not planned tells anything."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from tomas.evaluation.plans import Metrics, Pair
from tomas.neural.sketch import left_out

__all__ = ["warning_metrics"]


def warning_metrics(pairs: Sequence[Pair]) -> dict[str, Metrics]:
    """Plans that carry the warning (see :func:`~tomas.neural.sketch.left_out`) and the others; no refusals.

    ``plans``; ``wrong``: share of them with a tool too few or too many; ``needed``: share of the tools that the
    warnings name that are needed, of the others None. None where there is nothing to measure.
    """
    wrong: dict[str, list[bool]] = {"warned": [], "others": []}
    needed: list[bool] = []
    for case, answer in pairs:
        if answer.refuse:
            continue
        names = [card.name for card in case.given.candidates]
        named = [names[item.tool] for item in left_out(case.given, {names.index(name) for name in answer.tools})]
        wrong["warned" if named else "others"].append(set(answer.tools) != set(case.tools))
        needed += [name in case.tools for name in named]
    return {
        kind: {
            "plans": float(len(found)),
            "wrong": fmean(found) if found else None,
            "needed": fmean(needed) if needed and kind == "warned" else None,
        }
        for kind, found in wrong.items()
    }
