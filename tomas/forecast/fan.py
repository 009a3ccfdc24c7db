"""What one bin will have free, as quantiles over the time ahead, beside what was said of the past before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tomas.errors import DataError
from tomas.forecast.mixture import Forecast, forecast_quantiles
from tomas.forecast.series import CleanSeries

__all__ = ["FAN_LEVELS", "Fan", "fan"]

FloatArray = npt.NDArray[np.float64]

FAN_LEVELS = np.array([0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95])
LEAST_FAN = 24
"""Points that a fan needs at least."""
_MOST_POINTS = 720


@dataclass(frozen=True)
class Fan:
    """Times are seconds of the readings' clock; amounts are free, other work's use subtracted from the capacity."""

    history_s: FloatArray
    history: FloatArray
    """Shape (channels, points)."""
    ahead_s: FloatArray
    ahead: FloatArray
    """Shape (channels, steps, levels), levels ascending."""
    past_s: FloatArray
    past: FloatArray
    """What would have been said for the last of the history from before it; same shape as ``ahead``."""
    found: Forecast
    """Choice and back-test, of the use."""


def fan(series: CleanSeries, capacity: FloatArray, ahead_s: float) -> Fan:
    """Forecast a bin's free capacity ``ahead_s`` seconds ahead, at most a third of its history.

    :param series: use by other work, a channel per resource; longer ones are averaged to 720 points.
    :param capacity: of the bin, one amount per channel.
    :raises DataError: the series is too short.
    """
    points = series.values.shape[1]
    if points < LEAST_FAN:
        raise DataError(
            f"{points} points are too few for a forecast with a past; {LEAST_FAN} are needed.",
            remedy="Let the sampler run longer, or read more hours back.",
        )
    block = -(-points // _MOST_POINTS)
    cut = points % block
    use = series.values[:, cut:].reshape(len(series.values), -1, block).mean(axis=2)
    step = series.step_s * block
    length = use.shape[1]
    reach = int(np.clip(round(ahead_s / step), 1, length // 3))
    steps = np.unique(np.round(np.geomspace(1, reach, 12)).astype(np.int64))
    now = forecast_quantiles(use, steps, FAN_LEVELS, spacing=max(1, reach // 2), review=True)
    before = forecast_quantiles(use[:, :-reach], steps, FAN_LEVELS, spacing=max(1, reach // 2))
    times = series.last_s + step * np.arange(1 - length, 1)
    return Fan(
        history_s=times,
        history=np.clip(capacity[:, None] - use, 0, None),
        ahead_s=series.last_s + step * steps,
        ahead=_free(now.quantiles, capacity),
        past_s=times[-reach - 1] + step * steps,
        past=_free(before.quantiles, capacity),
        found=now,
    )


def _free(use: FloatArray, capacity: FloatArray) -> FloatArray:
    """Much use is little free: the levels change places."""
    return np.clip(capacity[:, None, None] - use[..., ::-1], 0, capacity[:, None, None])
