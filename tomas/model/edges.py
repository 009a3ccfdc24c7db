"""Which steps wait for which earlier ones, by the probabilities of the edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["likely_edges"]

_BOUND = 0.5


def likely_edges(chances: Sequence[Sequence[float]], blind: Sequence[bool]) -> list[list[int]]:
    """Parents of every step.

    An edge is what is likelier than not. Between tools without any ports nothing but their texts tells, and hardly
    any edge is that likely: of these pairs the k likeliest are taken, with the k of the largest expected F1, about
    2 Σp ÷ (k + Σ of all p) (after Ye, Chai, Lee and Chieu 2012). Where no edge at all is the better guess these
    steps are done one after the other, as they were chosen: nothing says that they may run side by side.

    :param chances: of step s waiting for step j < s, shape (steps, steps); what is on or above the diagonal is not
        looked at.
    :param blind: of each step, whether its tool has no ports.
    :return: indices of earlier steps, ascending, for each step.
    """
    pairs = [(s, j) for s in range(len(chances)) for j in range(s)]
    free = [(s, j) for s, j in pairs if blind[s] and blind[j]]
    taken = {(s, j) for s, j in pairs if not (blind[s] and blind[j]) and chances[s][j] > _BOUND}
    free.sort(key=lambda pair: (-chances[pair[0]][pair[1]], pair))
    total = math.fsum(chances[s][j] for s, j in free)
    best, count, sure = math.prod(1.0 - chances[s][j] for s, j in free), 0, 0.0
    for k, (s, j) in enumerate(free, start=1):
        sure += chances[s][j]
        expected = 2.0 * sure / (k + total)
        if expected > best:
            best, count = expected, k
    steps = [s for s in range(len(chances)) if blind[s]]
    taken.update(free[:count] if count else ((s, j) for j, s in pairwise(steps)))
    return [[j for j in range(s) if (s, j) in taken] for s in range(len(chances))]
