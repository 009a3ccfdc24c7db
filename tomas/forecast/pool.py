"""Distributions as atoms of equal mass, their weighted pool, and how forecasts are scored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["ATOMS", "atom_loss", "atoms_of", "misses", "pinball", "pit_bounds", "pool_levels", "pool_pit"]

FloatArray = npt.NDArray[np.float64]

_COUNT = 20
ATOMS = (np.arange(_COUNT) + 0.5) / _COUNT
"""Levels of the quantiles that stand for a distribution, each for an equal share of it."""


def atoms_of(sample: FloatArray, levels: FloatArray = ATOMS) -> FloatArray:
    """Quantiles of samples over the last axis, interpolated; several times faster than ``np.quantile``."""
    ordered = np.sort(sample, axis=-1)
    # Plotting positions (i + 0.5) / n, so that small samples are not too narrow.
    place = np.clip(levels * ordered.shape[-1] - 0.5, 0, ordered.shape[-1] - 1)
    left = np.floor(place).astype(np.int64)
    right = np.minimum(left + 1, ordered.shape[-1] - 1)
    low = np.take(ordered, left, axis=-1)
    return np.asarray(low + (np.take(ordered, right, axis=-1) - low) * (place - left))


def pool_levels(atoms: FloatArray, weights: FloatArray, levels: FloatArray) -> FloatArray:
    """Quantiles of the linear pool: the weighted mean of the experts' distribution functions.

    Unlike a mean of quantiles, it keeps a value that several experts hold possible, such as zero, as that value.

    :param atoms: shape (rows, experts, atoms).
    :param weights: shape (rows, experts), summing to 1.
    :param levels: shape (rows, levels), between 0 and 1.
    :return: shape (rows, levels).
    """
    rows, experts, count = atoms.shape
    values = atoms.reshape(rows, experts * count)
    masses = np.repeat(weights / count, count, axis=1)
    order = np.argsort(values, axis=1)
    values, masses = np.take_along_axis(values, order, 1), np.take_along_axis(masses, order, 1)
    # An atom stands for the middle of its mass.
    middle = np.cumsum(masses, axis=1) - 0.5 * masses
    # Rows shifted by 2 each ascend together, so one search serves them all.
    shift = 2.0 * np.arange(rows)[:, None]
    place = np.searchsorted((middle + shift).ravel(), (levels + shift).ravel()).reshape(rows, -1)
    place -= np.arange(rows)[:, None] * experts * count
    left, right = np.clip(place - 1, 0, None), np.clip(place, None, experts * count - 1)
    low, high = np.take_along_axis(middle, left, 1), np.take_along_axis(middle, right, 1)
    width = high - low
    share = np.clip(np.divide(levels - low, width, out=np.zeros_like(width), where=width > 0), 0, 1)
    start = np.take_along_axis(values, left, 1)
    return np.asarray(start + (np.take_along_axis(values, right, 1) - start) * share)


def pool_pit(atoms: FloatArray, weights: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The pool's distribution function just below and at the truth, atoms taken as points.

    :param atoms: shape (..., experts, horizons, atoms).
    :param weights: shape (..., experts, horizons).
    :param truth: shape (..., horizons).
    """
    value = truth[..., None, :, None]
    below = (weights * (atoms < value).mean(axis=-1)).sum(axis=-2)
    upto = (weights * (atoms <= value).mean(axis=-1)).sum(axis=-2)
    return below, upto


def atom_loss(atoms: FloatArray, truth: FloatArray) -> FloatArray:
    """Mean quantile loss over atoms, about half the CRPS; ``atoms`` has one axis more than ``truth``."""
    off = truth[..., None] - atoms
    tilt = off @ ((ATOMS - 0.5) / len(ATOMS))
    return np.asarray(0.5 * np.abs(off, out=off).mean(axis=-1) + tilt)


def pinball(quantiles: FloatArray, levels: FloatArray, truth: FloatArray) -> FloatArray:
    """Quantile loss at each level; ``quantiles`` has one axis more than ``truth``."""
    off = truth[..., None] - quantiles
    return np.asarray(0.5 * np.abs(off) + (levels - 0.5) * off)


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
