"""What other work uses on each bin, forecast for all bins at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from tomas.forecast.mixture import forecast_quantiles
from tomas.forecast.series import CleanSeries, clean_series
from tomas.schema import RESOURCE_NAMES, Sample
from tomas.store import SampleArrays

__all__ = ["HIGH", "LEAST_LEARNED", "LEAST_SAMPLES", "Background", "backgrounds", "bin_series"]

FloatArray = npt.NDArray[np.float64]

HIGH = 0.9
"""The background's quantile that a plan reckons with."""
LEAST_SAMPLES = 3
"""Fewer recent samples of a bin say less than its declared capacity."""
LEAST_LEARNED = 48
"""Fewer points are not forecast: their quantile is taken."""
CLOCKS_S = 60.0
"""Clocks of hosts may differ by this much."""
_MOST_POINTS = 240
_KNOTS = np.array([2, 8, 24])
"""Steps ahead that are forecast; a knot serves the time since the one before. Later, all points' quantile holds."""
_ORIGINS = 4
_SPACING = 6
_LEVELS = np.array([1 - HIGH, 0.5, HIGH])
_AMOUNTS = attrgetter(*(f"background.{name}" for name in RESOURCE_NAMES))


@dataclass(frozen=True)
class Background:
    """Use by other work: one row per stretch of time, one column per resource."""

    ends_s: FloatArray
    """Epoch seconds at which each row but the last gives way to the next."""
    median: FloatArray
    high: FloatArray
    learned: bool
    """Forecast, not only the quantiles of the samples."""


def bin_series(samples: Sequence[Sample] | SampleArrays, now: datetime) -> CleanSeries:
    """The background of one bin's samples as an even series of four channels, in the order of the resources."""
    if isinstance(samples, SampleArrays):
        at = samples.at_us / 1e6
        return clean_series(at, samples.background.T, now_s=now.timestamp(), ahead_s=CLOCKS_S)
    width = len(RESOURCE_NAMES)
    amounts = chain.from_iterable(map(_AMOUNTS, samples))
    table = np.fromiter(amounts, np.float64, width * len(samples)).reshape(-1, width)
    at = np.fromiter((sample.at.timestamp() for sample in samples), np.float64, len(samples))
    return clean_series(at, table.T, now_s=now.timestamp(), ahead_s=CLOCKS_S)


def backgrounds(samples: Mapping[str, Sequence[Sample] | SampleArrays], now: datetime) -> dict[str, Background]:
    """Backgrounds of the bins with at least :data:`LEAST_SAMPLES` usable samples.

    :param samples: by bin, in any order.
    :param now: later samples come from a wrong clock and are left out.
    """
    result: dict[str, Background] = {}
    groups: dict[int, list[tuple[str, CleanSeries]]] = {}
    for name, readings in samples.items():
        series = bin_series(readings, now)
        points = series.values.shape[1]
        if series.report.used < LEAST_SAMPLES:
            continue
        if series.report.used < LEAST_LEARNED:
            result[name] = Background(np.empty(0), *_window(series.values), learned=False)
            continue
        # Bins are forecast together where they have as many points, so a few points are let go.
        groups.setdefault(min(points - points % 8, _MOST_POINTS), []).append((name, series))
    for points, group in groups.items():
        result.update(_learned(points, group))
    return result


def _window(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Median and high quantile of all points, each of shape (1, channels)."""
    ordered, last = np.sort(values, axis=1), values.shape[1] - 1
    # The quantile is the next higher reading.
    high = ordered[:, math.ceil(HIGH * last - 1e-9)]
    return (ordered[:, last // 2] + ordered[:, -(-last // 2)])[None] / 2, high[None]


def _learned(points: int, group: list[tuple[str, CleanSeries]]) -> dict[str, Background]:
    panel = np.stack([series.values[:, -points:] for _, series in group])
    rows = panel.reshape(-1, points)
    # Most bins have resources that nobody else touches: they need no forecast.
    moving = np.flatnonzero(np.ptp(rows, axis=1) > 0)
    quantiles = np.empty((len(rows), len(_KNOTS), len(_LEVELS)))
    quantiles[:] = rows[:, -1, None, None]
    if moving.size:
        quantiles[moving] = forecast_quantiles(
            rows[moving], _KNOTS, _LEVELS, spacing=_SPACING, origins=_ORIGINS, quick=True
        ).quantiles
    knots = quantiles.reshape(len(group), len(RESOURCE_NAMES), len(_KNOTS), len(_LEVELS))
    result = {}
    for (name, series), found in zip(group, knots, strict=True):
        median, high = _window(series.values)
        result[name] = Background(
            series.last_s + series.step_s * _KNOTS,
            np.concatenate([found[..., 1].T, median]),
            np.concatenate([found[..., 2].T, high]),
            learned=True,
        )
    return result
