"""A problem in numbers: indices instead of names, lists instead of mappings, checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tomas.errors import FitsNoBin, Infeasible, PlanError
from tomas.schedule.precedence import successors, tails, topological
from tomas.schedule.problem import Assignment, Problem, Schedule
from tomas.schedule.timeline import Timeline

__all__ = ["Compiled", "Option", "compile_problem"]


@dataclass(frozen=True, slots=True)
class Option:
    """A mode in numbers."""

    index: int
    """In the activity's modes."""
    bin: int
    need: tuple[tuple[int, float], ...]
    """(resource, amount) of what is needed at all, the scarcest first."""
    duration: float
    area: float
    """Duration times the dominant share of the bin."""
    cost: float
    uses: tuple[float, ...]
    """Of each budget."""


@dataclass(frozen=True)
class Compiled:
    """A problem with everything that every algorithm needs."""

    problem: Problem
    order: tuple[int, ...]
    """Activities, predecessors first."""
    before: tuple[tuple[int, ...], ...]
    after: tuple[tuple[int, ...], ...]
    options: tuple[tuple[Option, ...], ...]
    """Modes per activity that fit their bin at some instant and the budgets at all."""
    earliest: tuple[float, ...]
    priority: tuple[int, ...]
    budgets: tuple[float, ...]
    least_uses: tuple[tuple[float, ...], ...]
    """Per activity and budget, what its thriftiest mode uses."""
    tails: tuple[float, ...]
    """Longest path from each activity's start to the end, every mode at its fastest."""
    heads: tuple[float, ...]
    """Earliest start by precedence alone, every mode at its fastest."""
    timelines: tuple[Timeline, ...]

    def __len__(self) -> int:
        return len(self.order)

    def schedule(
        self, starts: list[float], chosen: list[Option], *, bound_ms: float, method: str, interrupted: bool = False
    ) -> Schedule:
        """The answer in the problem's own terms."""
        activities = self.problem.activities
        assignments = tuple(
            Assignment(activity.id, activity.modes[option.index], option.index, start, start + option.duration)
            for activity, option, start in zip(activities, chosen, starts, strict=True)
        )
        makespan = max((item.end_ms for item in assignments), default=0.0)
        return Schedule(assignments, makespan, min(bound_ms, makespan), method, interrupted)


def compile_problem(problem: Problem) -> Compiled:
    """Check a problem and put it into numbers.

    :raises FitsNoBin: an activity has no mode.
    :raises Infeasible: an activity fits no bin at any time, or the budgets allow no choice of modes.
    :raises PlanError: precedence is cyclic or names an unknown activity; a mode names an unknown bin.
    """
    activities = problem.activities
    names = topological(activities)
    rank = {activity.id: index for index, activity in enumerate(activities)}
    followers = successors(activities)
    bins = {name: index for index, name in enumerate(problem.capacities)}
    timelines = tuple(Timeline.of(capacity) for capacity in problem.capacities.values())
    most = [timeline.most() for timeline in timelines]
    options = tuple(_options(problem, index, bins, most) for index in range(len(activities)))
    fastest = {a.id: min(o.duration for o in options[rank[a.id]]) for a in activities}
    tail = tails(names, followers, fastest)
    heads: dict[str, float] = {}
    for name in names:
        activity = activities[rank[name]]
        heads[name] = max([activity.earliest_ms, *(heads[b] + fastest[b] for b in activity.predecessors)])
    budgets = tuple(problem.budgets.values())
    least = tuple(tuple(min(o.uses[b] for o in group) for b in range(len(budgets))) for group in options)
    for column, (name, limit) in enumerate(problem.budgets.items()):
        needed = sum(row[column] for row in least)
        if needed > limit * (1 + 1e-9) + 1e-9:
            raise Infeasible(
                f"The plan needs at least {needed:.4g} {name}, but its budget is {limit:.4g}.",
                remedy=f"Allow {needed * 1.01:.4g} {name}, or ask for less work.",
            )
    return Compiled(
        problem=problem,
        order=tuple(rank[name] for name in names),
        before=tuple(tuple(rank[b] for b in dict.fromkeys(a.predecessors)) for a in activities),
        after=tuple(tuple(rank[f] for f in followers[a.id]) for a in activities),
        options=options,
        earliest=tuple(a.earliest_ms for a in activities),
        priority=tuple(a.priority for a in activities),
        budgets=budgets,
        least_uses=least,
        tails=tuple(tail[a.id] for a in activities),
        heads=tuple(heads[a.id] for a in activities),
        timelines=timelines,
    )


def _options(
    problem: Problem, position: int, bins: Mapping[str, int], most: list[list[float]]
) -> tuple[Option, ...]:
    activity = problem.activities[position]
    if not activity.modes:
        raise FitsNoBin(
            f"Step {activity.id} fits no bin.", remedy="Add a larger worker, or give the step smaller input."
        )
    found: list[Option] = []
    for index, mode in enumerate(activity.modes):
        if mode.bin not in bins:
            raise PlanError(
                f"Step {activity.id} may run on {mode.bin}, whose capacity is not known.",
                remedy=f"Name one of the bins {', '.join(sorted(bins)[:10])}.",
            )
        rooms = most[bins[mode.bin]]
        if any(amount > room + 1e-9 for amount, room in zip(mode.need, rooms, strict=True)):
            continue
        shares = sorted(
            (
                (amount / rooms[i] if rooms[i] else 0.0, i, amount)
                for i, amount in enumerate(mode.need)
                if amount > 0
            ),
            key=lambda item: (-item[0], item[1]),
        )
        found.append(
            Option(
                index=index,
                bin=bins[mode.bin],
                need=tuple((i, amount) for _, i, amount in shares),
                duration=mode.p90_ms,
                area=mode.p90_ms * (shares[0][0] if shares else 0.0),
                cost=mode.cost,
                uses=tuple(mode.uses.get(name, 0.0) for name in problem.budgets),
            )
        )
    if not found:
        raise _never_fits(problem, position, bins, most)
    # A mode that alone exceeds a budget is none; where no other is left, the sum of the least uses says so.
    limits = tuple(problem.budgets.values())
    within = [o for o in found if all(use <= limit + 1e-9 for use, limit in zip(o.uses, limits, strict=True))]
    return tuple(_undominated(within or found))


def _undominated(options: list[Option]) -> list[Option]:
    """Without those that another one on the same bin beats or equals in everything."""
    kept: list[Option] = []
    for option in sorted(options, key=lambda o: (o.duration, o.cost, o.area, o.index)):
        amounts = dict(option.need)
        if not any(
            other.bin == option.bin
            and other.duration <= option.duration
            and other.cost <= option.cost
            and all(amount <= amounts.get(i, 0.0) for i, amount in other.need)
            and all(a <= b for a, b in zip(other.uses, option.uses, strict=True))
            for other in kept
        ):
            kept.append(option)
    return sorted(kept, key=lambda o: o.index)


def _never_fits(problem: Problem, position: int, bins: Mapping[str, int], most: list[list[float]]) -> Infeasible:
    activity = problem.activities[position]
    lacks: dict[str, tuple[float, str]] = {}
    for mode in activity.modes:
        rooms = most[bins[mode.bin]]
        short = [
            (amount - room, amount, room, name)
            for amount, room, name in zip(mode.need, rooms, problem.resources, strict=True)
            if amount > room + 1e-9
        ]
        measure = sum(missing / max(amount, 1e-12) for missing, amount, _, _ in short)
        text = " and ".join(f"{missing:.3g} {name} more" for missing, _, _, name in short)
        detail = "; ".join(
            f"{name}: {amount:.4g} needed, {room:.3g} free at most" for _, amount, room, name in short
        )
        if measure < lacks.get(mode.bin, (math.inf, ""))[0]:
            lacks[mode.bin] = (measure, f"{text} on {mode.bin} ({detail})")
    nearest = min(lacks.values())[1]
    others = len(lacks) - 1
    tail = f"; its {others} other bin(s) lack more" if others else ""
    return Infeasible(
        f"Step {activity.id} never fits what is forecast to be free: it needs {nearest}{tail}.",
        remedy="Wait until other work on these workers has ended, add a worker, or give the step smaller input.",
    )
