"""A file of requests cut in two: some held out, with near-duplicates on one side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tomas.model.prior_terms import TermTable

__all__ = ["held_out"]

_SAME = 0.8
"""Cosine of words and pieces of words from which two tasks are the same request in nearly the same words."""


def held_out(tasks: Sequence[str], count: int, seed: int) -> tuple[list[int], list[int]]:
    """Indices of what is learned from, and of ``count`` that are held out (or a few less).

    Tasks that are nearly the same, directly or through others, stay together; groups are drawn by the seed.
    """
    group = list(range(len(tasks)))

    def first(number: int) -> int:
        while group[number] != number:
            group[number] = group[group[number]]
            number = group[number]
        return number

    table = TermTable(tasks)
    for number, task in enumerate(tasks):
        for other in np.flatnonzero(table.likeness(task)[:number] >= _SAME).tolist():
            group[first(number)] = first(other)
    groups: dict[int, list[int]] = {}
    for number in range(len(tasks)):
        groups.setdefault(first(number), []).append(number)
    members = list(groups.values())
    out: list[int] = []
    for place in np.random.default_rng(seed).permutation(len(members)):
        if len(out) + len(members[place]) <= count:
            out += members[place]
    kept = set(out)
    return [number for number in range(len(tasks)) if number not in kept], sorted(out)
