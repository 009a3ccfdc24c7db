"""What a plan is made from: bins, history, forecasts; from the store, or from files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from tomas.config import Settings
from tomas.errors import ConfigError
from tomas.forecast import LatencyModel, forecast, predict_latency
from tomas.schema import (
    Bin,
    CapacityCurve,
    ExecutionRecord,
    PlanRequest,
    ProfileRow,
    Reservation,
    Sample,
    WorkerClass,
    content_hash,
)
from tomas.sizing import QuantileSizer
from tomas.store import Store, cite_samples
from tomas.tools.data import load_profiles, load_worker_classes
from tomas.tools.registry import Registry

__all__ = ["Context", "load_context"]

_log = logging.getLogger(__name__)

_HISTORY = timedelta(days=1)
"""How old records may be that size a plan while no sizing model is registered: the newest of each tool."""
_CALLS = 50


@dataclass(frozen=True)
class Context:
    """Everything that the planner reads, at one instant."""

    now: datetime
    release_at: datetime
    t_inf_ms: float
    dispatch_lag_ms: float
    hand_over_ms: float
    """From a step's end to the start of what waits for it or for its room; 0 outside Airflow."""
    bins: Sequence[Bin]
    sizer: QuantileSizer
    samples: Sequence[Sample]
    model_version: str | None
    snapshots: dict[str, str]
    superseded: str | None
    """Id of the plan that a new one of the same origin replaces."""
    warnings: Sequence[str]

    def reservations(self, store: Store | None, settings: Settings) -> list[Reservation]:
        """Other plans' reservations over the horizon, read now."""
        if store is None:
            return []
        end = self.release_at + timedelta(seconds=settings.planner.horizon_s)
        return store.reservations(self.release_at, end, exclude_plan=self.superseded)

    def curves(self, reservations: Sequence[Reservation], settings: Settings) -> list[CapacityCurve]:
        """Free capacity of every bin from ``release_at`` on."""
        return forecast(
            self.bins,
            samples=self.samples,
            reservations=reservations,
            start_at=self.release_at,
            horizon_ms=settings.planner.horizon_s * 1000.0,
            step_ms=settings.planner.grid_ms,
            naive=settings.runtime.naive_mode.enabled,
        )


def load_context(
    request: PlanRequest,
    *,
    store: Store | None,
    registry: Registry,
    settings: Settings,
    profiles: Sequence[ProfileRow] | None,
    worker_classes: Sequence[WorkerClass] | None,
    now: datetime,
) -> Context:
    """Read history and predictions; what is given is not read.

    :raises ConfigError: there is no bin at all.
    """
    warnings: list[str] = []
    if profiles is None:
        profiles = store.profiles() if store else load_profiles(settings.data.profiles_path)
    if worker_classes is None:
        worker_classes = store.worker_classes() if store else load_worker_classes(settings.data.worker_classes_path)
    bins = [item for group in worker_classes for item in group.bins]
    if not bins:
        raise ConfigError("No worker bins are known.", remedy="Run `tomas db seed`, or pass worker classes.")
    sizer, versions, latency = _models(store, registry, profiles, now, warnings)
    calls = store.recent_calls(settings.planner.kind, _CALLS) if store else []
    t_inf_ms, lag_ms = predict_latency(
        calls,
        t_inf_default_ms=settings.planner.t_inf_default_ms,
        dispatch_lag_default_ms=settings.planner.dispatch_lag_default_ms,
        model=latency,
    )
    since = now - timedelta(seconds=settings.sampler.recent_s)
    samples = store.recent_samples(since, until=now, bins=[item.name for item in bins]) if store else []
    return Context(
        now=now,
        release_at=now + timedelta(milliseconds=t_inf_ms + lag_ms),
        t_inf_ms=t_inf_ms,
        dispatch_lag_ms=lag_ms,
        hand_over_ms=_hand_over_ms(request, store, settings, now),
        bins=bins,
        sizer=sizer,
        samples=samples,
        model_version=" ".join(versions[kind] for kind in sorted(versions)) or None,
        snapshots={
            "registry": registry.fingerprint(),
            "profiles": _rows_hash(tuple(profiles)),
            "bins": content_hash([item.model_dump(mode="json") for item in bins]),
            "samples": cite_samples(samples, since, now) if samples else "none",
            **{f"model.{kind}": version for kind, version in versions.items()},
        },
        superseded=_superseded(request, store),
        warnings=warnings,
    )


def _models(
    store: Store | None, registry: Registry, profiles: Sequence[ProfileRow], now: datetime, warnings: list[str]
) -> tuple[QuantileSizer, dict[str, str], LatencyModel | None]:
    """The registered sizing and latency models over what the profile table says; their versions by kind."""
    versions: dict[str, str] = {}
    latency: LatencyModel | None = None
    families = tuple((tool.name, tool.family) for tool in registry)
    sizer: QuantileSizer | None = None
    if store is not None:
        current = store.current_model("sizing")
        if current is not None:
            try:
                learned = QuantileSizer.from_payload(current.payload)
                sizer = learned.with_base(_fitted(tuple(profiles), families, registry))
                versions["sizing"] = current.version
            except ValueError as error:
                warnings.append(f"The sizing model {current.version} was not used: {error}.")
        current = store.current_model("latency")
        if current is not None:
            try:
                latency = LatencyModel.from_payload(current.payload)
                versions["latency"] = current.version
            except ValueError as error:
                warnings.append(f"The latency model {current.version} was not used: {error}.")
    if sizer is None:
        names = [tool.name for tool in registry]
        records: list[ExecutionRecord] = store.recent_records(names, now - _HISTORY, now) if store else []
        if records:
            sizer = QuantileSizer.fit(profiles, records, tools=registry)
        else:
            sizer = _fitted(tuple(profiles), families, registry)
    return sizer, versions, latency


_fits: dict[str, QuantileSizer] = {}


def _fitted(
    profiles: tuple[ProfileRow, ...], families: tuple[tuple[str, str], ...], registry: Registry
) -> QuantileSizer:
    """A sizer fitted to profile rows alone; the last few are kept, as most plans share them."""
    key = content_hash([_rows_hash(profiles), families])
    if key not in _fits:
        while len(_fits) >= 4:
            _fits.pop(next(iter(_fits)))
        _fits[key] = QuantileSizer.fit(profiles, [], tools=registry)
    return _fits[key]


@lru_cache(maxsize=8)
def _rows_hash(rows: tuple[ProfileRow, ...]) -> str:
    return content_hash([row.model_dump(mode="json") for row in rows])


def _hand_over_ms(request: PlanRequest, store: Store | None, settings: Settings, now: datetime) -> float:
    if request.origin is None:
        return 0.0
    seen = store.hand_over_ms(now - _HISTORY) if store else None
    return settings.planner.hand_over_default_ms if seen is None else seen


def _superseded(request: PlanRequest, store: Store | None) -> str | None:
    if store is None or request.origin is None:
        return None
    return store.plan_of_origin(request.origin)
