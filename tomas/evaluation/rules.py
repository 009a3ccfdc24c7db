"""Modes by simple rules, and how long a plan takes in given modes: what drafted modes are compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tomas.errors import PlanError
from tomas.evaluation.cases import Allocation
from tomas.model.example import ModeCard
from tomas.schedule import OnePass, list_schedule, schedule
from tomas.schedule.timeline import Timeline
from tomas.training.generate.fleet import Fleet
from tomas.training.generate.label import LIMIT_S
from tomas.training.generate.modes import make_problem

__all__ = ["RULES", "list_ratio", "picks_of", "projected_ratio"]

RULES = ("fastest", "cheapest", "greedy", "greedy, class means", "greedy, urgent first")


def picks_of(rule: str, allocation: Allocation) -> list[int]:
    """The mode of each step by a rule.

    ``fastest``: least time; ``cheapest``: least cost; ``greedy``: step by step in topological order, the mode and
    bin in which it ends first after what was placed before; where a step fits nowhere ever, its fastest. ``greedy,
    class means``: likewise, but it knows of the workers what the network reads, the mean curve of each class.
    ``greedy, urgent first``: with the curve of every bin, but the step with the longest way to the end goes first:
    what :mod:`tomas.neural.placed` would propose without the head.
    """
    if rule == "greedy, urgent first":
        cards = [step.modes for step in allocation.modes]
        problem, meant = make_problem(allocation.parents, cards, allocation.fleet, allocation.step_ms)
        found = OnePass(problem).place()
        if found is not None:
            return [row[item.mode_index] for row, item in zip(meant, found.assignments, strict=True)]
        rule = "fastest"
    if rule == "greedy":
        return _greedy(allocation, allocation.fleet)
    if rule == "greedy, class means":
        fleet = allocation.fleet
        return _greedy(allocation, replace(fleet, free=np.repeat(fleet.curves, fleet.bins, axis=0)))
    keys = {"fastest": _time, "cheapest": _cost}
    return [min(range(len(step.modes)), key=lambda m: keys[rule](step.modes[m])) for step in allocation.modes]


def list_ratio(allocation: Allocation, picks: Sequence[int]) -> float:
    """Makespan over the least one, with each step in its mode and list scheduling; infinite without a schedule."""
    cards = [step.modes for step in allocation.modes]
    only = {step: (pick,) for step, pick in enumerate(picks)}
    problem, _ = make_problem(allocation.parents, cards, allocation.fleet, allocation.step_ms, only)
    try:
        return list_schedule(problem).makespan_ms / allocation.best_ms
    except PlanError:
        return math.inf


def projected_ratio(allocation: Allocation, picks: Sequence[int]) -> float:
    """As :func:`list_ratio`; where there is no schedule in these modes, the exact one over all modes is taken."""
    ratio = list_ratio(allocation, picks)
    if math.isfinite(ratio):
        return ratio
    cards = [step.modes for step in allocation.modes]
    problem, _ = make_problem(allocation.parents, cards, allocation.fleet, allocation.step_ms)
    try:
        return schedule(problem, limit_s=LIMIT_S).makespan_ms / allocation.best_ms
    except PlanError:
        return math.inf


def _time(card: ModeCard) -> tuple[float, float]:
    return card.p90_ms, card.cost


def _cost(card: ModeCard) -> tuple[float, float]:
    return card.cost, card.p90_ms


def _greedy(allocation: Allocation, fleet: Fleet) -> list[int]:
    cards = [step.modes for step in allocation.modes]
    problem, meant = make_problem(allocation.parents, cards, fleet, allocation.step_ms)
    timelines = {name: Timeline.of(capacity) for name, capacity in problem.capacities.items()}
    ends: list[float] = []
    picks: list[int] = []
    for step, activity in enumerate(problem.activities):
        ready = max((ends[parent] for parent in allocation.parents[step]), default=0.0)
        best: tuple[float, float, int] | None = None
        for place, mode in enumerate(activity.modes):
            need = [(index, amount) for index, amount in enumerate(mode.need) if amount > 0]
            start = timelines[mode.bin].earliest(need, ready, mode.p90_ms)
            if math.isfinite(start) and (best is None or (start + mode.p90_ms, mode.cost) < best[:2]):
                best = (start + mode.p90_ms, mode.cost, place)
        if best is None:
            picks.append(min(range(len(cards[step])), key=lambda m: _time(cards[step][m])))
            ends.append(ready + cards[step][picks[-1]].p90_ms)
            continue
        end, _, place = best
        mode = activity.modes[place]
        need = [(index, amount) for index, amount in enumerate(mode.need) if amount > 0]
        timelines[mode.bin].take(need, end - mode.p90_ms, end)
        picks.append(meant[step][place])
        ends.append(end)
    return picks
