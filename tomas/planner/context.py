"""What a plan is made from: bins, history, forecasts; from the store, or from files."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

from tomas.config import Settings
from tomas.errors import ConfigError, StoreError
from tomas.forecast import LatencyModel, forecast, predict_latency
from tomas.schema import (
    Bin,
    CapacityCurve,
    ModelVersion,
    PlanRequest,
    ProfileRow,
    Reservation,
    WorkerClass,
    content_hash,
)
from tomas.sizing import LearnedSizer
from tomas.store import SampleArrays, Store, cite_samples
from tomas.tools.data import load_profiles, load_worker_classes
from tomas.tools.registry import Registry

__all__ = ["Context", "Registered", "load_context"]

_log = logging.getLogger(__name__)

_HISTORY = timedelta(days=90)
"""How old records may be that size a plan while no sizing model is registered."""
_PER_TOOL = 24
"""Records that are read of each tool, the newest: the sizing model knows those before its interval's end."""
_HAND_OVERS = timedelta(days=1)
_UPPER = 0.9
"""T_inf and dispatch lag are kept to so often; capacity is read from the moment that follows from them."""
_CALLS = 50
_MOST_FITS = 4


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
    sizer: LearnedSizer
    samples: Mapping[str, SampleArrays]
    """Readings of the workers, by bin."""
    model_version: str | None
    snapshots: dict[str, str]
    superseded: str | None
    """Id of the plan that a new one of the same origin replaces."""
    warnings: Sequence[str]

    def landing_after(self, t_inf_ms: float) -> Context:
        """The same for a plan that cannot be there before ``t_inf_ms`` have passed since the request."""
        t_inf_ms = max(self.t_inf_ms, t_inf_ms)
        release_at = self.now + timedelta(milliseconds=t_inf_ms + self.dispatch_lag_ms)
        return replace(self, t_inf_ms=t_inf_ms, release_at=release_at)

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
    tools: Collection[str] | None = None,
    models: Mapping[str, str] | None = None,
) -> Context:
    """Read history and predictions; what is given is not read.

    :param tools: names of the tools that will be sized; None: any of the registry. Only the newest runs of these
        (and of the family of one without runs) are read.
    :param models: versions by kind, to use instead of the current ones; a kind that is not in it uses none.
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
    versions: dict[str, str] = {}
    registered = Registered(store, models)
    sizer, records = _sizer(store, registry, tuple(profiles), now, tools, registered, versions, warnings)
    latency = _latency_model(registered, versions, warnings)
    calls = store.recent_calls(settings.planner.kind, _CALLS) if store else []
    t_inf_ms, lag_ms = predict_latency(
        calls,
        t_inf_default_ms=settings.planner.t_inf_default_ms,
        dispatch_lag_default_ms=settings.planner.dispatch_lag_default_ms,
        model=latency,
        quantile=_UPPER,
    )
    since = now - timedelta(seconds=settings.sampler.recent_s)
    samples = store.sample_arrays(since, until=now, bins=[item.name for item in bins]) if store else {}
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
            "records": records,
            "samples": cite_samples(samples, since, now) if samples else "none",
            **{f"model.{kind}": version for kind, version in versions.items()},
        },
        superseded=_superseded(request, store),
        warnings=warnings,
    )


@dataclass(frozen=True)
class Registered:
    """The model versions to use: the current ones, or those named."""

    store: Store | None
    named: Mapping[str, str] | None

    def of(self, kind: str) -> ModelVersion | None:
        """The version of a kind; None where there is none, or the plan made again used none."""
        if self.store is None:
            return None
        if self.named is None:
            return self.store.current_model(kind)
        version = self.named.get(kind)
        if version is None:
            return None
        found = self.store.model(version)
        if found is None:
            raise StoreError(
                f"The model version {version} is not in the registry any more.",
                remedy="It was deleted; the plan cannot be made again.",
            )
        return found


def _sizer(
    store: Store | None,
    registry: Registry,
    profiles: tuple[ProfileRow, ...],
    now: datetime,
    tools: Collection[str] | None,
    registered: Registered,
    versions: dict[str, str],
    warnings: list[str],
) -> tuple[LearnedSizer, str]:
    """The registered sizing model, or the profile table, and on top of it what ended since; how many records."""
    base: LearnedSizer | None = None
    since = now - _HISTORY
    current = registered.of("sizing")
    if current is not None:
        try:
            base = _fitted(current, profiles, registry)
            versions["sizing"] = current.version
            since = current.interval_end
        except ValueError as error:
            warnings.append(f"The sizing model {current.version} was not used: {error}.")
    base = base or _fitted(None, profiles, registry)
    if store is None:
        return base, "none"
    names = set(registry.names if tools is None else tools)
    for name in names - set(base.tools):
        names |= set(base.relatives(name))
    records = store.recent_records(names, since, now, per_tool=_PER_TOOL)
    if not records:
        return base, "none"
    sizer = base.branch()
    sizer.learn(records)
    return sizer, f"{len(records)} from {since.isoformat()}"


def _latency_model(registered: Registered, versions: dict[str, str], warnings: list[str]) -> LatencyModel | None:
    """The registered model of T_inf and dispatch lag."""
    current = registered.of("latency")
    if current is None:
        return None
    try:
        model = LatencyModel.from_payload(current.payload)
    except ValueError as error:
        warnings.append(f"The latency model {current.version} was not used: {error}.")
        return None
    versions["latency"] = current.version
    return model


_fits: dict[str, LearnedSizer] = {}


def _fitted(model: ModelVersion | None, profiles: tuple[ProfileRow, ...], registry: Registry) -> LearnedSizer:
    """The sizer of a registered model over profile rows; the last few are kept, as most plans share them.

    :raises ValueError: the model is of another version or malformed.
    """
    families = [(tool.name, tool.family) for tool in registry]
    key = content_hash([model.version if model else None, _rows_hash(profiles), families])
    if key not in _fits:
        made = (
            LearnedSizer(registry, profiles)
            if model is None
            else LearnedSizer.from_payload(model.payload, tools=registry, profiles=profiles)
        )
        while len(_fits) >= _MOST_FITS:
            _fits.pop(next(iter(_fits)), None)
        _fits[key] = made
    return _fits[key]


@lru_cache(maxsize=8)
def _rows_hash(rows: tuple[ProfileRow, ...]) -> str:
    return content_hash([row.model_dump(mode="json") for row in rows])


def _hand_over_ms(request: PlanRequest, store: Store | None, settings: Settings, now: datetime) -> float:
    if request.origin is None:
        return 0.0
    seen = store.hand_over_ms(now - _HAND_OVERS) if store else None
    return settings.planner.hand_over_default_ms if seen is None else seen


def _superseded(request: PlanRequest, store: Store | None) -> str | None:
    if store is None or request.origin is None:
        return None
    return store.plan_of_origin(request.origin)
