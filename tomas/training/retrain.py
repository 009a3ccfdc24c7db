"""Refit sizing and planner latency from the runs of one data interval, and nothing later."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tomas.errors import DataError
from tomas.forecast import LatencyModel
from tomas.schema import ExecutionRecord, ModelVersion, ProfileSource, Tool, utc_now
from tomas.sizing import QuantileSizer
from tomas.store import Store
from tomas.training.metrics import score

__all__ = ["retrain"]

_log = logging.getLogger(__name__)

_MAX_CALLS = 100_000
_MAX_MODELS = 1000
_LEAST_STEPS = 3


def retrain(store: Store, interval_start: datetime, interval_end: datetime) -> ModelVersion:
    """Refit the models of kind ``sizing`` and ``latency`` and register them.

    Seen are: execution records that ended in ``[interval_start, interval_end)``, profile rows measured
    before ``interval_end`` (``given`` rows have no time and stand in only where nothing was measured), and
    planner calls of the interval. Each new version is promoted unless the current one was fitted to a later
    interval, so that a backfill of the past does not displace the present. The same interval over the same
    rows gives the same versions.

    Where an earlier version ended at or before ``interval_start``, it is built on: tools with fewer than
    three executed steps in the interval keep what that version says of them.

    :return: the sizing version. Its metrics compare it with the version before on the interval's own runs;
        ``…_after`` is therefore how well the fit describes, ``…_before`` how well the old one foretold.
    :raises DataError: the interval is empty or without a time zone.
    :raises StoreError: Postgres is down or slow.
    """
    if interval_start.tzinfo is None or interval_end.tzinfo is None or interval_end <= interval_start:
        raise DataError(
            f"The data interval {interval_start} to {interval_end} is empty or has no time zone.",
            remedy="Pass the data_interval_start and data_interval_end of a scheduled run.",
        )
    records = store.records_between(interval_start, interval_end)
    tools = {tool.name: tool for tool in store.tools()}
    sizing = _sizing(store, records, tools, interval_start, interval_end)
    _latency(store, interval_start, interval_end)
    return sizing


def _sizing(
    store: Store, records: list[ExecutionRecord], tools: Mapping[str, Tool], start: datetime, end: datetime
) -> ModelVersion:
    profiles = [
        row
        for row in store.profiles()
        if row.source is ProfileSource.GIVEN or (row.measured_at is not None and row.measured_at < end)
    ]
    fitted = QuantileSizer.fit(profiles, records, tools=tools.values())
    before, parent = _sizer_before(store, start)
    if before is None:
        before = QuantileSizer.fit(profiles, [], tools=tools.values())
    else:
        # What earlier intervals taught about tools that hardly ran in this one is kept.
        steps = Counter(name for name, _, _ in {(item.tool, item.plan_id, item.step_id) for item in records})
        fitted = fitted.refreshed(before, {name for name, count in steps.items() if count >= _LEAST_STEPS})
    metrics = {"records": float(len(records)), "tools": float(len(fitted.known_tools))}
    for name, value in score(fitted, records, tools).items():
        metrics[f"{name}_after"] = value
    for name, value in score(before, records, tools).items():
        metrics[f"{name}_before"] = value
    return _register(store, "sizing", fitted.to_payload(), start, end, metrics, parent, promote=True)


def _sizer_before(store: Store, start: datetime) -> tuple[QuantileSizer | None, str | None]:
    """The newest sizer that was fitted to nothing but the past of this interval, and its version."""
    past = [model for model in store.models("sizing", limit=_MAX_MODELS) if model.interval_end <= start]
    for model in sorted(past, key=lambda item: (item.interval_end, item.created_at, item.version), reverse=True):
        try:
            return QuantileSizer.from_payload(model.payload), model.version
        except ValueError as error:
            _log.warning("Sizing model %s cannot be built on: %s", model.version, error)
    return None, None


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
        promoted=promote,
    )
