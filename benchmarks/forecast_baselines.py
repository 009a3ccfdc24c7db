"""What forecasts are measured against: simple methods with the quantiles of their own past errors, and AutoETS."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from tomas.forecast.mixture import LEVELS

__all__ = ["BASELINES", "auto_ets", "baseline_quantiles"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BASELINES = ("last value", "moving mean of 12", "last 12", "last 144", "seasonal naive")
_ETS_POINTS = 288


def baseline_quantiles(
    values: FloatArray, origins: IntArray, horizon: int, season: int | None
) -> dict[str, FloatArray]:
    """Quantiles of shape (origins, horizon, levels) by method; seasonal naive only where two seasons are seen.

    Point methods take the errors of the same number of steps at all earlier points.
    """
    totals = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - 12, 0)
    mean = (totals[ends] - totals[starts]) / (ends - starts)
    shape = (len(origins), horizon, len(LEVELS))
    result = {name: np.empty(shape) for name in BASELINES[:4]}
    seasonal = season is not None and origins[0] >= 2 * season
    if seasonal:
        result["seasonal naive"] = np.empty(shape)
    for row, origin in enumerate(origins.tolist()):
        result["last 12"][row] = np.quantile(values[max(0, origin - 12) : origin], LEVELS)
        result["last 144"][row] = np.quantile(values[max(0, origin - 144) : origin], LEVELS)
        for step in range(1, horizon + 1):
            for name, centre in (("last value", values), ("moving mean of 12", mean)):
                errors = values[step:origin] - centre[: origin - step]
                result[name][row, step - 1] = centre[origin - 1] + np.quantile(errors, LEVELS)
            if seasonal and season is not None:
                errors = values[season:origin] - values[: origin - season]
                point = values[origin + step - 1 - season * -(-step // season)]
                result["seasonal naive"][row, step - 1] = point + np.quantile(errors, LEVELS)
    return result


def auto_ets(values: FloatArray, origins: IntArray, horizon: int) -> FloatArray:
    """AutoETS of statsforecast on the last 288 points before each origin, with its own prediction intervals.

    A series that is constant there has no fit; the constant is then the forecast.
    """
    from statsforecast.models import AutoETS

    result = np.empty((len(origins), horizon, len(LEVELS)))
    widths = [round(200 * (float(level) - 0.5)) for level in LEVELS if level > 0.5 + 1e-9]
    for row, origin in enumerate(origins.tolist()):
        seen = values[max(0, origin - _ETS_POINTS) : origin]
        if np.ptp(seen) == 0:
            result[row] = seen[-1]
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = AutoETS(season_length=1).forecast(y=seen, h=horizon, level=widths)
        lows = [found[f"lo-{width}"] for width in widths]
        highs = [found[f"hi-{width}"] for width in widths]
        result[row] = np.column_stack([*lows[::-1], found["mean"], *highs])
    return result
