"""The way from a problem to its schedule: bounds, list scheduling with prices, CP-SAT, then cost and robustness."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from tomas.schedule.bounds import lower_bound
from tomas.schedule.compiled import Compiled, compile_problem
from tomas.schedule.cpsat import Improvement, Limits, cheapen, improve
from tomas.schedule.listing import Placement, best_placement, query_cost
from tomas.schedule.problem import Problem, Schedule
from tomas.schedule.relax import deadline_missed, never_in_one_piece, not_found

__all__ = ["list_schedule", "schedule"]

_EPSILON = 1e-6
_CPU_SHARE = 0.96
"""Of a limit in processor time, for the searches; what is left reads their answers."""
_QUERIES_PER_S = 150_000
"""Earliest starts that list scheduling asks for in a second of a processor, with 100 activities."""
_PRICE_SHARE = 0.25
"""Of the limit, for the search over prices; the solver finds the rest faster."""
_COST_SHARE = 0.15
"""Of the limit, for cost and robustness at the makespan that was reached."""
_BISECT_SHARE = 0.7
"""Of the solver's time, for narrowing from both sides before it goes down step by step."""
_MODES_PER_S = 3000
"""A model with more modes than this per second of the limit is not read in time by the solver."""


def list_schedule(problem: Problem) -> Schedule:
    """The schedule of :func:`schedule` without CP-SAT and without any search: within milliseconds."""
    return schedule(problem, limit_s=0.0)


def schedule(
    problem: Problem, *, limit_s: float = 1.0, cpu_limit_s: float | None = None, seed: int = 0
) -> Schedule:
    """Place every activity: least makespan, then least cost, then the most robust choice of bins.

    Anytime: list scheduling gives a first answer within milliseconds; it is returned at once where it meets the
    lower bound and costs nothing more than necessary. The same problem, limit, seed and version of the libraries
    give the same schedule, since limits count steps of the algorithms and not time.

    :param limit_s: seconds of a typical processor that improving may take; 0 keeps the list schedule.
    :param cpu_limit_s: processor time of this process that limits the solver in place of counted steps, for
        measurements; a schedule that met it is ``interrupted``, and alone may differ when it is repeated.
    :raises FitsNoBin: an activity has no mode.
    :raises Infeasible: no schedule keeps to what is free, the budgets and the deadline (or none was found within
        the limit); the message says what to relax.
    :raises PlanError: precedence is cyclic or names an unknown activity or bin.
    """
    if not problem.activities:
        return Schedule((), 0.0)
    started = time.process_time()
    compiled = compile_problem(problem)
    bound = lower_bound(compiled)
    if not math.isfinite(bound):
        raise never_in_one_piece(compiled)
    search = _Search(
        compiled, bound, limit_s, None if cpu_limit_s is None else started + _CPU_SHARE * cpu_limit_s, seed
    )
    search.list_schedules()
    search.solve()
    best = search.best
    deadline = problem.deadline_ms
    if best is None:
        raise not_found(compiled, proven=search.proven)
    if deadline is not None and best.makespan > deadline + _EPSILON:
        # How much later it would have to be, the search for a schedule in time has not found out.
        later = schedule(
            replace(problem, deadline_ms=None), limit_s=limit_s / 2, cpu_limit_s=cpu_limit_s, seed=seed
        )
        raise deadline_missed(compiled, later, proven=search.proven)
    best = search.economised(best)
    return compiled.schedule(
        best.starts,
        best.chosen,
        bound_ms=best.makespan if search.proven else search.bound,
        method=search.method,
        interrupted=search.interrupted,
    )


class _Search:
    """The best placement so far, and what is left of the limits."""

    def __init__(self, compiled: Compiled, bound: float, limit_s: float, cpu_end: float | None, seed: int) -> None:
        self.compiled = compiled
        self.bound = bound
        self.best: Placement | None = None
        self.proven = False
        self.interrupted = False
        self.method = "list"
        self._limit_s = limit_s
        self._cpu_end = cpu_end
        self._seed = seed
        costs = [option.cost for group in compiled.options for option in group]
        self._spreads = tuple(capacity.spread for capacity in compiled.problem.capacities.values())
        self._economic = len(costs) > len(compiled) and (any(costs) or any(self._spreads))
        # A solver that cannot even read the model in time would only cost the time.
        self._solvable = limit_s > 0 and len(costs) <= _MODES_PER_S * limit_s
        self._left_s = limit_s * ((1.0 - _COST_SHARE) if self._economic else 1.0)

    def list_schedules(self) -> None:
        """The rules, and the search over prices where there is a choice of modes."""
        share = _PRICE_SHARE if self._solvable else 1.0
        rate = _QUERIES_PER_S / query_cost(self.compiled)
        queries = int(self._limit_s * share * rate)
        if self._solvable:
            # The solver is quick where the problem is small.
            queries = min(queries, len(self.compiled) * sum(len(group) for group in self.compiled.options))
        self.best = best_placement(self.compiled, self.bound, queries=queries, seed=self._seed)
        self._left_s -= queries / rate
        self._close()

    def solve(self) -> None:
        """CP-SAT on the makespan."""
        if self.proven or not self._solvable:
            return
        multi = any(len(group) > 1 for group in self.compiled.options)
        if not (multi and self._improved(bisect=True)):
            self._improved(bisect=False)

    def _improved(self, *, bisect: bool) -> bool:
        """One search from the best placement; whether nothing is left to be found."""
        share = _BISECT_SHARE if bisect else 1.0
        found = improve(
            self.compiled,
            self._usable(),
            bound_ms=self.bound,
            horizon_ms=self._horizon(),
            limits=self._limits(self._left_s * share, share, reserve=self._economic),
            seed=self._seed,
            bisect=bisect,
        )
        self._take(found)
        return self.proven

    def economised(self, best: Placement) -> Placement:
        """The cheapest and most robust placement that ends no later."""
        thriftiest = sum(min(option.cost for option in group) for group in self.compiled.options)
        saves = sum(option.cost for option in best.chosen) > thriftiest + _EPSILON or any(self._spreads)
        if not self._economic or not saves or not self._solvable:
            return best
        limits = self._limits(self._limit_s * _COST_SHARE, 1.0, reserve=False)
        found = cheapen(self.compiled, best, limits=limits, spreads=self._spreads, seed=self._seed)
        self.interrupted |= found.interrupted
        if found.placement is None or found.placement.makespan > best.makespan + _EPSILON:
            return best
        self.method = "cp-sat"
        return found.placement

    def _usable(self) -> Placement | None:
        """The best placement, if it keeps to the deadline."""
        return self.best if self.best is not None and self.best.makespan <= self._horizon() + _EPSILON else None

    def _horizon(self) -> float:
        deadline = self.compiled.problem.deadline_ms
        if self.best is not None:
            return self.best.makespan if deadline is None else min(self.best.makespan, deadline)
        if deadline is not None:
            return deadline
        last_change = max(float(c.starts_ms[-1]) for c in self.compiled.problem.capacities.values())
        work = sum(max(option.duration for option in group) for group in self.compiled.options)
        return max(last_change, *self.compiled.earliest) + work

    def _limits(self, deterministic_s: float, share: float, *, reserve: bool) -> Limits:
        if self._cpu_end is None:
            return Limits(max(0.0, deterministic_s))
        left = self._cpu_end - time.process_time() - (self._limit_s * _COST_SHARE if reserve else 0.0)
        return Limits(math.inf, max(0.0, left * share))

    def _take(self, found: Improvement) -> None:
        self._left_s -= found.used_s
        self.interrupted |= found.interrupted
        if found.placement is not None and (self.best is None or found.placement.key < self.best.key):
            self.best = found.placement
            self.method = "cp-sat"
        if found.proven and (found.placement is not None or self._usable() is not None):
            self.proven = True
            self.bound = self.best.makespan if self.best else found.bound_ms
        elif found.proven:
            # Nothing ends within the horizon: the deadline, if that is what set it.
            self.proven = True
            self.bound = max(self.bound, self._horizon())
        else:
            self.bound = max(self.bound, min(found.bound_ms, self._horizon()))
        self._close()

    def _close(self) -> None:
        if self.best is not None and self.best.makespan <= self.bound + _EPSILON:
            self.proven = True
