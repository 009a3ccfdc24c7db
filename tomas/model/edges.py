"""Which steps wait for which earlier ones, by the probabilities of the edges."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["likely_edges"]

_BOUND = 0.5


def likely_edges(chances: Sequence[Sequence[float]], typed: Sequence[Sequence[float]]) -> list[list[int]]:
    """Parents of every step.

    Between tools whose files are typed an edge is what is likelier than not. Where types say nothing, graphs are
    uncertain and hardly any edge is that likely: of these pairs the k likeliest are taken, with the k of the
    largest expected F1, about 2 Σp ÷ (k + Σ of all p) (after Ye, Chai, Lee and Chieu 2012); none where no edge
    at all is the better guess.

    :param chances: of step s waiting for step j < s, shape (steps, steps); what is on or above the diagonal is not
        looked at.
    :param typed: of the same shape; not 0 where both tools of the pair are typed.
    :return: indices of earlier steps, ascending, for each step.
    """
    pairs = [(s, j) for s in range(len(chances)) for j in range(s)]
    taken = {(s, j) for s, j in pairs if typed[s][j] and chances[s][j] > _BOUND}
    free = sorted((pair for pair in pairs if not typed[pair[0]][pair[1]]), key=lambda p: (-chances[p[0]][p[1]], p))
    total = math.fsum(chances[s][j] for s, j in free)
    best, count, sure = math.prod(1.0 - chances[s][j] for s, j in free), 0, 0.0
    for k, (s, j) in enumerate(free, start=1):
        sure += chances[s][j]
        expected = 2.0 * sure / (k + total)
        if expected > best:
            best, count = expected, k
    taken.update(free[:count])
    return [[j for j in range(s) if (s, j) in taken] for s in range(len(chances))]
