"""A stored plan made again from what it cites, and everything that differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tomas.config import Settings
from tomas.planner.assemble import assemble
from tomas.planner.context import Context, load_context
from tomas.planner.drafting import draft
from tomas.planner.narrative import tidy
from tomas.planner.outlook import Outlook
from tomas.schema import Plan, PlannerInfo, Reservation
from tomas.store import Store
from tomas.tools.registry import Registry

__all__ = ["Difference", "Replay", "replay"]

_COMPARED = (
    "language",
    "steps",
    "outputs",
    "forecast",
    "makespan_ms",
    "scheduling",
    "explanation",
    "narrative",
    "warnings",
)
_MOST_RESERVATIONS = 1_000_000


@dataclass(frozen=True)
class Difference:
    """A value that is not what it was.

    :ivar where: path into the plan, as ``steps.0.bin``; or the name of a cited input.
    """

    where: str
    stored: str
    now: str


@dataclass(frozen=True)
class Replay:
    """What came of making a plan again.

    :ivar inputs: what the plan cites that is not as it was; where there is any, other results may differ for it.
    :ivar results: values of the plan that came out otherwise.
    """

    inputs: tuple[Difference, ...]
    results: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether every value came out as it is stored, bit for bit."""
        return not self.results


def replay(
    plan: Plan, *, store: Store, registry: Registry, settings: Settings, most_differences: int = 50
) -> Replay:
    """Draft, size and schedule the request of ``plan`` again, as of the instant it was made.

    Read are the records, samples, model versions and reservations of that instant; its predicted latencies are
    taken as they were. Nothing is reserved or stored. On the same kind of machine the result is the same bit for
    bit, unless something that the plan cites has changed since, or a limit in processor time had ended its search.

    :param most_differences: of each kind.
    :raises PlanError: the request cannot be planned any more.
    :raises StoreError: Postgres is down, slow, or what the plan cites was deleted.
    """
    registry = registry.with_tools(plan.request.tools) if plan.request.tools else registry
    settings = _settings(plan, settings)
    versions = {
        key.removeprefix("model."): value for key, value in plan.snapshots.items() if key.startswith("model.")
    }

    def read(tools: Any) -> Context:
        context = load_context(
            plan.request,
            store=store,
            registry=registry,
            settings=settings,
            profiles=None,
            worker_classes=None,
            now=plan.created_at,
            tools=tools,
            models=versions,
        )
        return replace(
            context,
            release_at=plan.release_at,
            t_inf_ms=plan.t_inf_predicted_ms,
            dispatch_lag_ms=plan.dispatch_lag_predicted_ms,
            hand_over_ms=plan.hand_over_predicted_ms,
        )

    outlook = Outlook(
        read,
        store.profiles,
        store,
        settings,
        models=versions,
        reserved=lambda: _as_of(plan, plan.created_at, store, settings),
    )
    drafted, info = draft(
        plan.planner.kind, plan.request, registry, threshold=settings.planner.match_threshold, outlook=outlook
    )
    context = outlook.context({step.tool for step in drafted.steps})
    scheduled = plan.created_at + timedelta(milliseconds=plan.t_inf_actual_ms or 0.0)
    reservations = _as_of(plan, scheduled, store, settings)
    tools = {tool.name: tool for tool in registry}
    made = assemble(drafted, context, reservations, tools, settings)
    again = plan.model_copy(
        update={
            "language": drafted.language,
            "steps": made.steps,
            "outputs": drafted.outputs,
            "forecast": made.curves,
            "makespan_ms": made.makespan_ms,
            "scheduling": made.scheduling,
            "explanation": made.explanation(plan.planner, context.hand_over_ms) if plan.explanation else "",
            "narrative": tidy(drafted.tell()) if plan.narrative and drafted.tell else "",
            "warnings": [*drafted.warnings, *context.warnings, *made.warnings],
        }
    )
    cited = {**context.snapshots, **drafted.cites}
    inputs = [
        Difference(name, plan.snapshots.get(name, "none"), cited.get(name, "none"))
        for name in sorted({*plan.snapshots, *cited})
        if plan.snapshots.get(name, "none") != cited.get(name, "none")
    ]
    inputs += _planner(plan.planner, info)
    before, now = _plain(plan), _plain(again)
    results = [item for name in _COMPARED for item in _differences(name, before[name], now[name])]
    return Replay(tuple(inputs[:most_differences]), tuple(results[:most_differences]))


def _settings(plan: Plan, settings: Settings) -> Settings:
    """With the limit that the plan's search had."""
    limit_s = plan.scheduling.limit_s if plan.scheduling else None
    if limit_s is None:
        return settings
    return settings.model_copy(
        update={"planner": settings.planner.model_copy(update={"schedule_limit_s": limit_s})}
    )


def _as_of(plan: Plan, instant: datetime, store: Store, settings: Settings) -> list[Reservation]:
    """The reservations of other plans over the horizon, as they stood then."""
    end = plan.release_at + timedelta(seconds=settings.planner.horizon_s)
    found = [
        item.reservation
        for item in store.stored_reservations(ended=True, limit=_MOST_RESERVATIONS)
        if item.reservation.plan_id != plan.id
        and item.reserved_at <= instant
        and (item.freed_at is None or item.freed_at > instant)
        and item.reservation.start_at < end
        and item.reservation.end_at > plan.release_at
    ]
    return sorted(found, key=lambda item: (item.bin, item.start_at, item.plan_id, item.step_id))


def _planner(stored: PlannerInfo, now: PlannerInfo) -> list[Difference]:
    pairs = [("planner", stored.kind, now.kind), ("planner version", stored.version, now.version)]
    return [Difference(name, before, after) for name, before, after in pairs if before != after]


def _plain(plan: Plan) -> dict[str, Any]:
    return dict(json.loads(plan.model_dump_json()))


def _differences(where: str, stored: Any, now: Any) -> Iterator[Difference]:
    if stored == now:
        return
    if isinstance(stored, Mapping) and isinstance(now, Mapping):
        for key in sorted({*stored, *now}):
            yield from _differences(f"{where}.{key}", stored.get(key), now.get(key))
    elif isinstance(stored, Sequence) and isinstance(now, Sequence) and not isinstance(stored, str):
        if len(stored) != len(now):
            yield Difference(f"{where} (number)", str(len(stored)), str(len(now)))
        for index, (before, after) in enumerate(zip(stored, now, strict=False)):
            yield from _differences(f"{where}.{index}", before, after)
    else:
        yield Difference(where, _short(stored), _short(now))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "…"
