"""Refit sizing and planner latency from the runs of one data interval, and nothing later."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tomas.errors import DataError
from tomas.forecast import LatencyModel
from tomas.schema import ExecutionRecord, ModelVersion, ProfileRow, ProfileSource, Tool, utc_now
from tomas.sizing import LearnedSizer
from tomas.store import Store
from tomas.training.metrics import better_by_chance, score, scored_steps, summary

__all__ = ["retrain"]

_log = logging.getLogger(__name__)

_MAX_CALLS = 100_000
_MAX_MODELS = 1000
_MOST_SCORED = 5000
_CHANCE = 0.05
"""A challenger is promoted where it would look so much better by chance in fewer than one case of twenty."""


def retrain(store: Store, interval_start: datetime, interval_end: datetime) -> ModelVersion:
    """Refit the models of kind ``sizing`` and ``latency`` and register them.

    Seen are: execution records that ended in ``[interval_start, interval_end)``, profile rows measured
    before ``interval_end`` (``given`` rows have no time and stand in only where nothing was measured), and
    planner calls of the interval. The same interval over the same rows gives the same versions.

    **Sizing.** The newest version that ended at or before ``interval_start`` is built on, so nothing that earlier
    intervals taught is lost. Before that, this interval's steps are an exam: the promoted version (the champion)
    and that newest one (the challenger), of which neither has seen them, are scored on them, and the challenger is
    promoted where its loss is less beyond chance. The version fitted here is judged by the interval that follows;
    only where no version that can be read is promoted is it promoted at once. A backfill of the past judges and
    promotes nothing.

    **Latency.** Promoted unless the current version was fitted to a later interval, or nothing was called.

    :return: the sizing version fitted to this interval. Its metrics hold ``champion_…`` and ``challenger_…`` (see
        :func:`~tomas.training.metrics.summary`), ``judged_steps``, ``better_by_chance`` and
        ``challenger_promoted``, where there was an exam.
    :raises DataError: the interval is empty or without a time zone.
    :raises StoreError: Postgres is down or slow.
    """
    if interval_start.tzinfo is None or interval_end.tzinfo is None or interval_end <= interval_start:
        raise DataError(
            f"The data interval {interval_start} to {interval_end} is empty or has no time zone.",
            remedy="Pass the data_interval_start and data_interval_end of a scheduled run.",
        )
    records = store.records_between(interval_start, interval_end)
    sizing = _sizing(store, records, store.tools(), interval_start, interval_end)
    _latency(store, interval_start, interval_end)
    return sizing


@dataclass(frozen=True)
class _Fitted:
    """A registered version that can be used."""

    version: ModelVersion
    sizer: LearnedSizer


def _sizing(
    store: Store, records: list[ExecutionRecord], tools: Sequence[Tool], start: datetime, end: datetime
) -> ModelVersion:
    rows = store.profiles()
    current = store.current_model("sizing")
    known = _measured_before(rows, start)
    newest = _newest_before(store, start, tools, known)
    champion = None if current is None else _readable(current, tools, known)
    metrics = {"records": float(len(records))}
    if champion is not None and newest is not None and champion.version.interval_end <= start:
        metrics |= _exam(store, champion, newest, records, tools)
    profiles = _measured_before(rows, end)
    base = (
        None
        if newest is None
        else LearnedSizer.from_payload(newest.version.payload, tools=tools, profiles=profiles)
    )
    fitted = LearnedSizer.fit(profiles, records, tools=tools, base=base, until=end)
    metrics["tools"] = float(len(fitted.tools))
    parent = None if newest is None else newest.version.version
    return _register(store, "sizing", fitted.to_payload(), start, end, metrics, parent, promote=champion is None)


def _exam(
    store: Store, champion: _Fitted, challenger: _Fitted, records: list[ExecutionRecord], tools: Sequence[Tool]
) -> dict[str, float]:
    """Score both on steps that neither has seen; promote the challenger where it is better beyond chance."""
    steps = scored_steps(records, {tool.name for tool in tools}, most=_MOST_SCORED)
    before = score(champion.sizer, steps)
    metrics = summary(before, "champion")
    if challenger.version.version == champion.version.version:
        return metrics
    after = score(challenger.sizer, steps)
    chance = better_by_chance(before, after)
    promoted = chance < _CHANCE
    if promoted:
        store.promote_model(challenger.version.version)
    metrics |= summary(after, "challenger")
    metrics |= {
        "judged_steps": float(len(steps)),
        "better_by_chance": chance,
        "challenger_promoted": float(promoted),
    }
    _log.info(
        "%s was judged against %s on %d steps: %s (by chance in %.3f of cases)",
        challenger.version.version, champion.version.version, len(steps),
        "better, promoted" if promoted else "not better beyond chance", chance,
    )  # fmt: skip
    return metrics


def _measured_before(rows: Sequence[ProfileRow], end: datetime) -> list[ProfileRow]:
    return [
        row
        for row in rows
        if row.source is ProfileSource.GIVEN or (row.measured_at is not None and row.measured_at < end)
    ]


def _newest_before(
    store: Store, start: datetime, tools: Sequence[Tool], profiles: Sequence[ProfileRow]
) -> _Fitted | None:
    """The newest version that was fitted to nothing but the past of this instant and can be read."""
    past = [model for model in store.models("sizing", limit=_MAX_MODELS) if model.interval_end <= start]
    past.sort(key=lambda item: (item.interval_end, item.created_at, item.version), reverse=True)
    readable = (_readable(model, tools, profiles) for model in past)
    return next((item for item in readable if item is not None), None)


def _readable(model: ModelVersion, tools: Sequence[Tool], profiles: Sequence[ProfileRow]) -> _Fitted | None:
    try:
        return _Fitted(model, LearnedSizer.from_payload(model.payload, tools=tools, profiles=profiles))
    except ValueError as error:
        _log.warning("Sizing model %s cannot be used: %s", model.version, error)
        return None


def _latency(store: Store, start: datetime, end: datetime) -> ModelVersion:
    calls = store.recent_calls(limit=_MAX_CALLS, since=start, until=end)
    fitted = LatencyModel.fit(calls)
    metrics = {"calls": float(fitted.t_inf_calls), "lags": float(fitted.dispatch_lag_calls)}
    # A day without calls teaches nothing, and must not displace what an earlier day taught.
    return _register(
        store, "latency", fitted.to_payload(), start, end, metrics, None, promote=fitted.t_inf_calls > 0
    )


def _register(
    store: Store,
    kind: str,
    payload: dict[str, Any],
    start: datetime,
    end: datetime,
    metrics: dict[str, float],
    parent: str | None,
    *,
    promote: bool,
) -> ModelVersion:
    current = store.current_model(kind)
    version = store.register_model(
        kind, payload, interval_start=start, interval_end=end, metrics=metrics, parent=parent
    )
    promote = promote and (current is None or current.interval_end <= end)
    if promote:
        store.promote_model(version)
    _log.info("Registered %s%s: %s", version, ", promoted" if promote else "", metrics)
    return ModelVersion(
        version=version,
        kind=kind,
        payload=payload,
        interval_start=start,
        interval_end=end,
        metrics=metrics,
        parent=parent,
        created_at=utc_now(),
        promoted=promote or (current is not None and current.version == version),
    )
