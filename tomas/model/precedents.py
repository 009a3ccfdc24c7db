"""What plans of similar requests say comes next: a guess that the network weighs against its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tomas.model.example import FloatArray, Precedent

__all__ = ["precedent_scores"]

_LEAST = 0.01
"""Below this probability a precedent says nothing of a tool."""


def precedent_scores(precedents: Sequence[Precedent], chosen: Sequence[int], candidates: int) -> FloatArray:
    """How the precedents that began like the plan go on.

    Where none began with the same steps, those count that hold all of them in another order or among others.

    :param chosen: the steps so far, indices of candidates.
    :return: shape (candidates + 1,): per candidate ln(p / 0.01) of being next, at least 0; last the log-odds of the
        end. All zero where no precedent speaks.
    """
    scores = np.zeros(candidates + 1, np.float32)
    begun = tuple(chosen)
    follows = [
        (known.tools[len(begun) :], known.weight) for known in precedents if known.tools[: len(begun)] == begun
    ]
    if sum(weight for _, weight in follows) < _LEAST:
        held = set(begun)
        follows = [
            (tuple(tool for tool in known.tools if tool not in held), known.weight)
            for known in precedents
            if held <= set(known.tools)
        ]
    total = sum(weight for _, weight in follows)
    if total < _LEAST:
        return scores
    chances = np.zeros(candidates + 1)
    for rest, weight in follows:
        chances[rest[0] if rest else candidates] += weight / total
    scores[:candidates] = np.log(np.maximum(chances[:candidates], _LEAST) / _LEAST)
    end = float(chances[candidates])
    scores[candidates] = math.log((end + _LEAST) / (1.0 - end + _LEAST))
    return scores
