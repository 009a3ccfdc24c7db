"""Improving a schedule with the constraint solver CP-SAT (OR-tools), one worker, repeatable.

The model is the usual one of the multi-mode problem: an interval per activity and mode, exactly one of them
present, one ``cumulative`` per bin and resource; what a bin lacks of its own maximum for some time is a fixed
interval that takes it. Everything is whole: milliseconds, and ten-thousandths of a resource's unit, needs rounded
up and capacities down.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tomas.schedule.compiled import Compiled, Option
from tomas.schedule.listing import Placement, place

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

__all__ = ["Improvement", "Limits", "cheapen", "improve"]

_SCALE = 10_000
"""Parts of a resource's unit."""
_BUDGET_PARTS = 10**9
"""Parts of a budget; uses are rounded down, so that amounts that add up to a budget exactly still do."""
_COST_PARTS = 10**6
"""Parts of the dearest mode's cost."""
_RISK_STEPS = 1000
"""Robustness counts less than the smallest difference in cost."""
_RATE = 8.0
"""The solver's deterministic seconds per second of a processor, times the number of modes.

Measured: 0.1 to 0.5 at 30 modes, 0.015 to 0.03 at 500, 0.003 to 0.007 at 1500.
"""
_PRESOLVE_FROM = 16
"""Activities from which the solver's simplification of the model pays; below, it takes longer than the search."""
_POLL_S = 0.002


@dataclass(frozen=True)
class Limits:
    """How long a search may take.

    :param deterministic_s: in seconds of a typical processor, counted in steps of the algorithms, so that a
        repetition ends at the same point.
    :param cpu_s: of this process; a search that meets this limit may differ when it is repeated.
    """

    deterministic_s: float
    cpu_s: float = math.inf


@dataclass(frozen=True)
class Improvement:
    """What the solver reached."""

    placement: Placement | None
    """None where nothing was found that is better than the hint, or nothing at all without one."""
    bound_ms: float
    """No schedule ends earlier."""
    proven: bool
    """Whether nothing better exists."""
    interrupted: bool
    used_s: float
    """Of the deterministic limit."""


def improve(
    compiled: Compiled,
    hint: Placement | None,
    *,
    bound_ms: float,
    horizon_ms: float,
    limits: Limits,
    seed: int = 0,
    bisect: bool = False,
) -> Improvement:
    """Search for the schedule that ends first.

    :param hint: the schedule to start from; None where none is known.
    :param bound_ms: no schedule ends earlier.
    :param horizon_ms: schedules that end later are of no use.
    :param bisect: narrow the makespan from both sides first; pays where the longest chain decides, not where the
        bins are full.
    """
    if bound_ms > horizon_ms + 1.0:
        return Improvement(None, bound_ms, proven=True, interrupted=False, used_s=0.0)
    model = _Model(compiled, math.ceil(bound_ms - 1e-6), math.ceil(horizon_ms - 1e-6))
    model.model.minimize(model.makespan)
    return _solve(model, hint, bound_ms, limits, seed, bisect=bisect)


def cheapen(
    compiled: Compiled, best: Placement, *, limits: Limits, spreads: tuple[float, ...], seed: int = 0
) -> Improvement:
    """Search for the cheapest schedule that ends no later than ``best``; among those, the most robust one.

    Robust is what leans less on uncertain forecasts: the sum over steps of duration x dominant share x spread.

    :param spreads: per bin, how uncertain its forecast is.
    """
    horizon = math.ceil(best.makespan - 1e-6)
    model = _Model(compiled, 0, horizon)
    most = max((option.area * spreads[option.bin] for group in compiled.options for option in group), default=0.0)
    unit = most * len(compiled) / (_RISK_STEPS - 1) if most > 0 else math.inf
    dearest = max(option.cost for group in compiled.options for option in group) or 1.0
    terms: list[Any] = []
    for group, literals in zip(compiled.options, model.present, strict=True):
        for option, literal in zip(group, literals, strict=True):
            risk = math.floor(option.area * spreads[option.bin] / unit)
            terms.append((round(option.cost / dearest * _COST_PARTS) * _RISK_STEPS + risk) * literal)
    model.model.minimize(sum(terms))
    return _solve(model, best, 0.0, limits, seed, bisect=False)


def _solve(
    model: _Model, hint: Placement | None, bound_ms: float, limits: Limits, seed: int, *, bisect: bool
) -> Improvement:
    from ortools.sat.python import cp_model

    if hint is not None:
        model.hint(hint)
    solver = cp_model.CpSolver()
    parameters = solver.parameters
    parameters.num_workers = 1
    parameters.random_seed = seed
    if math.isfinite(limits.deterministic_s):
        parameters.max_deterministic_time = limits.deterministic_s * model.rate
    # Chosen on instances of PSPLIB's j30: clause learning with the newer conflict analysis, and no time spent on
    # linear relaxations, symmetry, probing or inprocessing, which do not pay within a second.
    parameters.use_new_integer_conflict_resolution = True
    parameters.linearization_level = 0
    parameters.symmetry_level = 0
    parameters.cp_model_probing_level = 0
    parameters.use_sat_inprocessing = False
    parameters.cp_model_presolve = model.activities >= _PRESOLVE_FROM
    if bisect:
        parameters.binary_search_num_conflicts = 50
    with _Watch(solver, limits.cpu_s) as watch:
        status = solver.solve(model.model)
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    proven = status in (cp_model.OPTIMAL, cp_model.INFEASIBLE)
    return Improvement(
        placement=model.placement(solver) if found else None,
        bound_ms=math.inf if status == cp_model.INFEASIBLE else max(bound_ms, float(solver.best_objective_bound)),
        proven=proven,
        interrupted=watch.stopped and not proven,
        used_s=solver.deterministic_time / model.rate,
    )


class _Watch:
    """Stops a solver once this process has used some processor time; wall-clock time would count other work."""

    def __init__(self, solver: cp_model.CpSolver, cpu_s: float) -> None:
        self._solver = solver
        self._end = time.process_time() + cpu_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True) if math.isfinite(cpu_s) else None
        self.stopped = False

    def __enter__(self) -> _Watch:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(_POLL_S):
            if time.process_time() >= self._end:
                self.stopped = True
                # The request is lost when it comes before the search has begun, so it is repeated.
                self._solver.stop_search()


class _Model:
    """The problem as a CP-SAT model with one variable per start and one literal per mode."""

    def __init__(self, compiled: Compiled, bound: int, horizon: int) -> None:
        from ortools.sat.python import cp_model

        self._compiled = compiled
        self._horizon = horizon
        self.activities = len(compiled)
        self.rate = _RATE / max(16, sum(len(group) for group in compiled.options))
        self.model = cp_model.CpModel()
        self.makespan = self.model.new_int_var(bound, max(bound, horizon), "")
        self.starts: list[Any] = []
        self.present: list[list[Any]] = []
        self._loads: dict[tuple[int, int], list[tuple[Any, int]]] = {}
        durations = [self._activity(j) for j in range(len(compiled))]
        for j, duration in enumerate(durations):
            end = self.starts[j] + duration
            for follower in compiled.after[j]:
                self.model.add(self.starts[follower] >= end)
            if not compiled.after[j]:
                self.model.add(self.makespan >= end)
        self._capacities()
        self._budgets()

    def _activity(self, j: int) -> Any:
        """Variables of an activity; its duration, a number or an expression."""
        group = self._compiled.options[j]
        # Whole milliseconds are rounded up along a chain, so the bounds of the starts leave room for that.
        head = math.floor(self._compiled.heads[j])
        latest = math.ceil(self._horizon - self._compiled.tails[j])
        start = self.model.new_int_var(head, max(head, latest), "")
        self.starts.append(start)
        if len(group) == 1:
            self.present.append([1])
            self._load(group[0], self.model.new_fixed_size_interval_var(start, _ms(group[0]), ""))
            return _ms(group[0])
        literals = [self.model.new_bool_var("") for _ in group]
        self.present.append(literals)
        self.model.add_exactly_one(literals)
        for option, literal in zip(group, literals, strict=True):
            self._load(option, self.model.new_optional_fixed_size_interval_var(start, _ms(option), literal, ""))
        return sum(_ms(option) * literal for option, literal in zip(group, literals, strict=True))

    def _load(self, option: Option, interval: Any) -> None:
        for resource, amount in option.need:
            self._loads.setdefault((option.bin, resource), []).append((interval, math.ceil(amount * _SCALE - 1e-3)))

    def _capacities(self) -> None:
        capacities = list(self._compiled.problem.capacities.values())
        for (place_index, resource), loads in self._loads.items():
            capacity = capacities[place_index]
            free = [math.floor(value * _SCALE + 1e-3) for value in capacity.free[:, resource].tolist()]
            intervals = [interval for interval, _ in loads]
            demands = [demand for _, demand in loads]
            most = max(free)
            for begin, end, value in _cells(capacity.starts_ms.tolist(), free, self._horizon):
                if value < most:
                    intervals.append(self.model.new_fixed_size_interval_var(begin, end - begin, ""))
                    demands.append(most - value)
            if sum(demands) > most:
                self.model.add_cumulative(intervals, demands, most)

    def _budgets(self) -> None:
        for column, limit in enumerate(self._compiled.budgets):
            if limit <= 0:
                continue  # the modes that were kept use nothing of it
            uses = [
                math.floor(option.uses[column] / limit * _BUDGET_PARTS) * literal
                for group, literals in zip(self._compiled.options, self.present, strict=True)
                for option, literal in zip(group, literals, strict=True)
            ]
            self.model.add(sum(uses) <= _BUDGET_PARTS)

    def hint(self, placement: Placement) -> None:
        """Start the search from a schedule."""
        for j, (start, option) in enumerate(zip(placement.starts, placement.chosen, strict=True)):
            self.model.add_hint(self.starts[j], math.ceil(start - 1e-6))
            if len(self.present[j]) > 1:
                for other, literal in zip(self._compiled.options[j], self.present[j], strict=True):
                    self.model.add_hint(literal, other.index == option.index)

    def placement(self, solver: cp_model.CpSolver) -> Placement:
        """The solver's answer, every start moved to the left as far as the order allows.

        Placed in the order of their starts, no activity starts later than the solver said, so this only undoes the
        rounding to milliseconds.
        """
        chosen = [
            group[0]
            if len(group) == 1
            else next(o for o, x in zip(group, literals, strict=True) if solver.value(x))
            for group, literals in zip(self._compiled.options, self.present, strict=True)
        ]
        starts = [float(solver.value(start)) for start in self.starts]
        among = [(option,) for option in chosen]
        return place(self._compiled, [-start for start in starts], among=among) or Placement(starts, chosen)


def _ms(option: Option) -> int:
    return math.ceil(option.duration - 1e-6)


def _cells(starts: list[float], free: list[int], horizon: int) -> list[tuple[int, int, int]]:
    """(begin, end, free) in whole milliseconds up to the horizon; equal neighbours are one.

    A millisecond in which the capacity changes offers the smaller of both values.
    """
    cells: list[tuple[int, int, int]] = []
    for row, value in enumerate(free):
        last = row + 1 == len(free)
        falls, rises = row and value < free[row - 1], not last and free[row + 1] < value
        begin = math.floor(starts[row] + 1e-6) if falls else math.ceil(starts[row] - 1e-6)
        end = max(begin, horizon) + 1
        if not last:
            end = math.floor(starts[row + 1] + 1e-6) if rises else math.ceil(starts[row + 1] - 1e-6)
        if begin > horizon:
            break
        if begin < end and cells and cells[-1][2] == value:
            cells[-1] = (cells[-1][0], end, value)
        elif begin < end:
            cells.append((begin, end, value))
    return cells
