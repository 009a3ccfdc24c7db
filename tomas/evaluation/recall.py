"""Whether needed tools are found, those that no training showed apart from the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from tomas.evaluation.answers import likeliest
from tomas.evaluation.plans import Metrics, Pair
from tomas.model.checkpoint import Checkpoint

__all__ = ["TOP", "Ranks", "recall_metrics", "tool_ranks"]

TOP = (1, 3, 5)
Ranks = dict[str, int]
"""Of each needed tool by name: its place among the candidates, from 1; past the last where narrowing dropped it."""


def tool_ranks(checkpoint: Checkpoint, pair: Pair) -> Ranks:
    """The places of the needed tools, candidates being ordered by their highest probability at the first positions.

    As many positions are looked at as tools are needed; the model chooses by itself at each. A tool whose inputs
    are not there yet cannot be chosen at the first one, so that this alone would say nothing of the later steps.
    """
    case, _ = pair
    chances = likeliest(checkpoint, case.given, max(1, len(case.tools)))
    order = sorted(chances, key=lambda name: (-chances[name], name))
    return {name: order.index(name) + 1 if name in chances else len(order) + 1 for name in case.tools}


def recall_metrics(pairs: Sequence[Pair], ranks: Sequence[Ranks]) -> dict[str, Metrics]:
    """Recall of needed tools: rows ``seen``, ``unseen`` (by training) and their ``difference``.

    ``shown``: share that narrowing leaves among the candidates. ``planned``: share that stands in the drafted plan.
    ``top_n``: share among the first n of :func:`tool_ranks`, n being the number of needed tools; ``top_1`` and so
    on: among the first 1, 3, 5 (of a plan of more steps they cannot all stand there).
    """
    rows: dict[str, list[dict[str, bool]]] = {"seen": [], "unseen": []}
    for (case, answer), places in zip(pairs, ranks, strict=True):
        shown = {card.name for card in case.given.candidates}
        for name in case.tools:
            row = {
                "shown": name in shown,
                "planned": name in answer.tools,
                "top_n": places[name] <= len(case.tools),
            }
            row |= {f"top_{most}": places[name] <= most for most in TOP}
            rows["unseen" if name in case.unseen else "seen"].append(row)
    columns = ("shown", "planned", "top_n", *(f"top_{most}" for most in TOP))
    table: dict[str, Metrics] = {
        kind: {"tools": float(len(found)), **{column: _mean(row[column] for row in found) for column in columns}}
        for kind, found in rows.items()
    }
    seen, unseen = table["seen"], table["unseen"]
    table["difference"] = {
        column: None if (a := seen[column]) is None or (b := unseen[column]) is None else a - b
        for column in columns
    }
    return table


def _mean(values: Iterable[bool]) -> float | None:
    found = list(values)
    return fmean(found) if found else None
