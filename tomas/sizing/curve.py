"""A robust curve of a positive quantity over input size, straight between its knots in log-log space."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

__all__ = ["LOG_CLIP", "SizeCurve"]

LOG_CLIP = math.log(4.0)
"""A single run moves an estimate by at most this factor (in logarithms)."""

_TRUSTED = 3
"""Runs from which on a knot stands on its own."""
_DEFAULT_SLOPE = 0.6
_SLOPE_RANGE = (0.0, 1.2)


@dataclass(frozen=True)
class SizeCurve:
    """Median of a quantity over input bytes: never falling, linear in logarithms between and beyond knots.

    :ivar knots: (log bytes, log value), ascending in both.
    :ivar slope: of the line beyond the last knot.
    :ivar slope_below: of the line before the first knot; 0 where smaller inputs still cost a start-up.
    """

    knots: tuple[tuple[float, float], ...]
    slope: float
    slope_below: float = 0.0

    @classmethod
    def fit(cls, points: Iterable[tuple[float, float]], *, through_zero: bool = False) -> SizeCurve | None:
        """Fit (bytes, value) pairs with values above 0; None without any.

        :param through_zero: the value goes to nothing with the input, as output sizes do; else it stays what
            the smallest known input took.
        """
        groups: dict[int, list[tuple[float, float]]] = {}
        for size, value in points:
            if value > 0:
                x = math.log(size + 1.0)
                groups.setdefault(round(x / math.log(2.0)), []).append((x, math.log(value)))
        if not groups:
            return None
        raw = [
            (fmean(x for x, _ in group), median(y for _, y in group), len(group))
            for _, group in sorted(groups.items())
        ]
        slope = _slope([(x, y) for x, y, count in raw if count >= _TRUSTED] or [(x, y) for x, y, _ in raw])
        clipped = _clip_thin(raw, slope)
        return cls(
            tuple(zip((x for x, _, _ in clipped), _isotonic(clipped), strict=True)),
            slope,
            slope if through_zero else 0.0,
        )

    def log_at(self, size: float) -> float:
        """Logarithm of the value at ``size`` bytes."""
        x = math.log(max(0.0, size) + 1.0)
        first, last = self.knots[0], self.knots[-1]
        if x <= first[0]:
            return first[1] + self.slope_below * (x - first[0])
        if x >= last[0]:
            return last[1] + self.slope * (x - last[0])
        for (x0, y0), (x1, y1) in zip(self.knots, self.knots[1:], strict=False):
            if x <= x1:
                return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
        return last[1]

    def at(self, size: float) -> float:
        """The value at ``size`` bytes."""
        return math.exp(min(self.log_at(size), 80.0))

    def to_payload(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"knots": [list(knot) for knot in self.knots], "slope": self.slope, "slope_below": self.slope_below}

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> SizeCurve:
        """The inverse of :meth:`to_payload`."""
        knots = tuple((float(x), float(y)) for x, y in payload["knots"])
        return cls(knots, float(payload["slope"]), float(payload["slope_below"]))


def _slope(knots: Sequence[tuple[float, float]]) -> float:
    """Median of all pairwise slopes (Theil 1950, Sen 1968), kept within the plausible."""
    slopes = [
        (y1 - y0) / (x1 - x0)
        for index, (x0, y0) in enumerate(knots)
        for x1, y1 in knots[index + 1 :]
        if x1 - x0 > 0.1
    ]
    value = median(slopes) if slopes else _DEFAULT_SLOPE
    return min(max(value, _SLOPE_RANGE[0]), _SLOPE_RANGE[1])


def _clip_thin(raw: list[tuple[float, float, int]], slope: float) -> list[tuple[float, float, int]]:
    """Knots of one or two runs stay near the line through the trusted ones, where there are such."""
    trusted = [(x, y) for x, y, count in raw if count >= _TRUSTED]
    if not trusted:
        return raw
    offset = median(y - slope * x for x, y in trusted)
    result = []
    for x, y, count in raw:
        line = offset + slope * x
        result.append((x, y if count >= _TRUSTED else min(max(y, line - LOG_CLIP), line + LOG_CLIP), count))
    return result


def _isotonic(knots: list[tuple[float, float, int]]) -> list[float]:
    """Non-decreasing least squares by pooling adjacent violators, weighted by runs."""
    blocks: list[tuple[float, int, int]] = []
    for _, y, count in knots:
        blocks.append((y, count, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (y1, n1, k1), (y0, n0, k0) = blocks.pop(), blocks.pop()
            blocks.append(((y0 * n0 + y1 * n1) / (n0 + n1), n0 + n1, k0 + k1))
    return [y for y, _, size in blocks for _ in range(size)]
