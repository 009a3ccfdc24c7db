"""Quantile forecasts of evenly spaced series: experts weighted per series and level by a rolling back-test.

Each expert forecasts from past origins of the series itself. At every level, an expert's weight falls with its
discounted pinball loss there, so that the tails may trust another expert than the centre; the quantiles are then
averaged (Vincentization). Two factors, one a side, stretch the result about its median: they follow the misses
of the outermost levels through the back-test (adaptive conformal inference, Gibbs and Candès 2021). Origin by
origin, everything is learned from points before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tomas.errors import DataError
from tomas.forecast.experts import EXPERTS, LEAST_POINTS, QUICK, expert_quantiles

__all__ = ["LEVELS", "Forecast", "forecast_quantiles", "misses", "pinball", "pit_bounds"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEVELS = np.round(np.arange(0.05, 0.951, 0.05), 2)
ORIGINS = 24
"""Back-test origins at most."""
_RATE = 4.0
_KEEP = 0.92
"""What an origin's loss still counts at the next."""
_STRETCH = np.log(1.15)
"""Before any miss was seen: the mean of quantiles is narrower than the truth."""
_STEP = 0.7
_NARROWEST, _WIDEST = np.log(0.4), np.log(4.0)


@dataclass(frozen=True)
class Forecast:
    """Quantiles of each series, and what the choice rests on."""

    quantiles: FloatArray
    """Shape (series, horizons, levels), ascending along levels."""
    weights: FloatArray
    """Weight of each expert, mean over levels: (series, experts). They sum to 1."""
    expert_loss: FloatArray
    """Mean pinball loss of each expert in the back-test, recent origins counting more; NaN without back-test."""
    loss: FloatArray
    """The same of the mixture, forward in time."""
    coverage: FloatArray
    """Share of back-tested points between the outermost levels, by randomised PIT; NaN without back-test."""
    origins: int
    """Back-tested origins."""

    def chosen(self, series: int) -> str:
        """The expert with the largest weight."""
        return EXPERTS[int(self.weights[series].argmax())]


def forecast_quantiles(
    values: FloatArray,
    horizons: IntArray,
    levels: FloatArray = LEVELS,
    *,
    spacing: int | None = None,
    origins: int = ORIGINS,
    quick: bool = False,
) -> Forecast:
    """Forecast every series at the given steps ahead of its last point.

    :param values: shape (series, points), finite and evenly spaced; nothing below zero is ever forecast for a
        series that was never below zero.
    :param horizons: steps ahead, from 1.
    :param levels: ascending, between 0 and 1.
    :param spacing: points between back-test origins; default: the longest horizon.
    :param origins: back-test origins at most.
    :param quick: only the experts that cost little.
    :raises DataError: the values are not finite, or too few.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < LEAST_POINTS or not np.isfinite(values).all():
        raise DataError(
            f"A forecast needs at least {LEAST_POINTS} finite points, not an array of shape {values.shape}"
            + ("." if values.ndim != 2 or values.shape[1] < LEAST_POINTS else " with NaN or infinity."),
            remedy="Clean the series with tomas.forecast.clean_series, or wait for more samples.",
        )
    points, longest = values.shape[1], int(horizons.max())
    step = spacing or longest
    tested = np.arange(points - longest, LEAST_POINTS - 1, -step)[:origins][::-1]
    all_origins = np.append(tested, points)
    experts = QUICK if quick else len(EXPERTS)
    found = expert_quantiles(values, all_origins, horizons, levels, experts=experts)
    least = np.minimum(values.min(axis=1), 0.0)[:, None, None]
    if not len(tested):
        mixed = found[:, 0].mean(axis=1)
        quantiles = np.maximum(_stretched(mixed, levels, np.full((len(values), 2), _STRETCH)), least)
        weights = np.full((len(values), experts), 1.0 / experts)
        unknown = np.full(len(values), np.nan)
        return Forecast(quantiles, weights, np.full_like(weights, np.nan), unknown, unknown, 0)
    truth = values[:, tested[:, None] + horizons[None, :] - 1]
    losses = pinball(found[:, :-1], levels, truth[:, :, None]).mean(axis=3)
    return _mix(found, losses, truth, levels, -(-longest // step), least)


def _mix(
    found: FloatArray, losses: FloatArray, truth: FloatArray, levels: FloatArray, delay: int, least: FloatArray
) -> Forecast:
    """Walk through the origins; what an origin showed is known ``delay`` origins later."""
    series, tested = truth.shape[:2]
    stretch = np.full((series, 2), _STRETCH)
    total, mass = np.zeros((series, *losses.shape[2:])), 0.0
    pending: list[FloatArray] = []
    lost, covered = [], []
    weights = np.empty(0)
    for origin in range(tested + 1):
        done = origin - delay
        if origin == tested:
            # The last origin is now: every back-test ends before it.
            steps = range(max(0, done), tested)
        else:
            steps = range(done, done + 1) if done >= 0 else range(0)
        for past in steps:
            total, mass = _KEEP * total + losses[:, past], _KEEP * mass + 1.0
            low, high = pit_bounds(pending[past], levels, truth[:, past])
            below, above = misses(low, high, levels)
            stretch[:, 0] += _STEP * (below.mean(axis=1) - levels[0])
            stretch[:, 1] += _STEP * (above.mean(axis=1) - (1 - levels[-1]))
            stretch = np.clip(stretch, _NARROWEST, _WIDEST)
            covered.append(1 - below.mean(axis=1) - above.mean(axis=1))
            lost.append(pinball(pending[past], levels, truth[:, past]).mean(axis=(1, 2)))
        weights = _weights(total, mass)
        mixed = np.einsum("beq,behq->bhq", weights, found[:, origin])
        pending.append(np.maximum(_stretched(np.sort(mixed, axis=-1), levels, stretch), least))
    return Forecast(
        quantiles=pending[-1],
        weights=weights.mean(axis=2),
        expert_loss=total.mean(axis=2) / mass,
        loss=np.mean(lost, axis=0),
        coverage=np.mean(covered, axis=0),
        origins=tested,
    )


def _weights(total: FloatArray, mass: float) -> FloatArray:
    """Softmax over experts of the loss relative to the experts' mean, at each level."""
    if mass == 0:
        return np.full(total.shape, 1.0 / total.shape[1])
    smooth = np.pad(total, ((0, 0), (0, 0), (1, 1)), mode="edge")
    smooth = 0.25 * smooth[..., :-2] + 0.5 * smooth[..., 1:-1] + 0.25 * smooth[..., 2:]
    mean = smooth.mean(axis=1, keepdims=True)
    relative = np.divide(smooth, mean, out=np.ones_like(smooth), where=mean > 0)
    score = -_RATE * relative * np.sqrt(mass)
    weights = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _stretched(quantiles: FloatArray, levels: FloatArray, stretch: FloatArray) -> FloatArray:
    centre = int(np.abs(levels - 0.5).argmin())
    middle = quantiles[..., centre : centre + 1]
    side = np.where(np.arange(len(levels)) < centre, stretch[:, :1], stretch[:, 1:])
    return np.asarray(middle + (quantiles - middle) * np.exp(side)[:, None, :])


def pinball(quantiles: FloatArray, levels: FloatArray, truth: FloatArray) -> FloatArray:
    """Quantile loss at each level; ``quantiles`` has one axis more than ``truth``."""
    off = truth[..., None] - quantiles
    return np.asarray(np.maximum(levels * off, (levels - 1) * off))


def pit_bounds(quantiles: FloatArray, levels: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The forecast's distribution function just below and at the truth; a uniform draw between them is the PIT.

    Between quantiles the function is linear; beyond the outermost ones only their level is known, so the bounds
    are 0 and the first level, or the last level and 1.
    """
    value = truth[..., None]
    under = (quantiles < value).sum(axis=-1)
    upto = (quantiles <= value).sum(axis=-1)
    edges = np.concatenate([[0.0], levels, [1.0]])
    count = len(levels)
    last = np.clip(under - 1, 0, count - 1)[..., None]
    following = np.clip(under, 0, count - 1)[..., None]
    left = np.take_along_axis(quantiles, last, -1)[..., 0]
    right = np.take_along_axis(quantiles, following, -1)[..., 0]
    width = right - left
    share = np.divide(truth - left, width, out=np.zeros_like(truth), where=width > 0)
    inside = edges[under] + share * (edges[np.minimum(under + 1, count + 1)] - edges[under])
    between = (under == upto) & (under > 0) & (under < count)
    first = np.where(under == 0, 0.0, edges[np.minimum(under + 1, count)])
    final = np.where(upto == count, 1.0, edges[upto])
    low = np.where(between, inside, np.where(under == upto, edges[under], first))
    high = np.where(between, inside, np.where(under == upto, edges[np.minimum(under + 1, count + 1)], final))
    return low, np.maximum(high, low)


def misses(low: FloatArray, high: FloatArray, levels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Probability that the randomised PIT lies below the first level, and above the last, for given bounds."""
    width = high - low
    safe = np.where(width > 0, width, 1.0)
    below = np.where(width > 0, np.clip((levels[0] - low) / safe, 0, 1), low < levels[0])
    above = np.where(width > 0, np.clip((high - levels[-1]) / safe, 0, 1), high > levels[-1])
    return below, above
