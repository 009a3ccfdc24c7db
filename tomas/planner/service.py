"""From request to released plan: draft, size, schedule, verify, reserve."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from tomas.config import Settings, get_settings
from tomas.errors import Infeasible, PlanError, PlanRejected, StoreError, UnboundInput
from tomas.planner.assemble import Assembly, assemble
from tomas.planner.base import Draft
from tomas.planner.context import Context, load_context
from tomas.planner.drafting import draft
from tomas.schema import (
    Plan,
    PlannerCall,
    PlannerInfo,
    PlanRequest,
    ProfileRow,
    Reservation,
    WorkerClass,
    new_plan_id,
    utc_now,
)
from tomas.store import Store
from tomas.tools.registry import Registry
from tomas.verify import Routes, verify_plan

__all__ = ["make_plan"]

_log = logging.getLogger(__name__)

_TRIES = 3
"""Schedules that are made when other plans take the same capacity in the meantime."""


def make_plan(
    request: PlanRequest,
    *,
    store: Store | None,
    registry: Registry,
    settings: Settings | None = None,
    profiles: Sequence[ProfileRow] | None = None,
    worker_classes: Sequence[WorkerClass] | None = None,
    now: datetime | None = None,
    routes: Routes | None = None,
) -> Plan:
    """Plan a request: choose tools, size and place them, prove the plan feasible, and release it.

    With a store the plan's capacity is reserved and the plan persisted in one transaction; a request whose
    idempotency key already has a plan gets that one. Without a store, files and declared (or naive) curves
    are used and nothing is reserved. A plan whose inputs are not all given is returned with a warning and
    never released.

    :param now: the instant of the request; default the present.
    :param routes: pools and consumed queues, where they are known; the proof then covers that they exist.
    :raises PlanError: TaskError, NoToolMatches, ToolUnavailable, UnboundInput, FitsNoBin, Infeasible or
        PlanRejected, each with what to do.
    :raises UnknownToolError: the request or the draft names a tool that does not exist.
    :raises StoreError: Postgres is down or slow.
    """
    settings = settings or get_settings()
    clock = time.perf_counter()
    now = now or utc_now()
    if store is not None and request.idempotency_key:
        stored = store.plan_by_key(request.idempotency_key)
        if stored is not None:
            return stored
    registry = registry.with_tools(request.tools) if request.tools else registry
    planner = settings.planner.kind
    steps = 0
    try:
        drafted, info = draft(settings.planner.kind, request, registry, threshold=settings.planner.match_threshold)
        steps = len(drafted.steps)
        _check_draft(drafted, registry, settings)
        context = load_context(
            request,
            store=store,
            registry=registry,
            settings=settings,
            profiles=profiles,
            worker_classes=worker_classes,
            now=now,
        )
        plan = _release(drafted, info, context, store, registry, settings, clock, routes)
    except Exception as error:
        _log_call(store, planner, request, registry, steps, now, clock, error=error)
        raise
    _log_call(store, planner, request, registry, steps, now, clock, plan=plan)
    return plan


def _check_draft(drafted: Draft, registry: Registry, settings: Settings) -> None:
    for step in drafted.steps:
        registry.get(step.tool)
    most = settings.planner.max_steps
    if len(drafted.steps) > most:
        raise PlanError(
            f"The plan would have {len(drafted.steps)} steps; at most {most} are allowed.",
            remedy="Split the task, or raise TOMAS__PLANNER__MAX_STEPS (and Airflow's [core] max_map_length).",
        )
    missing = _not_given(drafted.request)
    if drafted.request.origin is not None and missing:
        raise UnboundInput(
            f"The input {', '.join(missing)} is not given, and this plan is to be run.",
            remedy=f"Pass it to the plan operator: inputs={{{missing[0]!r}: …}}.",
        )


def _not_given(request: PlanRequest) -> list[str]:
    return [name for name, item in request.inputs.items() if not item.uris]


def _release(
    drafted: Draft,
    info: PlannerInfo,
    context: Context,
    store: Store | None,
    registry: Registry,
    settings: Settings,
    clock: float,
    routes: Routes | None,
) -> Plan:
    """Schedule, verify and reserve; again where another plan took the capacity in between."""
    tools = {tool.name: tool for tool in registry}
    plan_id = new_plan_id()
    info = info.model_copy(update={"model_version": context.model_version})
    prices = settings.planner.prices.model_dump()
    conflict: PlanRejected | None = None
    for _ in range(_TRIES):
        reservations = context.reservations(store, settings)
        made = assemble(drafted, context, reservations, tools, settings)
        plan = _plan(plan_id, drafted, info, context, made, clock)
        verify_plan(plan, tools, context.bins, reservations, prices=prices, routes=routes)
        if store is None or _not_given(drafted.request):
            return plan
        try:
            return store.release_plan(
                plan,
                _own_reservations(plan),
                lambda locked, plan=plan, seen=reservations: _verify_under_lock(  # type: ignore[misc]
                    plan, locked, seen, context, registry, settings, routes
                ),
            )
        except PlanRejected as error:
            conflict = error
            _log.info("Plan %s: capacity was taken meanwhile, scheduling again", plan_id)
    raise Infeasible(
        f"Other plans took the capacity {_TRIES} times while this one was being made"
        f" ({conflict.what if conflict else ''})",
        remedy="Ask again in a moment.",
    )


def _verify_under_lock(
    plan: Plan,
    locked: list[Reservation],
    seen: Sequence[Reservation],
    context: Context,
    registry: Registry,
    settings: Settings,
    routes: Routes | None,
) -> None:
    """Verify against the reservations that hold now.

    A reservation already seen while scheduling is taken as it was then: the end of an overrunning step is a
    guess that moves with the clock. New ones are subtracted from the curves, and the plan checked again.
    """
    known = {(item.plan_id, item.step_id): item for item in seen}
    fresh = [item for item in locked if (item.plan_id, item.step_id) not in known]
    current = [*seen, *fresh]
    if fresh:
        plan = plan.model_copy(update={"forecast": context.curves(current, settings)})
    verify_plan(
        plan,
        {tool.name: tool for tool in registry},
        context.bins,
        current,
        prices=settings.planner.prices.model_dump(),
        routes=routes,
    )


def _plan(plan_id: str, drafted: Draft, info: PlannerInfo, context: Context, made: Assembly, clock: float) -> Plan:
    missing = _not_given(drafted.request)
    warnings = [*drafted.warnings, *context.warnings, *made.warnings]
    if missing:
        warnings.append(f"Not released, nothing is reserved: the input {', '.join(missing)} is still to be given.")
    return Plan(
        id=plan_id,
        request=drafted.request,
        language=drafted.language,
        planner=info,
        snapshots=context.snapshots,
        created_at=context.now,
        release_at=context.release_at,
        t_inf_predicted_ms=context.t_inf_ms,
        t_inf_actual_ms=(time.perf_counter() - clock) * 1000.0,
        dispatch_lag_predicted_ms=context.dispatch_lag_ms,
        hand_over_predicted_ms=context.hand_over_ms,
        forecast=made.curves,
        steps=made.steps,
        outputs=drafted.outputs,
        makespan_ms=made.makespan_ms,
        explanation="\n".join(
            part for part in (drafted.explanation, made.explanation(info, context.hand_over_ms)) if part
        ),
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


def _log_call(
    store: Store | None,
    planner: str,
    request: PlanRequest,
    registry: Registry,
    steps: int,
    now: datetime,
    clock: float,
    *,
    plan: Plan | None = None,
    error: Exception | None = None,
) -> None:
    """Log the call, failed ones too; a store that is down has already been reported by then."""
    if store is None:
        return
    released = plan is not None and not _not_given(plan.request)
    call = PlannerCall(
        at=now,
        planner=planner,
        task_chars=len(request.task),
        tools=len(registry),
        steps=steps,
        t_inf_ms=(time.perf_counter() - clock) * 1000.0,
        plan_id=plan.id if plan and released else None,
        error=f"{type(error).__name__}: {error}"[:2000] if error else None,
    )
    try:
        store.log_call(call)
    except StoreError as failure:
        _log.warning("The planner call was not logged: %s", failure)
