"""Which mode of each step is proposed: the head's likeliest ones, unless steps would stand better in others.

The allocation head looks at all steps in parallel, and may give two of them the same free moment; it knows the mean
of each class, and not the bins. So its likeliest modes are placed on the bins, once, beside two other choices, and
what ends first is proposed: the modes in which each step ends first among those that the head holds possible, and
among all. Of choices that end at once the cheapest is taken, of equal ones the likeliest modes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tomas.errors import PlanError
from tomas.model.example import ModeCard
from tomas.schedule import Activity, Capacity, Mode, OnePass, Problem
from tomas.schema import POOL_SIZE

__all__ = ["mode_problem", "placed_modes"]

_POSSIBLE = 0.03
"""Of the likeliest mode's probability: modes from there on are held possible."""


def mode_problem(
    parents: Sequence[Sequence[int]],
    modes: Sequence[Sequence[ModeCard]],
    capacity: Sequence[Sequence[float]],
    bins: Sequence[Mapping[str, Capacity]],
    only: Mapping[int, Sequence[int]] | None = None,
) -> tuple[Problem, list[list[int]]]:
    """The scheduling problem of a graph whose steps have modes on classes: each may run on any bin of its class.

    :param parents: per step, the steps that it waits for.
    :param modes: of every step.
    :param capacity: of one bin of each class, (classes, 4).
    :param bins: per class, what each of its bins has free, slots of its pool among it.
    :param only: per step, the modes that are allowed; others keep all of theirs.
    :return: and per step the index of the mode that each of the problem's modes stands for.
    """
    activities = []
    meant: list[list[int]] = []
    for step, cards in enumerate(modes):
        options: list[Mode] = []
        meant.append([])
        for place in only.get(step, range(len(cards))) if only else range(len(cards)):
            card = cards[place]
            most = capacity[card.class_index]
            share = max(need / room for need, room in zip(card.need, most, strict=True) if room > 0)
            need = (*card.need, float(math.ceil(share * POOL_SIZE - 1e-9)))
            for name in bins[card.class_index]:
                options.append(Mode(name, need, card.p50_ms, card.p90_ms, cost=card.cost))
                meant[-1].append(place)
        activities.append(Activity(f"s{step}", tuple(options), tuple(f"s{parent}" for parent in parents[step])))
    return Problem(tuple(activities), {name: free for row in bins for name, free in row.items()}), meant


def placed_modes(problem: Problem, meant: Sequence[Sequence[int]], chances: Sequence[Sequence[float]]) -> list[int]:
    """The mode to propose for each step.

    :param problem: of all modes, as :func:`mode_problem` makes it, and ``meant`` with it.
    :param chances: per step, the head's probability of each mode.
    """
    likeliest = [max(range(len(row)), key=row.__getitem__) for row in chances]
    try:
        once = OnePass(problem)
    except PlanError:
        return likeliest
    possible = [{m for m, chance in enumerate(row) if chance >= _POSSIBLE * max(row)} for row in chances]
    best: tuple[float, float] = (math.inf, math.inf)
    chosen = likeliest
    for wanted in ([{mode} for mode in likeliest], possible, None):
        allowed = None
        if wanted is not None:
            allowed = [
                [option for option, mode in enumerate(row) if mode in some]
                for row, some in zip(meant, wanted, strict=True)
            ]
        found = once.place(allowed)
        if found is not None and (found.makespan_ms, found.cost) < best:
            best = found.makespan_ms, found.cost
            chosen = [row[item.mode_index] for row, item in zip(meant, found.assignments, strict=True)]
    return chosen
