"""List scheduling of multi-mode activities under time-varying capacities.

A serial schedule-generation scheme: activities are placed one after the other, most urgent first, each at
its earliest feasible time. The rule of urgency is the latest finish time of the critical-path method
(Kolisch, "Serial and parallel resource-constrained project scheduling methods revisited", EJOR 1996). A
small fixed set of rules for the choice of modes is tried, and the best schedule kept; nothing is random.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable

import numpy as np

from tomas.errors import FitsNoBin, Infeasible, PlanError
from tomas.schedule.problem import (
    PLAN_RESOURCES,
    Activity,
    Assignment,
    Capacity,
    FloatArray,
    Mode,
    Problem,
    Schedule,
)

__all__ = ["list_schedule"]

_EPSILON = 1e-9
_QUERY_BUDGET = 12_000
"""Earliest-start queries per problem over all rules; one takes about 0.1 ms."""
_MODE_SLACKS = (0.0, 1.0, 0.25, 4.0)
"""A mode may end later than the fastest by this share of its span when it takes less of the bin."""


def list_schedule(problem: Problem) -> Schedule:
    """Place every activity; the same problem always gives the same schedule.

    :raises FitsNoBin: an activity has no mode.
    :raises Infeasible: an activity never fits what is free, or the deadline cannot be met.
    :raises PlanError: precedence is cyclic or names an unknown activity.
    """
    if not problem.activities:
        return Schedule((), 0.0)
    order = _topological(problem.activities)
    for activity in problem.activities:
        if not activity.modes:
            raise FitsNoBin(
                f"Step {activity.id} fits no bin.", remedy="Add a larger worker, or give the step smaller input."
            )
    urgencies = _tails(problem.activities, order)
    queries = sum(len(activity.modes) for activity in problem.activities)
    runs = max(1, min(len(_MODE_SLACKS), _QUERY_BUDGET // queries))
    best: tuple[tuple[float, float], Schedule] | None = None
    for slack in _MODE_SLACKS[:runs]:
        schedule = _generate(problem, urgencies, slack)
        area = sum((item.end_ms - item.start_ms) * item.mode.need[-1] for item in schedule.assignments)
        key = (round(schedule.makespan_ms, 6), area)
        if best is None or key < best[0]:
            best = (key, schedule)
    assert best is not None  # noqa: S101  (at least one rule ran)
    schedule = best[1]
    if problem.deadline_ms is not None and schedule.makespan_ms > problem.deadline_ms + _EPSILON:
        raise _deadline_missed(schedule.makespan_ms, problem.deadline_ms, max(urgencies.values()))
    return schedule


def _topological(activities: tuple[Activity, ...]) -> list[str]:
    """Ids so that predecessors come first."""
    waiting = {activity.id: len(set(activity.predecessors)) for activity in activities}
    if len(waiting) != len(activities):
        raise PlanError("Two steps have the same id.", remedy="Give every step an id of its own.")
    successors = _successors(activities)
    ready = [activity.id for activity in activities if not waiting[activity.id]]
    order: list[str] = []
    while ready:
        current = ready.pop()
        order.append(current)
        for follower in successors[current]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    if len(order) != len(activities):
        stuck = sorted(name for name, count in waiting.items() if count)
        raise PlanError(
            f"The steps {', '.join(stuck[:10])} depend on each other in a cycle.",
            remedy="Remove one of these dependencies.",
        )
    return order


def _successors(activities: Iterable[Activity]) -> dict[str, list[str]]:
    activities = tuple(activities)
    result: dict[str, list[str]] = {activity.id: [] for activity in activities}
    for activity in activities:
        for name in dict.fromkeys(activity.predecessors):
            if name not in result:
                raise PlanError(
                    f"Step {activity.id} depends on {name}, which is not in the plan.",
                    remedy="Add that step, or remove the dependency.",
                )
            result[name].append(activity.id)
    return result


def _tails(activities: tuple[Activity, ...], order: list[str]) -> dict[str, float]:
    """Length of the longest path from each activity's start to the end, every mode at its fastest, in ms."""
    fastest = {activity.id: min(mode.p90_ms for mode in activity.modes) for activity in activities}
    successors = _successors(activities)
    tails: dict[str, float] = {}
    for name in reversed(order):
        tails[name] = fastest[name] + max((tails[follower] for follower in successors[name]), default=0.0)
    return tails


class _Profile:
    """Free capacity of one bin while a schedule grows."""

    def __init__(self, capacity: Capacity) -> None:
        self.starts = capacity.starts_ms.copy()
        self.free = capacity.free.copy()

    def earliest(self, need: FloatArray, not_before: float, duration: float) -> float:
        """The first instant ≥ ``not_before`` from which ``need`` fits for ``duration`` ms; inf if never."""
        first = max(0, int(np.searchsorted(self.starts, not_before, side="right")) - 1)
        used = need > 0
        short = np.flatnonzero((self.free[first:, used] < need[used] - _EPSILON).any(axis=1)) + first
        if not short.size:
            return not_before
        # Free stretches lie between the short rows: before the first, and after each of them.
        following = short + 1
        open_ended = following[-1] == len(self.starts)
        begins = np.concatenate(([not_before], self.starts[following[:-1] if open_ended else following]))
        ends = self.starts[short] if open_ended else np.concatenate((self.starts[short], [math.inf]))
        long_enough = np.flatnonzero(ends - begins >= duration - _EPSILON)
        return float(begins[long_enough[0]]) if long_enough.size else math.inf

    def take(self, need: FloatArray, start: float, end: float) -> None:
        """Subtract ``need`` over [start, end)."""
        first = self._cut(start)
        last = self._cut(end)
        self.free[first:last] -= need

    def _cut(self, instant: float) -> int:
        """The row that begins at ``instant``, made if there is none."""
        index = int(np.searchsorted(self.starts, instant, side="left"))
        if index < len(self.starts) and self.starts[index] == instant:
            return index
        self.starts = np.insert(self.starts, index, instant)
        self.free = np.insert(self.free, index, self.free[index - 1], axis=0)
        return index


def _need(mode: Mode) -> FloatArray:
    return np.array(mode.need)


def _generate(problem: Problem, urgencies: dict[str, float], slack: float) -> Schedule:
    activities = {activity.id: activity for activity in problem.activities}
    rank = {activity.id: index for index, activity in enumerate(problem.activities)}
    needs = {activity.id: [_need(mode) for mode in activity.modes] for activity in problem.activities}
    successors = _successors(problem.activities)
    waiting = {activity.id: len(set(activity.predecessors)) for activity in problem.activities}
    profiles = {name: _Profile(capacity) for name, capacity in problem.capacities.items()}
    ready = [(-urgencies[name], rank[name], name) for name, count in waiting.items() if not count]
    heapq.heapify(ready)
    done: dict[str, Assignment] = {}
    while ready:
        _, _, name = heapq.heappop(ready)
        activity = activities[name]
        not_before = max((done[before].end_ms for before in activity.predecessors), default=0.0)
        index, start = _choose(activity, needs[name], profiles, not_before, slack)
        mode = activity.modes[index]
        end = start + mode.p90_ms
        profiles[mode.bin].take(needs[name][index], start, end)
        done[name] = Assignment(name, mode, index, start, end)
        for follower in successors[name]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready, (-urgencies[follower], rank[follower], follower))
    assignments = tuple(done[activity.id] for activity in problem.activities)
    return Schedule(assignments, max(item.end_ms for item in assignments))


def _choose(
    activity: Activity, needs: list[FloatArray], profiles: dict[str, _Profile], not_before: float, slack: float
) -> tuple[int, float]:
    """Index of the mode to take and its start."""
    found: list[tuple[float, float, int, float]] = []
    for index, mode in enumerate(activity.modes):
        start = profiles[mode.bin].earliest(needs[index], not_before, mode.p90_ms)
        if start < math.inf:
            found.append((start + mode.p90_ms, mode.need[-1] * mode.p90_ms, index, start))
    if not found:
        raise _never_fits(activity, profiles)
    span = min(end for end, *_ in found) - not_before
    latest = not_before + span * (1.0 + slack) + _EPSILON
    _, _, index, start = min(
        (item for item in found if item[0] <= latest),
        key=lambda item: (item[1], item[0], item[2]) if slack else item,
    )
    return index, start


def _never_fits(activity: Activity, profiles: dict[str, _Profile]) -> Infeasible:
    names = PLAN_RESOURCES
    reasons: dict[str, str] = {}
    for mode in activity.modes:
        need = _need(mode)
        most = profiles[mode.bin].free.max(axis=0)
        lacking = [
            f"{names[i]} {need[i]:g} needed, {most[i]:.3g} free at most" for i in np.flatnonzero(need > most)
        ]
        text = "; ".join(lacking) or "never long enough in one piece"
        if mode.bin not in reasons or len(text) < len(reasons[mode.bin]):
            reasons[mode.bin] = text
    details = " · ".join(f"{name}: {text}" for name, text in sorted(reasons.items())[:6])
    return Infeasible(
        f"Step {activity.id} never fits what is forecast to be free ({details}).",
        remedy="Wait until other work on these workers has ended, add a worker, or give the step smaller input.",
    )


def _deadline_missed(makespan_ms: float, deadline_ms: float, critical_ms: float) -> Infeasible:
    bound = (
        "even with unlimited workers its longest chain of steps takes"
        if critical_ms > deadline_ms
        else "the best schedule found takes"
    )
    least = critical_ms if critical_ms > deadline_ms else makespan_ms
    return Infeasible(
        f"The plan cannot end within its deadline of {deadline_ms / 1000:g} s: {bound} {least / 1000:.1f} s.",
        remedy=f"Allow at least {makespan_ms / 1000:.0f} s, add workers, or ask for less work.",
    )
