"""From request to released plan: draft, size, schedule, verify, reserve."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime

from tomas.config import Settings, get_settings
from tomas.errors import PlanError, StoreError, UnboundInput
from tomas.planner.base import Draft
from tomas.planner.context import load_context
from tomas.planner.drafting import draft
from tomas.planner.outlook import Outlook
from tomas.planner.release import not_given, release
from tomas.schema import Plan, PlannerCall, PlanRequest, ProfileRow, WorkerClass, utc_now
from tomas.store import Store
from tomas.tools.data import load_profiles
from tomas.tools.registry import Registry
from tomas.verify import Routes

__all__ = ["make_plan"]

_log = logging.getLogger(__name__)


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
    never released. What the model itself says of the plan is asked for afterwards, see
    :func:`~tomas.planner.narrative.narrate`.

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
        outlook = Outlook(
            lambda tools: load_context(
                request,
                store=store,
                registry=registry,
                settings=settings,
                profiles=profiles,
                worker_classes=worker_classes,
                now=now,
                tools=tools,
            ),
            lambda: _profiles(profiles, store, settings),
            store,
            settings,
            clock=clock,
        )
        threshold = settings.planner.match_threshold
        drafted, info = draft(planner, request, registry, threshold=threshold, outlook=outlook)
        steps = len(drafted.steps)
        _check_draft(drafted, registry, settings)
        context = outlook.context({step.tool for step in drafted.steps})
        plan = release(drafted, info, context, store, registry, settings, clock, routes)
    except Exception as error:
        _log_call(store, planner, request, registry, steps, now, clock, error=error)
        raise
    _log_call(store, planner, request, registry, steps, now, clock, plan=plan)
    return plan


def _profiles(
    profiles: Sequence[ProfileRow] | None, store: Store | None, settings: Settings
) -> Sequence[ProfileRow]:
    if profiles is not None:
        return profiles
    return store.profiles() if store else load_profiles(settings.data.profiles_path)


def _check_draft(drafted: Draft, registry: Registry, settings: Settings) -> None:
    for step in drafted.steps:
        registry.get(step.tool)
    most = settings.planner.max_steps
    if len(drafted.steps) > most:
        raise PlanError(
            f"The plan would have {len(drafted.steps)} steps; at most {most} are allowed.",
            remedy="Split the task, or raise TOMAS__PLANNER__MAX_STEPS (and Airflow's [core] max_map_length).",
        )
    missing = not_given(drafted.request)
    if drafted.request.origin is not None and missing:
        raise UnboundInput(
            f"The input {', '.join(missing)} is not given, and this plan is to be run.",
            remedy=f"Pass it to the plan operator: inputs={{{missing[0]!r}: …}}.",
        )


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
    released = plan is not None and not not_given(plan.request)
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
