"""Quantile forecasts of evenly spaced series: experts weighted per series and horizon by a rolling back-test.

Each expert forecasts from past origins of the series itself. At every horizon, an expert's weight falls with its
discounted pinball loss there; the experts' distribution functions are then averaged (a linear pool, which keeps
values that are often taken exactly, such as zero). The pool is read at corrected levels: the same for all series,
but for the outermost, which follow the misses of the series' own back-test. Origin by origin, everything is learned
from points before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tomas.errors import DataError
from tomas.forecast.experts import EXACT, EXPERTS, LEAST_POINTS, expert_atoms
from tomas.forecast.pool import atom_loss, pinball, pool_levels, pool_pit

__all__ = ["LEVELS", "Forecast", "forecast_quantiles"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEVELS = np.round(np.arange(0.05, 0.951, 0.05), 2)
ORIGINS = 24
"""Back-test origins at most."""
_MOSTLY_ZERO = 0.5
_OUTER = np.array([0.05, 0.95])
_RATE = 3.0
_KEEP = 0.96
"""What an origin's loss still counts at the next."""
_NEAR = 0.5
"""Horizons whose logarithms differ by this much tell a third as much of each other."""
_CENTRE, _TAILS = 0.85, 0.0208
"""Levels with log odds x are read at _CENTRE x + _TAILS x^3: a pool is too wide inside, too narrow outside."""
_LEARNED = 0.6
"""What _TAILS gains for each share of a series' truths that fell outside beyond the expected tenth."""
_LEAST_TAILS, _MOST_TAILS = -0.03, 0.08


@dataclass(frozen=True)
class Forecast:
    """Quantiles of each series, and what the choice rests on."""

    quantiles: FloatArray
    """Shape (series, horizons, levels), ascending along levels."""
    weights: FloatArray
    """Weight of each expert, mean over horizons: (series, experts). They sum to 1."""
    expert_loss: FloatArray
    """Mean pinball loss of each expert in the back-test, recent origins counting more; NaN without back-test."""
    loss: FloatArray
    """Mean pinball loss of the mixture in the back-test, forward in time; NaN unless reviewed."""
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
    review: bool = False,
) -> Forecast:
    """Forecast every series at the given steps ahead of its last point.

    :param values: shape (series, points), finite and evenly spaced; nothing below zero is ever forecast for a
        series that was never below zero.
    :param horizons: steps ahead, from 1, ascending.
    :param levels: ascending, between 0 and 1.
    :param spacing: points between back-test origins; default: the longest horizon.
    :param origins: back-test origins at most.
    :param quick: only the experts that cost little.
    :param review: tell the mixture's own loss in the back-test, which takes longer.
    :raises DataError: the values are not finite, or too few.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < LEAST_POINTS or not np.isfinite(values).all():
        raise DataError(
            f"A forecast needs at least {LEAST_POINTS} finite points, not an array of shape {values.shape}"
            + ("." if values.ndim != 2 or values.shape[1] < LEAST_POINTS else " with NaN or infinity."),
            remedy="Clean the series with tomas.forecast.clean_series, or wait for more samples.",
        )
    series, points = values.shape
    longest = int(horizons.max())
    step = spacing or longest
    # An origin sees at least one point together with what came a longest reach after it.
    least_seen = max(LEAST_POINTS, min(longest, points // 2) + 1)
    tested = np.arange(points - longest, least_seen - 1, -step)[:origins][::-1]
    atoms = expert_atoms(values, np.append(tested, points), horizons, quick=quick)
    least = np.minimum(values.min(axis=1), 0.0)[:, None, None]
    np.maximum(atoms, least[:, None, :, :, None], out=atoms)
    truth = values[:, tested[:, None] + horizons[None, :] - 1]
    losses = atom_loss(atoms[:, :-1], truth[:, :, None])
    total, mass = _totals(losses, -(-longest // step))
    # Of a series that is mostly zero, moving a value or averaging some would smear the zeros.
    smears = (values == 0).mean(axis=1)[:, None] > _MOSTLY_ZERO
    weights = _weights(total, mass, horizons, smears & ~EXACT[: atoms.shape[2]])
    told = mass[:-1] > 0
    past = atoms[:, :-1][:, told], weights[:, :-1][:, told]
    expert_loss = np.full(weights[:, -1, :, 0].shape, np.nan)
    loss = coverage = np.full(series, np.nan)
    read = _read_at(levels, np.full(series, _TAILS))
    if told.any():
        expert_loss = total[:, -1].mean(axis=2) / mass[-1]
        bounds = pool_pit(*past, truth[:, told])
        outside = 1 - _held(bounds, _read_at(_OUTER, np.full(series, _TAILS)))
        tails = np.clip(_TAILS + _LEARNED * (outside - 2 * _OUTER[0]), _LEAST_TAILS, _MOST_TAILS)
        read = _read_at(levels, tails)
        coverage = _held(bounds, read)
        if review:
            loss = pinball(_quantiles(*past, read), levels, truth[:, told]).mean(axis=(1, 2, 3))
    quantiles = _quantiles(atoms[:, -1:], weights[:, -1:], read)[:, 0]
    return Forecast(
        quantiles=quantiles,
        weights=weights[:, -1].mean(axis=2),
        expert_loss=expert_loss,
        loss=loss,
        coverage=coverage,
        origins=len(tested),
    )


def _totals(losses: FloatArray, delay: int) -> tuple[FloatArray, FloatArray]:
    """Discounted sums of what is known at each origin, and their mass; what an origin showed is known ``delay``
    origins later, and at the last origin, which is now, everything is known.
    """
    series, tested, experts, horizons = losses.shape
    sums = np.zeros((series, tested + 1, experts, horizons))
    masses = np.zeros(tested + 1)
    total, mass = np.zeros((series, experts, horizons)), 0.0
    for past in range(tested):
        total, mass = _KEEP * total + losses[:, past], _KEEP * mass + 1.0
        if past + delay < tested:
            sums[:, past + delay], masses[past + delay] = total, mass
    sums[:, tested], masses[tested] = total, mass
    return sums, masses


def _weights(total: FloatArray, mass: FloatArray, horizons: IntArray, barred: npt.NDArray[np.bool_]) -> FloatArray:
    """Softmax over experts of the loss relative to the median expert's, at each horizon and its neighbours.

    :param barred: (series, experts) that get no weight.
    """
    apart = np.abs(np.subtract.outer(np.log(horizons), np.log(horizons)))
    near = np.exp(-apart / _NEAR)
    smooth = total @ (near / near.sum(axis=0))
    # The median, since one hopeless expert would make the others look alike beside their mean.
    usual = np.median(smooth, axis=2, keepdims=True)
    usual = np.where(usual > 0, usual, smooth.mean(axis=2, keepdims=True))
    relative = np.divide(smooth, usual, out=np.ones_like(smooth), where=usual > 0)
    score = -_RATE * relative * np.sqrt(mass)[:, None, None]
    score = np.where(barred[:, None, :, None], -np.inf, score)
    weights = np.exp(score - score.max(axis=2, keepdims=True))
    return np.asarray(weights / weights.sum(axis=2, keepdims=True))


def _read_at(levels: FloatArray, tails: FloatArray) -> FloatArray:
    """At which levels each series' pool is read: (series, levels)."""
    odds = np.log(levels / (1 - levels))
    return np.asarray(1 / (1 + np.exp(-(_CENTRE * odds + tails[:, None] * odds**3))))


def _held(bounds: tuple[FloatArray, FloatArray], read: FloatArray) -> FloatArray:
    """Share of each series' truths between the outermost levels that are read, by randomised PIT."""
    below, upto = bounds
    width = np.maximum(upto - below, 1e-9)
    low, high = (np.clip((read[:, end, None, None] - below) / width, 0, 1).mean(axis=(1, 2)) for end in (0, -1))
    return np.asarray(high - low)


def _quantiles(atoms: FloatArray, weights: FloatArray, levels: FloatArray) -> FloatArray:
    """Of shape (series, origins, horizons, levels); ``levels`` are each series' own."""
    series, origins, experts, horizons, count = atoms.shape
    rows = atoms.swapaxes(2, 3).reshape(-1, experts, count)
    wanted = np.repeat(levels, origins * horizons, axis=0)
    found = pool_levels(rows, weights.swapaxes(2, 3).reshape(-1, experts), wanted)
    return found.reshape(series, origins, horizons, -1)
