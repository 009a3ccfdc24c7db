"""Why there is no schedule, and what would have to be relaxed, in words."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tomas.errors import Infeasible, PlanError
from tomas.schedule.bounds import lower_bound
from tomas.schedule.compiled import Compiled, compile_problem
from tomas.schedule.listing import best_placement
from tomas.schedule.problem import PLAN_RESOURCES, Capacity, Problem, Schedule

__all__ = ["deadline_missed", "duration", "never_in_one_piece", "not_found"]

_EPSILON = 1e-6
_STEPS = 6
"""Halvings of an amount that would be enough."""
_WORDS = {
    "cpu_cores": "core(s)",
    "cpu_mem_gb": "GB of memory",
    "gpu_sm": "% of a GPU",
    "gpu_mem_gb": "GB of GPU memory",
}
_TRIED = 12
"""Bins and resources for which an amount is sought."""


def never_in_one_piece(compiled: Compiled) -> Infeasible:
    """What some step needs is free, but never for as long as it runs after its predecessors."""
    ends = [0.0] * len(compiled)
    for j in compiled.order:
        ready = max([compiled.earliest[j], *(ends[b] for b in compiled.before[j])])
        ends[j] = math.inf
        for option in compiled.options[j]:
            start = compiled.timelines[option.bin].earliest(option.need, ready, option.duration)
            ends[j] = min(ends[j], start + option.duration)
        if ends[j] == math.inf:
            shortest = min(compiled.options[j], key=lambda option: option.duration)
            place = list(compiled.problem.capacities)[shortest.bin]
            return Infeasible(
                f"Step {compiled.problem.activities[j].id} takes {duration(shortest.duration)} on {place}, from "
                f"{duration(ready)} after the release on, but what it needs is never free for that long by then.",
                remedy="Wait until other work on these workers has ended, add a worker, or split the step's input.",
            )
    raise AssertionError("every step fits somewhere")


def not_found(compiled: Compiled, *, proven: bool) -> Infeasible:
    """Nothing keeps to what is free and to the budgets, or nothing was found that does."""
    problem = compiled.problem
    if problem.budgets:
        needed = _least_budgets(problem)
        names = " and ".join(f"{limit:.4g} {name}" for name, limit in problem.budgets.items())
        more = f" A schedule without these limits uses {needed}." if needed else ""
        certainty = "No choice of allocations keeps to" if proven else "None was found that keeps to"
        return Infeasible(
            f"{certainty} the budgets of {names} and to what is free.{more}",
            remedy="Allow a larger budget, or ask for less work.",
        )
    return Infeasible(
        "No schedule was found that keeps to what is forecast to be free.",
        remedy="Wait until other work on these workers has ended, or add a worker.",
    )


def deadline_missed(compiled: Compiled, best: Schedule, *, proven: bool) -> Infeasible:
    """No schedule ends in time, or none was found: by how much, and what would bring it in time.

    :param best: the best schedule without the deadline.
    :param proven: whether no schedule meets the deadline.
    """
    deadline_ms = compiled.problem.deadline_ms or 0.0
    chain_ms = max((h + t for h, t in zip(compiled.heads, compiled.tails, strict=True)), default=0.0)
    if chain_ms > deadline_ms + _EPSILON:
        why = (
            f"even with unlimited workers its longest chain of steps ({_longest_chain(compiled)}) takes "
            f"{duration(chain_ms)}."
        )
        instead = "ask for less work"
    else:
        if best.bound_ms >= best.makespan_ms - _EPSILON:
            why = f"no schedule is shorter than {duration(best.makespan_ms)}."
        elif proven:
            why = f"no schedule ends in time; the best found takes {duration(best.makespan_ms)}."
        else:
            why = f"the best schedule found takes {duration(best.makespan_ms)}."
        instead = _relaxations(compiled.problem, deadline_ms)
    return Infeasible(
        f"The plan cannot end within its deadline of {duration(deadline_ms)}: {why}",
        remedy=f"Allow {duration(best.makespan_ms - deadline_ms)} more, or {instead}.",
    )


def _longest_chain(compiled: Compiled) -> str:
    """Ids along the longest path, the middle left out where it is long."""
    names = [activity.id for activity in compiled.problem.activities]
    current = max(range(len(compiled)), key=lambda j: compiled.heads[j] + compiled.tails[j])
    while compiled.before[current]:
        current = max(compiled.before[current], key=lambda b: compiled.heads[b] + compiled.tails[b])
    path = [names[current]]
    while compiled.after[current]:
        current = max(compiled.after[current], key=lambda f: compiled.tails[f])
        path.append(names[current])
    shown = path if len(path) <= 6 else [*path[:3], "…", *path[-2:]]
    return " → ".join(shown)


def _relaxations(problem: Problem, deadline_ms: float) -> str:
    """The smallest single amount on one bin, or one more bin, with which list scheduling meets the deadline."""
    offers: list[tuple[float, str]] = []
    used = sorted({mode.bin for activity in problem.activities for mode in activity.modes})
    pairs = [(place, r) for place in used for r, name in enumerate(problem.resources) if name != PLAN_RESOURCES[-1]]
    for place, resource in pairs[:_TRIED]:
        room = float(problem.capacities[place].free[:, resource].max())
        if room <= 0 or not _meets(problem, place, resource, room, deadline_ms):
            continue
        low, high = 0.0, room
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if _meets(problem, place, resource, middle, deadline_ms):
                high = middle
            else:
                low = middle
        offers.append(
            (
                high / room,
                f"{_round_up(high)} {_WORDS.get(name := problem.resources[resource], name)} more on {place}",
            )
        )
    if offers:
        return "free " + " or ".join(text for _, text in sorted(offers)[:2])
    for place in used:
        twin = _with_twin(problem, place)
        if _makespan(twin) <= deadline_ms:
            return f"add one more worker like {place}"
    return "add workers, or ask for less work"


def _meets(problem: Problem, place: str, resource: int, amount: float, deadline_ms: float) -> bool:
    capacity = problem.capacities[place]
    free = capacity.free.astype(np.float64)
    free[:, resource] += amount
    return _makespan(replace(problem, capacities={**problem.capacities, place: replace(capacity, free=free)})) <= (
        deadline_ms + 1e-6
    )


def _with_twin(problem: Problem, place: str) -> Problem:
    """The same problem with an empty second bin like ``place``."""
    most = problem.capacities[place].free.max(axis=0, keepdims=True)
    name = f"{place} (2)"
    activities = tuple(
        replace(a, modes=(*a.modes, *(replace(m, bin=name) for m in a.modes if m.bin == place)))
        for a in problem.activities
    )
    return replace(
        problem,
        activities=activities,
        capacities={**problem.capacities, name: Capacity(np.array([0.0]), most)},
    )


def _makespan(problem: Problem) -> float:
    try:
        compiled = compile_problem(replace(problem, deadline_ms=None))
    except PlanError:
        return math.inf
    found = best_placement(compiled, lower_bound(compiled))
    return math.inf if found is None else found.makespan


def _least_budgets(problem: Problem) -> str:
    """What the list schedule without budgets uses of them."""
    compiled = compile_problem(replace(problem, budgets={}, deadline_ms=None))
    found = best_placement(compiled, lower_bound(compiled))
    if found is None:
        return ""
    totals = dict.fromkeys(problem.budgets, 0.0)
    for activity, option in zip(problem.activities, found.chosen, strict=True):
        for name in totals:
            totals[name] += activity.modes[option.index].uses.get(name, 0.0)
    return " and ".join(f"{amount:.4g} {name}" for name, amount in totals.items())


def duration(ms: float) -> str:
    """A duration as people read it, rounded up: ``850 ms``, ``12.4 s``, ``7 min 12 s``."""
    if ms < 1000:
        return f"{math.ceil(ms - _EPSILON)} ms"
    if ms < 120_000:
        return f"{math.ceil(ms / 10 - _EPSILON) / 100:g} s"
    minutes, seconds = divmod(math.ceil(ms / 1000 - _EPSILON), 60)
    return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"


def _round_up(amount: float) -> str:
    """Two significant digits, never less than the amount."""
    digits = 1 - math.floor(math.log10(amount))
    scale = 10.0**digits
    return f"{math.ceil(amount * scale) / scale:g}"
