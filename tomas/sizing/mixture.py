"""What the runs of one tool say of a positive quantity (peak memory, latency) at any input size: a distribution.

The logarithm of the quantity is taken to be a shape of the input size plus a level plus noise of one scale.
Shapes and scales are not chosen: all pairs are kept, each weighed by how well it foretold the runs so far, and the
answer is their mixture. So one run already gives a distribution, wide where the input is far from any seen, and ten
runs of a tool whose memory never changes give a narrow one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLAT_PRIOR", "Array", "Mixture", "log_size"]

Array = NDArray[np.float64]

_ODDS = np.array([0.0, 0.02, 0.06, 0.15, 0.3, 0.6, 1.2, 3.0, 10.0, 1e9])
"""Of the quantity at the first run's input: the part in proportion to the input, over the constant part."""
_POWERS = np.array([0.15, 0.4])
_SCALES = np.array([0.002, 0.006, 0.02, 0.06, 0.18, 0.5])
_ONES = np.ones(len(_SCALES))
_SHAPES = len(_ODDS) + len(_POWERS) + 1
"""The last shape is the best of the others, corrected by what the runs nearest in size deviate from it."""

_CONSTANT_WEIGHT = 3.0
FLAT_PRIOR: Array = np.repeat(
    np.array([_CONSTANT_WEIGHT, *([1.0] * (_SHAPES - 1))])[:, None], len(_SCALES), axis=1
) / (len(_SCALES) * (_CONSTANT_WEIGHT + _SHAPES - 1))
"""Weights of shape (shapes, scales) before anything is known."""

_FREEDOM = 4.0
"""Degrees of freedom of the noise (Student's t): an outlier must not shift a weight without bound. Its distribution
function has a closed form."""
_FORGET = 0.95
"""The weights' memory per run: a tool may change its habits."""
_WINDOW = 128
_LEVEL_RUNS = 64
_NEAREST = 3
_AGE = 1e-4
_RUN_AGES = (np.arange(_WINDOW)[:, None] - np.arange(_WINDOW)[None, :]) % _WINDOW
"""Of the run kept at a place, when the latest is kept at another."""
_CLIP = math.log(4.0)
"""A single run moves a level by at most this, in logarithms, divided by the number of runs."""
_OWN_RUNS = 12.0
"""Runs after which a tool's own deviations weigh as much as the mixture's assumed ones."""
_LEAST_OWN = 2
_LEAST_WEIGHT = 1e-3
_GRIDDED = 10
"""Components, the heaviest, around each of which the distribution is told in detail."""
_BOUND_GROWTH = math.log(1.5)

_SPREAD = np.array([-2.0, -1.0, 0.0, 0.7, 1.3, 2.0, 3.0, 4.6, 7.2])
_EVENLY = np.linspace(0.0, 1.0, 20)
_LOG_SCALES = np.log(_SCALES)
_LOG_ODDS = np.log1p(_ODDS)


def log_size(input_bytes: float) -> float:
    """Logarithm of an input size; an empty input counts as one byte."""
    return math.log(max(input_bytes, 1.0))


def _below(place: Array) -> Array:
    """Student's t with four degrees of freedom: the probability of at most ``place``."""
    # With s = x² / (4 + x²) the published form, 1/2 + 3/8 · x / √(1 + x²/4) · (1 - x² / (12 (1 + x²/4))), is this.
    share = place * place
    share /= share + _FREEDOM
    root = np.sqrt(share)
    root *= 0.75 - 0.25 * share
    result: Array = 0.5 + np.copysign(root, place)
    return result


class Mixture:
    """The belief about one tool after its runs so far. The first run is given at once."""

    def __init__(self, size: float, value: float, prior: Array) -> None:
        """
        :param size: logarithm of the input's bytes.
        :param value: logarithm of the quantity.
        :param prior: weights of shape (shapes, scales), summing to 1.
        """
        self.runs = 1
        self.weights = prior.copy()
        self._first = size
        self._level = np.full(_SHAPES, value)
        self._level[-1] = 0.0
        self._sizes = np.empty(_WINDOW)
        self._values = np.empty(_WINDOW)
        self._curves = np.zeros((_WINDOW, _SHAPES))
        self._errors = np.empty((_WINDOW, _SHAPES))
        self._kept = 0
        self._judged = 0
        self._keep(size, value, np.zeros(_SHAPES))
        self.bounds: dict[str, tuple[float, float]] = {}
        """Open lower bounds: step to (log size, log of the limit at which it broke)."""

    def _keep(self, size: float, value: float, curve: Array) -> None:
        place = self._kept % _WINDOW
        self._sizes[place], self._values[place], self._curves[place] = size, value, curve
        self._kept += 1

    def _curve(self, size: float) -> Array:
        """Each shape at ``size``, before its level."""
        growth = min(max(size - self._first, -30.0), 30.0)
        curve = np.empty(_SHAPES)
        curve[: len(_ODDS)] = np.log1p(_ODDS * math.exp(growth)) - _LOG_ODDS
        curve[len(_ODDS) : -1] = _POWERS * growth
        kept = min(self._kept, _WINDOW)
        # Of runs equally near, the latest tell most.
        distance = np.abs(self._sizes[:kept] - size) + _AGE * _RUN_AGES[(self._kept - 1) % _WINDOW][:kept]
        near = np.argpartition(distance, _NEAREST - 1)[:_NEAREST] if kept > _NEAREST else np.arange(kept)
        closeness = 1.0 / (0.02 + distance[near])
        best = int((self.weights[:-1] @ _ONES).argmax())
        deviations = self._values[near] - self._curves[near, best]
        curve[-1] = curve[best] + float(closeness @ deviations) / float(closeness.sum())
        return curve

    def _scales(self) -> Array:
        result: Array = _SCALES * math.sqrt(1.0 + 1.0 / min(self.runs, _LEVEL_RUNS))
        return result

    def distribution(self, size: float) -> tuple[Array, Array]:
        """Logarithms of the quantity, ascending, and the probability that it is at most that.

        :param size: logarithm of the input's bytes.
        """
        centres = self._curve(size) + self._level
        weights = self.weights
        if self.bounds:
            weights = self._weights_under_bounds()
        shape, scale = np.nonzero(weights > _LEAST_WEIGHT)
        weight = weights[shape, scale]
        weight = weight / weight.sum()
        centre, width = centres[shape], self._scales()[scale]
        heavy = np.argpartition(-weight, _GRIDDED - 1)[:_GRIDDED] if len(weight) > _GRIDDED else slice(None)
        grid = (centre[heavy, None] + width[heavy, None] * _SPREAD).ravel()
        low, high = (centre - 4.0 * width).min(), max((centre + 4.0 * width).max(), float(centres.max()))
        grid = np.concatenate([grid, low + (high - low) * _EVENLY])
        grid.sort()
        below = weight @ _below((grid - centre[:, None]) / width[:, None])
        own = min(self._judged, _WINDOW)
        if own >= _LEAST_OWN:
            best = int((weights @ _ONES).argmax())
            seen = np.sort(centres[best] + self._errors[:own, best])
            share = self.runs / (self.runs + _OWN_RUNS)
            below = (1.0 - share) * below + share * np.searchsorted(seen, grid, side="right") / own
        if self.bounds:
            grid, below = self._raised(grid, below, centres, weights)
        return grid, below

    def _weights_under_bounds(self) -> Array:
        logs = np.log(self.weights + 1e-12)
        for at, limit in self.bounds.values():
            place = (limit - self._curve(at) - self._level)[:, None] / self._scales()
            logs = logs + np.log1p(1e-6 - _below(place))
        weights = np.exp(logs - logs.max())
        result: Array = weights / weights.sum()
        return result

    def _raised(self, grid: Array, below: Array, centres: Array, weights: Array) -> tuple[Array, Array]:
        """Steps that broke at a limit need more than that: each stands for one run above its limit."""
        best = int(weights.sum(axis=1).argmax())
        needs = [limit + _BOUND_GROWTH + centres[best] - self._at(best, at) for at, limit in self.bounds.values()]
        share = len(needs) / (self.runs + len(needs))
        joined = np.sort(np.append(grid, needs))
        mixed = (1.0 - share) * np.interp(joined, grid, below) + share * np.searchsorted(
            np.sort(np.array(needs)), joined, side="right"
        ) / len(needs)
        return joined, mixed

    def _at(self, shape: int, size: float) -> float:
        return float(self._curve(size)[shape] + self._level[shape])

    def _rank(self, error: Array, scales: Array) -> float:
        """Where a value lies within what was foretold, from its deviation from each shape."""
        rank = float((self.weights * _below(error[:, None] / scales)).sum())
        own = min(self._judged, _WINDOW)
        if own < _LEAST_OWN:
            return rank
        best = int((self.weights @ _ONES).argmax())
        share = self.runs / (self.runs + _OWN_RUNS)
        return (1.0 - share) * rank + share * np.count_nonzero(self._errors[:own, best] <= error[best]) / own

    def median(self, size: float) -> float:
        """Logarithm of the median of the quantity."""
        grid, below = self.distribution(size)
        return float(np.interp(0.5, below, grid))

    def learn(self, size: float, value: float, prior: Array) -> float:
        """Weigh shapes and scales by how they foretold this run, then let it move their levels.

        :param prior: towards which old evidence is forgotten.
        :return: the probability that was given to a value at most this; over many runs it is uniform.
        """
        curve = self._curve(size)
        error = np.minimum(np.maximum(value - curve - self._level, -_CLIP), _CLIP)
        scales = self._scales()
        rank = self._rank(error, scales)
        # Of all scales the same factor widens, so it does not matter.
        density = -(_FREEDOM + 1.0) / 2.0 * np.log1p((error[:, None] / scales) ** 2 / _FREEDOM) - _LOG_SCALES
        logs = _FORGET * np.log(self.weights + 1e-12) + (1.0 - _FORGET) * np.log(prior + 1e-12) + density
        weights = np.exp(logs - logs.max())
        self.weights = weights / weights.sum()
        self._errors[self._judged % _WINDOW] = error
        self._judged += 1
        self._level = self._level + error / (min(self.runs, _LEVEL_RUNS) + 1.0)
        self._level[-1] *= 0.5
        self._keep(size, value, curve)
        self.runs += 1
        return rank
