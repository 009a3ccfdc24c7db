"""The end of planning: schedule, prove, reserve; again where another plan was faster."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tomas.config import Settings
from tomas.errors import PlanRejected
from tomas.planner.assemble import Assembly, assemble
from tomas.planner.base import Draft
from tomas.planner.context import Context
from tomas.planner.narrative import hold
from tomas.schema import Plan, PlannerInfo, PlanRequest, Reservation, Tool, new_plan_id
from tomas.store import ReadFrom, Store
from tomas.tools.registry import Registry
from tomas.verify import Routes, verify_plan

__all__ = ["not_given", "release"]

_log = logging.getLogger(__name__)

_TRIES = 2
"""Schedules made beside other planners, at most. The next one is made while the bins are locked."""


def not_given(request: PlanRequest) -> list[str]:
    """Inputs of a request that name no file yet; a plan for them is shown, but never released."""
    return [name for name, item in request.inputs.items() if not item.uris]


def release(
    drafted: Draft,
    info: PlannerInfo,
    context: Context,
    store: Store | None,
    registry: Registry,
    settings: Settings,
    clock: float,
    routes: Routes | None,
) -> Plan:
    """Schedule, verify and reserve.

    First beside all other planners: the schedule is made from what is reserved then, and proven again when
    its bins are locked. Where another plan took the capacity in between, or the instant of release has passed,
    it is made again; at last, or where many wait for the same bins or time is short, while all bins are locked,
    so that nobody can be faster. That one keeps the list schedule, for others wait. A plan that is made again
    counts its times from a later instant: nothing is ever reserved in the past.

    :param clock: ``time.perf_counter()`` at the instant ``context.now``.
    :raises FitsNoBin, Infeasible, PlanRejected: no plan can be released.
    :raises StoreError: Postgres is down, slow, or too many plans are being released at once.
    """
    job = _Job(
        id=new_plan_id(),
        drafted=drafted,
        info=info.model_copy(update={"model_version": context.model_version}),
        tools={tool.name: tool for tool in registry},
        routes=routes,
        clock=clock,
    )
    plan = _released(job, context, store, settings)
    if drafted.tell is not None and plan.id == job.id:  # else it is an older one of the same key
        hold(plan.id, drafted.tell)
    return plan


def _released(job: _Job, context: Context, store: Store | None, settings: Settings) -> Plan:
    if store is None or not_given(job.drafted.request):
        return job.plan(context, context.reservations(store, settings), settings)
    took_ms = 0.0
    for number in range(_TRIES):
        if number:
            context = job.postponed(context, took_ms)
        begun_ms = job.elapsed_ms()
        reservations = context.reservations(store, settings)
        plan = job.plan(context, reservations, settings)
        ready_ms = job.elapsed_ms()
        took_ms = ready_ms - begun_ms
        try:
            return store.release_plan(
                plan,
                _own_reservations(plan),
                lambda locked, plan=plan, seen=reservations, context=context: job.verify_again(  # type: ignore[misc]
                    plan, locked, seen, context, settings
                ),
            )
        except PlanRejected as error:
            _log.info("Plan %s is scheduled again: %s", job.id, error.what)
        now_ms = job.elapsed_ms()
        if now_ms - ready_ms > took_ms:
            break  # so many stand in line for the bins that another schedule would be stale again
        if now_ms + took_ms > context.t_inf_ms + context.dispatch_lag_ms:
            break  # a better schedule would gain less than it delays the start
    return job.under_lock(context, took_ms, store, settings)


@dataclass(frozen=True)
class _Job:
    """What all schedules of one plan share."""

    id: str
    drafted: Draft
    info: PlannerInfo
    tools: Mapping[str, Tool]
    routes: Routes | None
    clock: float

    def elapsed_ms(self) -> float:
        """Time since the request."""
        return (time.perf_counter() - self.clock) * 1000.0

    def postponed(self, context: Context, needed_ms: float) -> Context:
        """The context of a schedule that is made now and takes ``needed_ms``: its release is not in the past."""
        return context.landing_after(self.elapsed_ms() + needed_ms)

    def plan(self, context: Context, reservations: Sequence[Reservation], settings: Settings) -> Plan:
        """A plan that is proven under the reservations given."""
        made = assemble(self.drafted, context, reservations, self.tools, settings)
        plan = self._plan(context, made)
        self._verify(plan, context, reservations, settings)
        return plan

    def verify_again(
        self,
        plan: Plan,
        locked: Sequence[Reservation],
        seen: Sequence[Reservation],
        context: Context,
        settings: Settings,
    ) -> None:
        """Verify against the reservations that hold now, at an instant not after the release.

        A reservation already seen while scheduling is taken as it was then: the end of an overrunning step is a
        guess that moves with the clock. New ones, and those whose step has started at another time than
        planned, are subtracted from the curves, and the plan checked again.

        :raises PlanRejected: it does not hold any more.
        """
        late_ms = self.elapsed_ms() - context.t_inf_ms - context.dispatch_lag_ms
        if late_ms > 0:
            raise PlanRejected(
                f"Plan {plan.id} was to start {late_ms:.0f} ms ago; making it took longer than predicted.",
                remedy="Plan the task again.",
            )
        known = {(item.plan_id, item.step_id, item.start_at) for item in seen}
        fresh = [item for item in locked if (item.plan_id, item.step_id, item.start_at) not in known]
        moved = {(item.plan_id, item.step_id) for item in fresh}
        current = [*(item for item in seen if (item.plan_id, item.step_id) not in moved), *fresh]
        if fresh:
            plan = plan.model_copy(update={"forecast": context.curves(current, settings)})
        self._verify(plan, context, current, settings)

    def under_lock(self, context: Context, needed_ms: float, store: Store, settings: Settings) -> Plan:
        """Schedule, verify and reserve while nobody else can reserve on any bin."""
        quick = settings.model_copy(
            update={"planner": settings.planner.model_copy(update={"schedule_limit_s": 0.0})}
        )

        def make(read: ReadFrom) -> tuple[Plan, list[Reservation]]:
            started = self.postponed(context, needed_ms)  # now: waiting for the locks took its time
            plan = self.plan(started, read(started.release_at), quick)
            return plan, _own_reservations(plan)

        bins = [place.name for place in context.bins]
        return store.release_under_lock(self.id, self.drafted.request, bins, make)

    def _verify(
        self, plan: Plan, context: Context, reservations: Sequence[Reservation], settings: Settings
    ) -> None:
        verify_plan(
            plan,
            self.tools,
            context.bins,
            reservations,
            prices=settings.planner.prices.model_dump(),
            routes=self.routes,
        )

    def _plan(self, context: Context, made: Assembly) -> Plan:
        drafted = self.drafted
        missing = not_given(drafted.request)
        warnings = [*drafted.warnings, *context.warnings, *made.warnings]
        if missing:
            warnings.append(
                f"Not released, nothing is reserved: the input {', '.join(missing)} is still to be given."
            )
        return Plan(
            id=self.id,
            request=drafted.request,
            language=drafted.language,
            planner=self.info,
            snapshots={**context.snapshots, **drafted.cites},
            created_at=context.now,
            release_at=context.release_at,
            t_inf_predicted_ms=context.t_inf_ms,
            t_inf_actual_ms=self.elapsed_ms(),
            dispatch_lag_predicted_ms=context.dispatch_lag_ms,
            hand_over_predicted_ms=context.hand_over_ms,
            forecast=made.curves,
            scheduling=made.scheduling,
            steps=made.steps,
            outputs=drafted.outputs,
            makespan_ms=made.makespan_ms,
            explanation=made.explanation(self.info, context.hand_over_ms),
            warnings=warnings,
        )


def _own_reservations(plan: Plan) -> list[Reservation]:
    return [
        Reservation(
            plan_id=plan.id,
            step_id=step.id,
            bin=step.bin,
            need=step.allocation.final,
            slots=step.pool_slots,
            start_at=plan.release_at + timedelta(milliseconds=step.start_ms),
            end_at=plan.release_at + timedelta(milliseconds=step.end_ms),
        )
        for step in plan.steps
    ]
