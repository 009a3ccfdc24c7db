"""Simple forecasters of evenly spaced series, each giving a distribution drawn from the series' own past.

All of them are vectorised over series, origins, and horizons, since a plan asks for every resource of every bin
at once and each forecast back-tests all experts. An origin ``o`` sees the points before index ``o`` and no others;
horizon ``h`` is the point ``o + h - 1``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tomas.forecast.analogs import lively_alike, shaped_alike
from tomas.forecast.pool import ATOMS, atoms_of

__all__ = ["EXACT", "EXPERTS", "LEAST_POINTS", "QUICK", "expert_atoms"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEAST_POINTS = 8
"""Points an origin must see at least."""
_ERRORS = 96
"""Newest past errors that an expert's distribution comes from."""
_WINDOWS = (1, 4, 12, 36, 144)
_SEEN = 144
"""Points whose range, widened by a quarter on each side, bounds the regressions."""
_LAGS = 24
_FIT = 384
"""Points that the regressions are fitted to."""
_RIDGES = (0.3, 3.0)
"""Strengths relative to the mean square of the regressors."""

EXPERTS = (
    *(f"window of {size}" for size in _WINDOWS),
    "last value",
    "mean of 3",
    "last value, as lively",
    "mean of 3, as lively",
    "16 analogs",
    "64 analogs",
    "32 analogs of the mean of 3",
    "32 analogs' values",
    "regression on lags",
    "stiff regression on lags",
)
"""What each row of :func:`expert_atoms` is."""
EXACT = np.array(["window" in name or "values" in name for name in EXPERTS])
"""The experts that say nothing but values that the series has had."""
QUICK = len(_WINDOWS) + 2
"""So many of the first experts take little time."""


def expert_atoms(values: FloatArray, origins: IntArray, horizons: IntArray, *, quick: bool = False) -> FloatArray:
    """Atoms of the experts' distributions, of shape (series, origins, experts, horizons, atoms).

    A horizon longer than half of the points has the errors of that half.

    :param values: shape (series, points), finite.
    :param origins: numbers of points seen, each at least :data:`LEAST_POINTS`.
    :param horizons: steps ahead, from 1.
    :param quick: only the first :data:`QUICK` experts.
    """
    series, points = values.shape
    experts = QUICK if quick else len(EXPERTS)
    result = np.empty((series, len(origins), experts, len(horizons), len(ATOMS)))
    reaches = np.minimum(horizons, max(1, points // 2))
    now = origins - 1
    means = _moving_means(values, (3,) if quick else (3, 12, 144))
    short = means[3]
    # By horizon on the third axis: the value then, and which points had seen it at each origin.
    ahead = np.stack([_shifted(values, reach) for reach in reaches.tolist()], axis=1)
    newest = np.stack([_newest(np.maximum(origins - reach, 1), _ERRORS) for reach in reaches.tolist()], axis=1)
    column = np.arange(len(reaches))[None, :, None]

    def future(index: IntArray) -> FloatArray:
        """Values ahead of points: (origins, horizons, n) for all series alike."""
        return np.asarray(np.take(ahead.reshape(series, -1), column * points + index, axis=1))

    row = 0
    for size in _WINDOWS:
        result[:, :, row] = atoms_of(np.take(values, _newest(origins, size), axis=1))[:, :, None]
        row += 1
    then = future(newest)
    for centre in (values, short):
        errors = then - np.take(centre, newest, axis=1)
        result[:, :, row] = centre[:, now, None, None] + atoms_of(errors)
        row += 1
    if quick:
        return result
    # Known for every horizon, so that one choice and one fit serve them all.
    known = np.maximum(origins - int(reaches.max()), 1)
    each = np.arange(series)[:, None, None]
    lively, shaped = lively_alike(values, now, known), shaped_alike(values, origins, known)

    def drawn(centre: FloatArray, index: IntArray, share: float) -> FloatArray:
        """What came after the given points, moved by a share of how much the centre has moved since."""
        after = ahead.transpose(0, 2, 1)[each, index].swapaxes(2, 3)
        base = share * centre
        return np.asarray(base[:, now, None, None] + atoms_of(after - base[each, index][:, :, None]))

    for centre, index, share in (
        (values, lively, 1.0),
        (short, lively, 1.0),
        (values, shaped[..., :16], 1.0),
        (values, shaped, 1.0),
        (short, shaped[..., :32], 0.85),
        (values, shaped[..., :32], 0.0),
    ):
        result[:, :, row] = drawn(centre, index, share)
        row += 1
    result[:, :, row:] = _regressions(values, means, ahead, now, known)
    return result


def _shifted(values: FloatArray, reach: int) -> FloatArray:
    """The value ``reach`` points later; past the end, where nobody looks, the last one."""
    return np.concatenate([values[:, reach:], np.repeat(values[:, -1:], reach, axis=1)], axis=1)


def _newest(ends: IntArray, size: int) -> IntArray:
    """Indices of the last ``size`` points before each end; where there are fewer, they repeat evenly."""
    length = np.minimum(ends, size)[:, None]
    return np.asarray(ends[:, None] - 1 - np.arange(size)[None, :] % length)


def _moving_means(values: FloatArray, sizes: tuple[int, ...]) -> dict[int, FloatArray]:
    """Means of up to ``size`` points ending at each point."""
    totals = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    ends = np.arange(1, totals.shape[1])
    result = {}
    for size in sizes:
        starts = np.maximum(ends - size, 0)
        result[size] = (totals[:, ends] - totals[:, starts]) / (ends - starts)
    return result


def _regressions(
    values: FloatArray, means: dict[int, FloatArray], ahead: FloatArray, now: IntArray, known: IntArray
) -> FloatArray:
    """Ridge regressions of the value ahead on lags and means, all relative to the mean of 3, with their own errors.

    Fitted at every origin for all horizons at once; shape (series, origins, regressions, horizons, atoms).
    """
    short = means[3]
    padded = np.concatenate([np.repeat(values[:, :1], _LAGS - 1, axis=1), values], axis=1)
    window = np.lib.stride_tricks.sliding_window_view(padded, _LAGS, axis=1)
    regressors = np.concatenate([window, np.stack([means[12], means[144]], axis=-1)], axis=-1) - short[:, :, None]
    target = ahead.transpose(0, 2, 1) - short[:, :, None]
    width = regressors.shape[-1]
    centres = np.empty((len(values), len(now), len(_RIDGES), ahead.shape[1]))
    errors = np.empty((*centres.shape, _ERRORS))
    for column, (at, end) in enumerate(zip(now.tolist(), known.tolist(), strict=True)):
        begin = max(0, end - _FIT)
        x, y = regressors[:, begin:end], target[:, begin:end]
        gram, moment = x.transpose(0, 2, 1) @ x, x.transpose(0, 2, 1) @ y
        size = np.trace(gram, axis1=1, axis2=2)[:, None, None] / width * np.eye(width)
        recent = (end - begin - 1) - np.arange(_ERRORS) % (end - begin)
        for row, ridge in enumerate(_RIDGES):
            weight = np.linalg.solve(gram + ridge * size + 1e-9 * np.eye(width), moment)
            centres[:, column, row] = short[:, at, None] + (regressors[:, at, None] @ weight)[:, 0]
            errors[:, column, row] = (y[:, recent] - x[:, recent] @ weight).transpose(0, 2, 1)
    found = centres[..., None] + atoms_of(errors)
    seen = values[:, _newest(now + 1, min(_SEEN, values.shape[1]))]
    low, high = seen.min(axis=-1), seen.max(axis=-1)
    margin = 0.25 * (high - low)
    # A regression may run away where the series leaves what it was fitted to.
    return np.clip(found, (low - margin)[:, :, None, None, None], (high + margin)[:, :, None, None, None])
