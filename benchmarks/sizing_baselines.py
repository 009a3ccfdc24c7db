"""Published methods of memory sizing, as their papers describe them, behind one interface.

Witt et al. 2019, "Feedback-based resource allocation for batch scheduling of scientific workflows"; Tovar et al.
2018, "A job sizing strategy for high-throughput scientific workflows".
"""

from __future__ import annotations

import bisect
import math
from typing import Protocol

import numpy as np

from benchmarks.sizing_traces import Task

__all__ = ["BASELINES", "Baseline", "MaxSeen", "Tovar", "UserRequest", "WittLR", "WittPercentile"]


class Baseline(Protocol):
    """A method for the tasks of one process."""

    def predict(self, task: Task) -> float | None:
        """First allocation, GB; None where the user's request has to do."""
        ...

    def update(self, task: Task) -> None:
        """Learn from a completed task."""
        ...


class UserRequest:
    """What the user asked for."""

    def predict(self, task: Task) -> float | None:
        """The request."""
        return task.request_gb

    def update(self, task: Task) -> None:
        """Nothing is learned."""


class MaxSeen:
    """The largest peak so far."""

    def __init__(self) -> None:
        self._largest: float | None = None

    def predict(self, task: Task) -> float | None:  # noqa: ARG002
        """The largest peak."""
        return self._largest

    def update(self, task: Task) -> None:
        """Keep the larger."""
        self._largest = max(self._largest or 0.0, task.peak_gb)


class WittPercentile:
    """The 95 % quantile of all peaks, linearly interpolated."""

    def __init__(self) -> None:
        self._peaks: list[float] = []

    def predict(self, task: Task) -> float | None:  # noqa: ARG002
        """The quantile."""
        if not self._peaks:
            return None
        place = 0.95 * (len(self._peaks) - 1)
        low = math.floor(place)
        high = min(low + 1, len(self._peaks) - 1)
        return self._peaks[low] + (place - low) * (self._peaks[high] - self._peaks[low])

    def update(self, task: Task) -> None:
        """Keep the peak, in order."""
        bisect.insort(self._peaks, task.peak_gb)


class WittLR:
    """Least squares of peak over input size, raised by the standard deviation of its relative errors so far.

    The errors are those of its own predictions, made before each peak was known. Of the paper's offsets (standard
    deviation, standard deviation of under-predictions, largest under-prediction) it is the first, or ``under``.
    """

    def __init__(self, offset: str = "std") -> None:
        self._offset = offset
        self._n = 0
        self._mx = self._my = self._sxx = self._sxy = 0.0
        self._largest = 0.0
        self._errors: list[float] = []

    def _line(self, x: float) -> float:
        return self._my + (self._sxy / self._sxx if self._sxx > 0 else 0.0) * (x - self._mx)

    def predict(self, task: Task) -> float | None:
        """The line at the task's input size, raised; the largest peak where the line is not positive."""
        if self._n == 0:
            return None
        guess = self._line(task.input_bytes)
        raised = guess * (1.0 + self._spread())
        return raised if raised > 0 else self._largest

    def _spread(self) -> float:
        errors = self._errors
        if self._offset == "under":
            errors = [error for error in errors if error > 0]
        if self._offset == "max":
            return max((error for error in errors if error > 0), default=0.0)
        return float(np.std(errors)) if errors else 0.0

    def observe_error(self, task: Task) -> None:
        """Note the error of the present line on a task whose peak is known now."""
        if self._n:
            self._errors.append((task.peak_gb - self._line(task.input_bytes)) / task.peak_gb)

    def update(self, task: Task) -> None:
        """Note the line's error, then let the task move the line."""
        self.observe_error(task)
        self.train(task)

    def train(self, task: Task) -> None:
        """Let a task move the line."""
        self._n += 1
        dx, dy = task.input_bytes - self._mx, task.peak_gb - self._my
        self._mx += dx / self._n
        self._my += dy / self._n
        self._sxx += dx * (task.input_bytes - self._mx)
        self._sxy += dx * (task.peak_gb - self._my)
        self._largest = max(self._largest, task.peak_gb)


class Tovar:
    """The seen peak a that minimises a · E[t] + max · E[t of the tasks above a] (equation 1 of the paper)."""

    def __init__(self) -> None:
        self._runs: list[tuple[float, float]] = []
        self._answer: float | None = None

    @property
    def largest(self) -> float:
        """The largest peak seen, GB: what a second try gets."""
        return self._runs[-1][0]

    def predict(self, task: Task) -> float | None:  # noqa: ARG002
        """The minimiser."""
        if not self._runs:
            return None
        if self._answer is None:
            peaks = np.array([peak for peak, _ in self._runs])
            hours = np.array([time for _, time in self._runs])
            above = hours.sum() - np.cumsum(hours)
            # Of equal peaks, the last sees all that is not above it.
            last = np.append(peaks[1:] != peaks[:-1], True)
            cost = np.where(last, peaks * hours.sum() + peaks[-1] * above, np.inf)
            best = np.flatnonzero(cost <= cost.min() * (1 + 1e-12))[-1]
            self._answer = float(peaks[best])
        return self._answer

    def update(self, task: Task) -> None:
        """Keep peak and run time."""
        bisect.insort(self._runs, (task.peak_gb, task.runtime_ms))
        self._answer = None


BASELINES: dict[str, type[Baseline]] = {
    "request": UserRequest,
    "max_seen": MaxSeen,
    "witt_lr": WittLR,
    "witt_percentile": WittPercentile,
    "tovar": Tovar,
}
