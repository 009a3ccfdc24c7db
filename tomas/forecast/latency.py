"""T_inf, the planner's own latency, and the dispatch lag, by quantiles of the planner's call log."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tomas.schema import PlannerCall

__all__ = ["LEAST_CALLS", "LatencyModel", "predict_latency"]

LEAST_CALLS = 5
"""Fewer calls than this do not replace the model or the defaults."""
PAYLOAD_VERSION = 1


@dataclass(frozen=True)
class LatencyModel:
    """Median and 90 % quantile of T_inf and of the dispatch lag, in ms; None where no call told."""

    t_inf_p50_ms: float | None
    t_inf_p90_ms: float | None
    t_inf_calls: int
    dispatch_lag_p50_ms: float | None
    dispatch_lag_p90_ms: float | None
    dispatch_lag_calls: int

    @classmethod
    def fit(cls, calls: Iterable[PlannerCall]) -> LatencyModel:
        """Fit successful calls; failed ones end early and would make the planner look fast."""
        good = [call for call in calls if call.error is None]
        t_inf = [call.t_inf_ms for call in good]
        lags = [call.dispatch_lag_ms for call in good if call.dispatch_lag_ms is not None]
        t_inf_p50, t_inf_p90 = _quantiles(t_inf)
        lag_p50, lag_p90 = _quantiles(lags)
        return cls(t_inf_p50, t_inf_p90, len(t_inf), lag_p50, lag_p90, len(lags))

    def to_payload(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"version": PAYLOAD_VERSION, **asdict(self)}

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> LatencyModel:
        """The inverse of :meth:`to_payload`.

        :raises ValueError: the payload is of another version or malformed.
        """
        if payload.get("version") != PAYLOAD_VERSION:
            raise ValueError(f"latency payload of version {payload.get('version')}, not {PAYLOAD_VERSION}")
        try:
            return cls(**{name: value for name, value in payload.items() if name != "version"})
        except TypeError as error:
            raise ValueError(f"malformed latency payload: {error}") from error


def predict_latency(
    calls: Iterable[PlannerCall],
    *,
    t_inf_default_ms: float,
    dispatch_lag_default_ms: float,
    model: LatencyModel | None = None,
    quantile: float = 0.5,
) -> tuple[float, float]:
    """(T_inf, dispatch lag) of the next call, in ms.

    Each comes from recent calls if at least :data:`LEAST_CALLS` of them succeeded, else from the registered
    model, else from the default.

    :param calls: recent ones of the same planner, in any order.
    :param quantile: 0.5 for what is expected, 0.9 for what is nearly always kept.
    """
    good = [call for call in calls if call.error is None]
    lags = [call.dispatch_lag_ms for call in good if call.dispatch_lag_ms is not None]
    high = quantile > 0.5
    learned: tuple[float | None, float | None] = (None, None)
    if model is not None:
        learned = (
            (model.t_inf_p90_ms, model.dispatch_lag_p90_ms)
            if high
            else (model.t_inf_p50_ms, model.dispatch_lag_p50_ms)
        )
    return (
        _choose([call.t_inf_ms for call in good], learned[0], t_inf_default_ms, quantile),
        _choose(lags, learned[1], dispatch_lag_default_ms, quantile),
    )


def _choose(values: list[float], learned: float | None, default: float, quantile: float) -> float:
    if len(values) >= LEAST_CALLS:
        return _upper(values, quantile) if quantile > 0.5 else float(np.quantile(values, quantile))
    return default if learned is None else learned


def _quantiles(values: list[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    return float(np.quantile(values, 0.5)), _upper(values, 0.9)


def _upper(values: list[float], quantile: float) -> float:
    """What the next of exchangeable calls keeps to with at least this probability (split conformal prediction).

    Of fewer than ``quantile / (1 - quantile)`` calls the largest is all that can be said.
    """
    rank = min(len(values), math.ceil((len(values) + 1) * quantile - 1e-9))
    return sorted(values)[rank - 1]
