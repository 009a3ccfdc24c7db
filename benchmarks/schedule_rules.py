"""What the scheduler is compared with: priority rules, and CP-SAT as everybody would write it.

None of it shares code with ``tomas.schedule`` beyond the problem's data.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tomas.schedule import Activity, Mode, Problem

__all__ = ["RULES", "check", "parallel_rule", "plain_cp_sat"]

Times = dict[str, tuple[float, Mode]]
_EPSILON = 1e-6


class _Bin:
    """Free amounts over time, as an event list that is rebuilt at every change."""

    def __init__(self, problem: Problem, name: str) -> None:
        capacity = problem.capacities[name]
        self._starts, self._free = capacity.starts_ms, capacity.free
        self._busy: list[tuple[float, float, np.ndarray[Any, np.dtype[np.float64]]]] = []

    def fits(self, mode: Mode, start: float) -> bool:
        """Whether ``mode`` fits from ``start`` to its end."""
        end = start + mode.p90_ms
        need = np.array(mode.need)
        # The clock only moves forwards, so what has ended never counts again.
        self._busy = [item for item in self._busy if item[1] > start + _EPSILON]
        busy = [item for item in self._busy if item[0] < end - _EPSILON and item[1] > start + _EPSILON]
        cuts = {start} | {float(s) for s in self._starts if start < s < end} | {b for b, _, _ in busy if b > start}
        for instant in cuts:
            row = int(np.searchsorted(self._starts, instant + _EPSILON, side="right")) - 1
            load = sum((item[2] for item in busy if item[0] <= instant + _EPSILON < item[1]), start=need)
            if (load[need > 0] > self._free[row][need > 0] + _EPSILON).any():
                return False
        return True

    def take(self, mode: Mode, start: float) -> None:
        """Occupy."""
        self._busy.append((start, start + mode.p90_ms, np.array(mode.need)))


def _fastest(activity: Activity) -> float:
    return min(mode.p90_ms for mode in activity.modes)


def _tails(problem: Problem, length: Callable[[Activity], float]) -> dict[str, float]:
    after: dict[str, list[str]] = {activity.id: [] for activity in problem.activities}
    for activity in problem.activities:
        for name in activity.predecessors:
            after[name].append(activity.id)
    by_id = {activity.id: activity for activity in problem.activities}
    result: dict[str, float] = {}
    waiting = list(by_id)
    while waiting:
        rest = []
        for name in reversed(waiting):
            if all(follower in result for follower in after[name]):
                result[name] = length(by_id[name]) + max((result[f] for f in after[name]), default=0.0)
            else:
                rest.append(name)
        waiting = rest[::-1]
    return result


def _mean(activity: Activity) -> float:
    return sum(mode.p90_ms for mode in activity.modes) / len(activity.modes)


RULES: dict[str, Callable[[Problem], dict[str, float]]] = {
    "lft": lambda problem: {k: -v + _fastest(a) for (k, v), a in _with(problem, _tails(problem, _fastest))},
    "upward_rank": lambda problem: {k: -v for k, v in _tails(problem, _mean).items()},
    "fifo": lambda problem: {activity.id: float(i) for i, activity in enumerate(problem.activities)},
}
"""Smaller goes first: latest finish time (up to a constant), HEFT's upward rank, and the listed order."""


def _with(problem: Problem, values: dict[str, float]) -> list[tuple[tuple[str, float], Activity]]:
    return [((activity.id, values[activity.id]), activity) for activity in problem.activities]


def parallel_rule(problem: Problem, rule: str) -> Times | None:
    """Parallel schedule generation: whenever something ends or changes, start what fits, best rule value first.

    Of the modes that fit now the fastest is taken that leaves enough of the budgets for the others.
    """
    order = RULES[rule](problem)
    bins = {name: _Bin(problem, name) for name in problem.capacities}
    least = {
        a.id: {b: min(m.uses.get(b, 0.0) for m in a.modes) for b in problem.budgets} for a in problem.activities
    }
    left = {b: limit - sum(item[b] for item in least.values()) for b, limit in problem.budgets.items()}
    waiting = {activity.id: activity for activity in problem.activities}
    done: Times = {}
    events = {0.0} | {float(s) for c in problem.capacities.values() for s in c.starts_ms}
    while waiting and events:
        now = min(events)
        events.discard(now)
        ready = [
            a
            for a in waiting.values()
            if a.earliest_ms <= now + _EPSILON
            and all(p in done and done[p][0] + done[p][1].p90_ms <= now + _EPSILON for p in a.predecessors)
        ]
        for activity in sorted(ready, key=lambda a: (order[a.id], a.id)):
            for mode in sorted(activity.modes, key=lambda m: m.p90_ms):
                extra = {b: mode.uses.get(b, 0.0) - least[activity.id][b] for b in left}
                if any(extra[b] > left[b] + _EPSILON for b in left) or not bins[mode.bin].fits(mode, now):
                    continue
                bins[mode.bin].take(mode, now)
                done[activity.id] = (now, mode)
                left = {b: left[b] - extra[b] for b in left}
                events.add(now + mode.p90_ms)
                del waiting[activity.id]
                break
    return done if not waiting else None


def plain_cp_sat(problem: Problem, cpu_s: float) -> Times | None:
    """The textbook model in CP-SAT, one worker, default settings, model building inside the limit."""
    from ortools.sat.python import cp_model

    end_at = time.process_time() + cpu_s
    model = cp_model.CpModel()
    horizon = round(sum(max(m.p90_ms for m in a.modes) for a in problem.activities)) + round(
        max(float(c.starts_ms[-1]) for c in problem.capacities.values())
    )
    makespan = model.new_int_var(0, horizon, "makespan")
    starts: dict[str, Any] = {}
    ends: dict[str, Any] = {}
    literals: dict[str, list[Any]] = {}
    loads: dict[tuple[str, int], list[tuple[Any, int]]] = {}
    for activity in problem.activities:
        starts[activity.id] = model.new_int_var(math.ceil(activity.earliest_ms), horizon, "")
        ends[activity.id] = model.new_int_var(0, horizon, "")
        literals[activity.id] = [model.new_bool_var("") for _ in activity.modes]
        model.add_exactly_one(literals[activity.id])
        for mode, literal in zip(activity.modes, literals[activity.id], strict=True):
            interval = model.new_optional_interval_var(
                starts[activity.id], math.ceil(mode.p90_ms), ends[activity.id], literal, ""
            )
            for resource, need in enumerate(mode.need):
                if need > 0:
                    loads.setdefault((mode.bin, resource), []).append((interval, math.ceil(need * 10_000 - 1e-3)))
    for activity in problem.activities:
        model.add(makespan >= ends[activity.id])
        for name in activity.predecessors:
            model.add(starts[activity.id] >= ends[name])
    for (name, resource), items in loads.items():
        capacity = problem.capacities[name]
        free = [math.floor(value * 10_000 + 1e-3) for value in capacity.free[:, resource]]
        intervals, demands = [i for i, _ in items], [d for _, d in items]
        for row, value in enumerate(free):
            begin = math.floor(capacity.starts_ms[row])
            end = math.ceil(capacity.starts_ms[row + 1]) if row + 1 < len(free) else horizon
            if value < max(free) and end > begin:
                intervals.append(model.new_fixed_size_interval_var(begin, end - begin, ""))
                demands.append(max(free) - value)
        model.add_cumulative(intervals, demands, max(free))
    for name, limit in problem.budgets.items():
        model.add(
            sum(
                math.ceil(mode.uses.get(name, 0.0) * 10_000 - 1e-3) * literal
                for activity in problem.activities
                for mode, literal in zip(activity.modes, literals[activity.id], strict=True)
            )
            <= math.floor(limit * 10_000 + 1e-3)
        )
    model.minimize(makespan)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            if time.process_time() >= end_at:
                solver.stop_search()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    status = solver.solve(model)
    done.set()
    watcher.join()
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return {
        activity.id: (
            float(solver.value(starts[activity.id])),
            next(m for m, x in zip(activity.modes, literals[activity.id], strict=True) if solver.value(x)),
        )
        for activity in problem.activities
    }


def check(problem: Problem, times: Times) -> list[str]:
    """What an answer violates, computed instant by instant from the problem's data alone."""
    found: list[str] = []
    for activity in problem.activities:
        if activity.id not in times:
            found.append(f"{activity.id} is missing")
            continue
        start, mode = times[activity.id]
        if mode not in activity.modes:
            found.append(f"{activity.id} has a mode that is not its own")
        if start < activity.earliest_ms - _EPSILON:
            found.append(f"{activity.id} starts too early")
        found += [
            f"{activity.id} starts before {name} ends"
            for name in activity.predecessors
            if times[name][0] + times[name][1].p90_ms > start + _EPSILON
        ]
    for name, capacity in problem.capacities.items():
        here = [
            (start, start + mode.p90_ms, np.array(mode.need)) for start, mode in times.values() if mode.bin == name
        ]
        instants = sorted({start for start, _, _ in here} | {float(s) for s in capacity.starts_ms})
        for instant in instants:
            running = [
                need for start, end, need in here if start <= instant + _EPSILON and end > instant + 2 * _EPSILON
            ]
            if not running:
                continue
            load = np.sum(running, axis=0)
            row = int(np.searchsorted(capacity.starts_ms, instant + _EPSILON, side="right")) - 1
            if (load > capacity.free[row] + 1e-4)[load > 0].any():
                found.append(f"{name} is overloaded at {instant:g}")
    for budget, limit in problem.budgets.items():
        used = sum(mode.uses.get(budget, 0.0) for _, mode in times.values())
        if used > limit + _EPSILON:
            found.append(f"{budget}: {used:g} used of {limit:g}")
    if problem.deadline_ms is not None:
        last = max(start + mode.p90_ms for start, mode in times.values())
        if last > problem.deadline_ms + _EPSILON:
            found.append("the deadline is missed")
    return found
