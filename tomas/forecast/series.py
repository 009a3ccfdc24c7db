"""Readings of a sampler made into an even series, with an account of everything that was not taken as read.

What happens to a reading is fixed here:

====================  =================================================================================
NaN or infinite       left out, counted
negative              left out, counted: no resource has less than nothing in use
from the future       later than ``now`` and a tolerance: left out, counted (a clock that was set forward)
too old               before ``now - keep_s``: left out, counted
late                  arrived after a newer one (also what a clock set back looks like): sorted in, counted
duplicate             same instant as another: the one that arrived last counts, the others are counted
crowded               nearer than half a step to the next, as after a restart: the newest counts
gap                   no reading for more than one step: the last value holds, at most :data:`HELD` steps
long gap              longer than that: the time between is cut out, so the bin's absence is no plateau
====================  =================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tomas.errors import DataError

__all__ = ["HELD", "CleanSeries", "SeriesReport", "clean_series"]

FloatArray = npt.NDArray[np.float64]

HELD = 12
"""Steps for which a value holds where readings are missing."""


@dataclass(frozen=True)
class SeriesReport:
    """What became of the readings: ``read`` is the sum of ``used`` and all that were left out."""

    read: int = 0
    used: int = 0
    not_finite: int = 0
    negative: int = 0
    future: int = 0
    too_old: int = 0
    duplicates: int = 0
    crowded: int = 0
    late: int = 0
    """Of those used or superseded; they are not lost."""
    gaps: int = 0
    held_points: int = 0
    """Points of the series that no reading gave."""
    long_gaps: int = 0

    @property
    def dropped(self) -> int:
        """Readings that do not stand in the series."""
        return self.read - self.used

    def __str__(self) -> str:
        reasons = {
            "not finite": self.not_finite,
            "negative": self.negative,
            "from the future": self.future,
            "too old": self.too_old,
            "duplicates": self.duplicates,
            "closer than half a step": self.crowded,
        }
        why = ", ".join(f"{count} {name}" for name, count in reasons.items() if count)
        text = f"{self.used} of {self.read} readings used" + (f" (left out: {why})" if why else "")
        if self.late:
            text += f"; {self.late} came late"
        if self.gaps:
            text += f"; {self.gaps} gaps, {self.held_points} points held"
        if self.long_gaps:
            text += f"; {self.long_gaps} long gaps cut out"
        return text


@dataclass(frozen=True)
class CleanSeries:
    """An even series: the last point is the newest reading's."""

    values: FloatArray
    """Shape (channels, points)."""
    step_s: float
    last_s: float
    """Instant of the last point, on the clock of the readings; NaN if there is none."""
    report: SeriesReport


def clean_series(
    at_s: Sequence[float] | FloatArray,
    values: FloatArray,
    *,
    step_s: float | None = None,
    now_s: float | None = None,
    ahead_s: float | None = None,
    keep_s: float | None = None,
) -> CleanSeries:
    """Clean readings in the order in which they arrived.

    :param at_s: their instants, seconds since any epoch.
    :param values: shape (channels, readings), amounts in use or free, none below zero.
    :param step_s: seconds between points; default: the median distance of the readings.
    :param now_s: readings more than ``ahead_s`` later are from the future; default: none is.
    :param ahead_s: by how much clocks may differ; default: one step.
    :param keep_s: readings older than this before ``now_s`` are too old.
    :raises DataError: shapes do not match, or the step is not positive.
    """
    at, table = np.asarray(at_s, dtype=np.float64), np.atleast_2d(np.asarray(values, dtype=np.float64))
    if at.ndim != 1 or table.shape[1] != len(at) or (step_s is not None and not step_s > 0):
        raise DataError(
            f"Readings of shape {table.shape} at {at.shape} instants with step {step_s} make no series.",
            remedy="Pass values of shape (channels, readings), one instant a reading, and a step above zero.",
        )
    read = len(at)
    finite = np.isfinite(at) & np.isfinite(table).all(axis=0)
    with np.errstate(invalid="ignore"):
        negative = finite & (table < 0).any(axis=0)
    good = finite & ~negative
    step = step_s or _usual_step(at[good])
    future = (
        good & (at > now_s + (step if ahead_s is None else ahead_s))
        if now_s is not None
        else np.zeros(read, dtype=bool)
    )
    old = good & (at < now_s - keep_s) if now_s is not None and keep_s is not None else np.zeros(read, dtype=bool)
    kept = np.flatnonzero(good & ~future & ~old)
    newest = np.maximum.accumulate(at[kept]) if kept.size else at[kept]
    late = int((at[kept] < newest).sum())
    # Stable, so that of equal instants the one that arrived last comes last.
    order = kept[np.argsort(at[kept], kind="stable")]
    single = np.append(np.diff(at[order]) > 0, True)[: len(order)]
    distinct = order[single]
    # Seen backwards from the newest, whose place in the grid is fixed.
    back = np.rint((at[distinct[-1]] - at[distinct]) / step).astype(np.int64) if distinct.size else np.empty(0, int)
    alone = np.append(np.diff(back) < 0, True)[: len(distinct)]
    used, cells = distinct[alone], back[alone]
    jumps = -np.diff(cells)
    lengths = np.append(np.where(jumps > HELD, 1, jumps), 1)[: len(used)]
    report = SeriesReport(
        read=read,
        used=len(used),
        not_finite=int((~finite).sum()),
        negative=int(negative.sum()),
        future=int(future.sum()),
        too_old=int(old.sum()),
        duplicates=len(order) - len(distinct),
        crowded=len(distinct) - len(used),
        late=late,
        gaps=int(((jumps > 1) & (jumps <= HELD)).sum()),
        held_points=int(lengths.sum()) - len(used),
        long_gaps=int((jumps > HELD).sum()),
    )
    last = float(at[used[-1]]) if used.size else float("nan")
    return CleanSeries(np.repeat(table[:, used], lengths, axis=1), step, last, report)


def _usual_step(at: FloatArray) -> float:
    """Median distance of neighbours in time; 1 s where there are none."""
    distances = np.diff(np.unique(at))
    return float(np.median(distances)) if distances.size else 1.0
