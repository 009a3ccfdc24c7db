"""The scheduling problem of a draft: modes with costs and budgets on bins with forecasts, solved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tomas.config import PriceSettings, Settings
from tomas.errors import Infeasible
from tomas.planner.base import Draft
from tomas.planner.context import Context
from tomas.schedule import Activity, Problem, Schedule, capacity_of, mode_need, schedule
from tomas.schedule import Mode as ScheduleMode
from tomas.schema import CapacityCurve, Reservation, Resources, SchedulingInfo
from tomas.sizing import Mode

__all__ = ["place_steps", "scheduling_info"]

_MS_PER_HOUR = 3_600_000.0


def place_steps(
    drafted: Draft,
    modes: Mapping[str, Sequence[Mode]],
    curves: Sequence[CapacityCurve],
    reservations: Sequence[Reservation],
    context: Context,
    settings: Settings,
    deadline_ms: float | None,
) -> Schedule:
    """Choose mode, bin and start of every step.

    :param modes: candidate allocations by step id; an assignment's ``mode_index`` counts in them.
    :param reservations: of other plans; ``curves`` hold them already, their pool slots are subtracted here.
    :param deadline_ms: after ``context.release_at``.
    :raises Infeasible: no schedule keeps to the capacities, the request's budget and the deadline.
    """
    held: dict[str, list[tuple[float, float, int]]] = {}
    for item in reservations:
        begin = (item.start_at - context.release_at).total_seconds() * 1000.0
        end = (item.end_at - context.release_at).total_seconds() * 1000.0
        held.setdefault(item.bin, []).append((begin, end, item.slots))
    prices = settings.planner.prices
    limits = {name: limit for name, limit in drafted.request.budget if limit is not None}
    activities = tuple(
        Activity(
            step.id,
            tuple(_mode(mode, context.hand_over_ms, prices, limits) for mode in modes[step.id]),
            tuple(step.depends_on),
        )
        for step in drafted.steps
    )
    problem = Problem(
        activities,
        {curve.bin: capacity_of(curve, held.get(curve.bin, ())) for curve in curves},
        # Nothing waits for the last step, so its hand-over does not count against the deadline.
        None if deadline_ms is None else deadline_ms + context.hand_over_ms,
        budgets=limits,
    )
    try:
        return schedule(problem, limit_s=settings.planner.schedule_limit_s, seed=drafted.request.seed % 2**31)
    except Infeasible as error:
        if deadline_ms is None or "deadline" not in error.what:
            raise
        own = (
            f", with {context.hand_over_ms / 1000.0:.1f} s for Airflow after each step"
            if context.hand_over_ms
            else ""
        )
        wait_s = (context.t_inf_ms + context.dispatch_lag_ms) / 1000.0
        raise Infeasible(
            f"{error.what} (Counted from the first step's release, {wait_s:.1f} s after the request{own}.)",
            remedy=error.remedy,
        ) from None


def scheduling_info(made: Schedule, makespan_ms: float, limit_s: float) -> SchedulingInfo:
    """What is known of a schedule.

    :param makespan_ms: of the plan: without the hand-over after the last step, and not in whole milliseconds.
    :param limit_s: what the search was allowed.
    """
    return SchedulingInfo(
        method="list" if made.method == "list" else "cp-sat",
        bound_ms=max(0.0, makespan_ms - (made.makespan_ms - made.bound_ms)),
        gap_pct=round(made.gap_pct, 4),
        cost=round(made.cost, 9),
        limit_s=limit_s,
        interrupted=made.interrupted,
    )


def _mode(mode: Mode, hand_over_ms: float, prices: PriceSettings, limits: Mapping[str, float]) -> ScheduleMode:
    used = _consumption(mode.allocation, mode.p90_ms, prices)
    return ScheduleMode(
        mode.bin,
        mode_need(mode.allocation, mode.slots),
        mode.p50_ms + hand_over_ms,
        # A worker's room is free for the next step only after Airflow has handed it over. Whole milliseconds
        # make the solver's arithmetic exact.
        math.ceil(mode.p90_ms + hand_over_ms),
        {name: used[name] for name in limits},
        used["cost"],
    )


def _consumption(need: Resources, p90_ms: float, prices: PriceSettings) -> dict[str, float]:
    """What a step consumes, by the names of :class:`~tomas.schema.Budget`."""
    hours = p90_ms / _MS_PER_HOUR
    cores, memory, gpus = need.cpu_cores * hours, need.cpu_mem_gb * hours, need.gpu_sm / 100.0 * hours
    cost = cores * prices.cpu_core_hour + memory * prices.mem_gb_hour + gpus * prices.gpu_hour
    return {"cpu_core_hours": cores, "cpu_mem_gb_hours": memory, "gpu_hours": gpus, "cost": cost}
