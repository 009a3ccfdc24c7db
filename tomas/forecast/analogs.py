"""Moments of a series' own past that looked like now, by the shape of the newest points and by liveliness."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["ALIKE", "ANALOGS", "lively_alike", "shaped_alike"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ANALOGS = 64
"""Moments that :func:`shaped_alike` gives, the nearest first."""
ALIKE = 48
"""Moments that :func:`lively_alike` gives, in no order."""
_SHAPE = 8
_FADE = 0.85
"""Weight of a point of the shape relative to the one after it."""
_LEVEL = 0.3
"""Weight of the distance at the points' own level, beside that of the changes towards the newest point."""
_AGE = 3000.0
"""Points of age that count like the mean distance."""
_LIVELY_AGE = 300.0
"""Points of age that count like a factor e of movement."""


def shaped_alike(values: FloatArray, origins: IntArray, known: IntArray) -> IntArray:
    """Indices, below ``known``, of the points that were reached by the shape most like the one before each origin.

    Shape (series, origins, :data:`ANALOGS`); where fewer are known, they repeat evenly.
    """
    series = len(values)
    padded = np.concatenate([np.repeat(values[:, :1], _SHAPE - 1, axis=1), values], axis=1)
    shapes = np.lib.stride_tricks.sliding_window_view(padded, _SHAPE, axis=1)
    changes = shapes - shapes[..., -1:]
    fade = _FADE ** np.arange(_SHAPE)[::-1]
    found = np.empty((series, len(origins), ANALOGS), dtype=np.int64)
    for column, (origin, end) in enumerate(zip(origins.tolist(), known.tolist(), strict=True)):
        now = origin - 1
        distance = np.abs(changes[:, :end] - changes[:, now, None]) @ fade
        distance += _LEVEL * (np.abs(shapes[:, :end] - shapes[:, now, None]) @ fade)
        mean = distance.mean(axis=1, keepdims=True)
        distance = distance / np.where(mean > 0, mean, 1.0) + (now - np.arange(end)) / _AGE
        count = min(ANALOGS, end)
        best = np.argpartition(distance, count - 1, axis=1)[:, :count]
        nearest = np.argsort(np.take_along_axis(distance, best, 1), axis=1)
        found[:, column] = np.take_along_axis(best, nearest, 1)[:, np.arange(ANALOGS) % count]
    return found


def lively_alike(values: FloatArray, now: IntArray, known: IntArray) -> IntArray:
    """Indices, below ``known``, of points before which the series had moved about as much as it has now.

    Movement is the logarithm of the mean absolute change of the last 3 and of the last 12 points; age counts too.
    Shape (series, origins, at most :data:`ALIKE`).
    """
    change = np.abs(np.diff(values, axis=1, prepend=values[:, :1]))
    size = (_totals(np.abs(values) + change)[:, now + 1] / (now + 1))[:, :, None]
    places = np.arange(values.shape[1])
    distance = np.repeat((now[:, None] - places)[None] / _LIVELY_AGE, len(values), axis=0)
    totals = _totals(change)
    for span in (3, 12):
        begins = np.maximum(places + 1 - span, 0)
        mean = (totals[:, 1:] - totals[:, begins]) / (places + 1 - begins)
        # The floor is of what the origin saw, so that nothing later is used.
        moved = np.log(np.maximum(mean, 0.0)[:, None, :] + 1e-3 * size + 1e-12)
        at_origin = np.take_along_axis(moved, np.broadcast_to(now[None, :, None], (*moved.shape[:2], 1)), axis=2)
        distance += np.abs(moved - at_origin)
    distance = np.where(places[None, :] < known[:, None], distance, np.inf)
    count = min(ALIKE, values.shape[1])
    best = np.argpartition(distance, count - 1, axis=-1)[..., :count]
    return np.asarray(np.minimum(best, known[None, :, None] - 1))


def _totals(values: FloatArray) -> FloatArray:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
