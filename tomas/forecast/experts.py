"""Simple forecasters of evenly spaced series, each giving quantiles from its own past errors.

All of them are vectorised over series, origins, and horizons, since a plan asks for every resource of every bin
at once and each forecast back-tests all experts. An origin ``o`` sees the points before index ``o`` and no others;
horizon ``h`` is the point ``o + h - 1``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["EXPERTS", "LEAST_POINTS", "QUICK", "expert_quantiles"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEAST_POINTS = 8
"""Points an origin must see at least."""
_ERRORS = 96
"""Newest past errors that an expert's quantiles come from."""
_WINDOWS = (1, 4, 12, 36, 144)
_LONG = 144
_REVERSION = 288
"""Pairs from which the speed of return to the long mean is estimated."""
_ALIKE = 48
_LAGS = 24
_FIT = 384
"""Points that the regression is fitted to."""

EXPERTS = (
    *(f"window of {size}" for size in _WINDOWS),
    "last value",
    "last value, recent errors",
    "mean of 3",
    "mean reversion",
    "last value, like moments",
    "mean of 3, like moments",
    "regression on lags",
)
"""What each row of :func:`expert_quantiles` is."""
QUICK = 9
"""So many of the first experts take little time."""


def expert_quantiles(
    values: FloatArray, origins: IntArray, horizons: IntArray, levels: FloatArray, *, experts: int = len(EXPERTS)
) -> FloatArray:
    """Quantiles of the first ``experts`` experts, of shape (series, origins, experts, horizons, levels).

    A horizon longer than half of the points has the errors of that half.

    :param values: shape (series, points), finite.
    :param origins: numbers of points seen, each at least :data:`LEAST_POINTS`.
    :param horizons: steps ahead, from 1.
    :param levels: ascending, between 0 and 1.
    :param experts: :data:`QUICK`, or all.
    """
    series, points = values.shape
    result = np.empty((series, len(origins), experts, len(horizons), len(levels)))
    for row, size in enumerate(_WINDOWS):
        index = _newest(origins, size, size)
        result[:, :, row] = _sorted_quantiles(values[:, index], levels)[:, :, None]
    means = _moving_means(values, (3, 12, _LONG))
    short, long = means[3], means[_LONG]
    now = origins - 1
    reaches = np.minimum(horizons, max(1, points // 2))
    rows = np.arange(series)[:, None, None]
    row = len(_WINDOWS)
    if experts > QUICK:
        # Known for every horizon, so that one choice and one fit serve them all.
        known = np.maximum(origins - int(reaches.max()), 1)
        alike = _alike(values, now, known)
        fitted, fitted_errors = _regression(values, means, now, known, reaches)
    for column, reach in enumerate(reaches.tolist()):
        ahead = _shifted(values, reach)
        ends = np.maximum(origins - reach, 1)
        index = _newest(ends, _ERRORS, _ERRORS)
        error, short_error = ahead - values, ahead - short
        pull = _reversion(values - long, ahead - long, ends)
        reverting = long[:, now] + pull * (values[:, now] - long[:, now])
        samples = [
            (values[:, now], error[:, index]),
            (values[:, now], error[:, index[:, : _ERRORS // 4]]),
            (short[:, now], short_error[:, index]),
            # The share that is left differs between origins, so these errors are formed per origin.
            (reverting, (ahead - long)[:, index] - pull[:, :, None] * (values - long)[:, index]),
        ]
        if experts > QUICK:
            samples += [
                (values[:, now], error[rows, alike]),
                (short[:, now], short_error[rows, alike]),
                (fitted[:, :, column], fitted_errors[:, :, column]),
            ]
        for place, (centre, sample) in enumerate(samples):
            result[:, :, row + place, column] = centre[:, :, None] + _sorted_quantiles(sample, levels)
    return result


def _shifted(values: FloatArray, reach: int) -> FloatArray:
    """The value ``reach`` points later; past the end, where nobody looks, the last one."""
    return np.concatenate([values[:, reach:], np.repeat(values[:, -1:], reach, axis=1)], axis=1)


def _newest(ends: IntArray, size: int, width: int) -> IntArray:
    """Indices of the last ``size`` points before each end; where there are fewer, they repeat evenly."""
    length = np.minimum(ends, size)[:, None]
    return np.asarray(ends[:, None] - 1 - np.arange(width)[None, :] % length)


def _sorted_quantiles(sample: FloatArray, levels: FloatArray) -> FloatArray:
    """Quantiles over the last axis by linear interpolation; several times faster than ``np.quantile``."""
    ordered = np.sort(sample, axis=-1)
    # Plotting positions (i + 0.5) / n, so that small samples are not too narrow.
    place = np.clip(levels * ordered.shape[-1] - 0.5, 0, ordered.shape[-1] - 1)
    left = np.floor(place).astype(np.int64)
    right = np.minimum(left + 1, ordered.shape[-1] - 1)
    share = place - left
    return np.asarray(ordered[..., left] * (1 - share) + ordered[..., right] * share)


def _moving_means(values: FloatArray, sizes: tuple[int, ...]) -> dict[int, FloatArray]:
    """Means of up to ``size`` points ending at each point."""
    totals = _totals(values)
    ends = np.arange(1, totals.shape[1])
    result = {}
    for size in sizes:
        starts = np.maximum(ends - size, 0)
        result[size] = (totals[:, ends] - totals[:, starts]) / (ends - starts)
    return result


def _totals(values: FloatArray) -> FloatArray:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _alike(values: FloatArray, now: IntArray, known: IntArray) -> IntArray:
    """Indices of known points after which the series had moved lately about as much as it has now.

    Movement is the logarithm of the mean absolute change of the last 3 and of the last 12 points; age counts too.
    """
    change = np.abs(np.diff(values, axis=1, prepend=values[:, :1]))
    size = (_totals(np.abs(values) + change)[:, now + 1] / (now + 1))[:, :, None]
    means = _moving_means(change, (3, 12))
    places = np.arange(values.shape[1])
    distance = np.repeat((now[:, None] - places)[None] / 300.0, len(values), axis=0)
    for mean in means.values():
        # The floor is of what the origin saw, so that nothing later is used.
        moved = np.log(np.maximum(mean, 0.0)[:, None, :] + 1e-3 * size + 1e-12)
        at_origin = np.take_along_axis(moved, np.broadcast_to(now[None, :, None], (*moved.shape[:2], 1)), axis=2)
        distance += np.abs(moved - at_origin)
    distance = np.where(places[None, :] < known[:, None], distance, np.inf)
    count = min(_ALIKE, values.shape[1])
    best = np.argpartition(distance, count - 1, axis=-1)[..., :count]
    return np.asarray(np.minimum(best, known[None, :, None] - 1))


def _regression(
    values: FloatArray, means: dict[int, FloatArray], now: IntArray, known: IntArray, reaches: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Ridge regression of the change ahead on lags and means, fitted at every origin for all horizons at once.

    Forecasts of shape (series, origins, horizons); errors of the fit with an axis more.
    """
    padded = np.concatenate([np.repeat(values[:, :1], _LAGS - 1, axis=1), values], axis=1)
    window = np.lib.stride_tricks.sliding_window_view(padded, _LAGS, axis=1)[..., :-1]
    lags = np.concatenate([window, np.stack(list(means.values()), axis=-1)], axis=-1) - values[:, :, None]
    change = np.stack([_shifted(values, reach) for reach in reaches.tolist()], axis=-1) - values[:, :, None]
    width = lags.shape[-1]
    forecast = np.empty((len(values), len(now), len(reaches)))
    errors = np.empty((*forecast.shape, _ERRORS))
    for column, (at, end) in enumerate(zip(now.tolist(), known.tolist(), strict=True)):
        begin = max(0, end - _FIT)
        x, y = lags[:, begin:end], change[:, begin:end]
        gram = x.transpose(0, 2, 1) @ x
        ridge = 0.03 * np.trace(gram, axis1=1, axis2=2) / width + 1e-9
        weight = np.linalg.solve(gram + ridge[:, None, None] * np.eye(width), x.transpose(0, 2, 1) @ y)
        forecast[:, column] = values[:, at, None] + (lags[:, at, None] @ weight)[:, 0]
        left = (y - x @ weight).transpose(0, 2, 1)
        errors[:, column] = left[..., (end - begin - 1) - np.arange(_ERRORS) % (end - begin)]
    return forecast, errors


def _reversion(deviation: FloatArray, ahead: FloatArray, known: IntArray) -> FloatArray:
    """Share of the deviation from the long mean that is left at a horizon, by least squares, within 0 and 1."""

    def window(products: FloatArray) -> FloatArray:
        totals = _totals(products)
        return np.asarray(totals[:, known] - totals[:, np.maximum(known - _REVERSION, 0)])

    both, own = window(deviation * ahead), window(deviation * deviation)
    safe = np.where(own > 1e-12, own, 1.0)
    return np.asarray(np.where(own > 1e-12, np.clip(both / safe, 0.0, 1.0), 1.0))
