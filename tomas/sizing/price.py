"""What a failed try weighs against wasted memory, so that of all tries, not of each, only a few fail."""

from __future__ import annotations

import math

__all__ = ["FailurePrice"]

_RUNS_WORTH = 3.0
"""A failed try weighs at least as much as so many ordinary runs."""
_BLIND = 8.0
"""And so many times that where the input is not known: the runs that ended first were the small ones, and the tasks
that were submitted with them all fail together."""
_AIM = 2.0 / 3.0
"""Of the share that may fail, the part aimed at."""
_STEP = 0.2
"""By how much, in logarithms, one failed try raises the price."""
_MOST_RAISED = math.log(100.0)
_MOST_TRIES = 3
_WINDOW = 500
_CLIP = 20.0
"""One run counts as at most so many ordinary ones."""
_LEAST_MS = 300.0
_MS_PER_HOUR = 3.6e6


class FailurePrice:
    """The price of a failed try in GB·h, and so, by the time a task will take, in GB.

    Where the price is one for all tasks, a long task takes the risk of a try that may fail, because much memory is
    saved for hours, and a short one gets plenty, because that costs next to nothing; this is how a given number of
    failed tries saves most (the price is their Lagrange multiplier). The price is some ordinary runs' memory times
    time; every failed try raises it, every other lowers it a little, so that the share that fails stays near the
    aim however wrong the foretold probabilities are (as in adaptive conformal inference, Gibbs and Candès 2021).

    :param most_failing: the share of tries that may fail; two thirds of it are aimed at.
    """

    def __init__(self, most_failing: float) -> None:
        self._aim = _AIM * most_failing
        self._raised = 0.0
        self._ordinary = 0.0
        self._count = 0
        self._times: dict[str, _Times] = {}

    @property
    def ordinary_gbh(self) -> float:
        """Memory times time of an ordinary run; 0 where none is known."""
        return self._ordinary

    @property
    def raised(self) -> float:
        """Logarithm of the factor by which failed tries raised the price."""
        return self._raised

    def start(self, ordinary_gbh: float, raised: float) -> None:
        """Go on from what many runs of other tools taught."""
        if ordinary_gbh > 0:
            self._ordinary, self._raised, self._count = ordinary_gbh, raised, _WINDOW

    def learn(self, tool: str, size: float, peak_gb: float, latency_ms: float) -> None:
        """Learn from a run that ended well.

        :param size: logarithm of the input's bytes.
        """
        hours = max(latency_ms, _LEAST_MS) / _MS_PER_HOUR
        self._times.setdefault(tool, _Times()).learn(size, math.log(hours))
        worth = peak_gb * hours
        if self._ordinary > 0:
            worth = min(worth, _CLIP * self._ordinary)
        self._count = min(self._count + 1, _WINDOW)
        self._ordinary += (worth - self._ordinary) / self._count

    def judge(self, failed: int) -> None:
        """Learn how many tries of a task failed that this price was used for."""
        self._raised = min(max(self._raised + _STEP * (min(failed, _MOST_TRIES) - self._aim), 0.0), _MOST_RAISED)

    def of(self, tool: str, size: float, *, blind: bool = False) -> float | None:
        """A failed try of ``tool`` in GB more than it held; None while no run time of the tool is known.

        :param size: logarithm of the input's bytes.
        :param blind: the input is not known yet.
        """
        times = self._times.get(tool)
        if times is None:
            return None
        hours = max(math.exp(times.foretold(size)), _LEAST_MS / _MS_PER_HOUR)
        worth = _RUNS_WORTH * (_BLIND if blind else 1.0)
        return worth * self._ordinary * math.exp(self._raised) / hours


class _Times:
    """Logarithms of the run times of a tool: a line over that of the input size, older runs slowly forgotten."""

    _KEPT = 0.97
    _ASSUMED_SLOPE = 0.5
    _ASSUMED_SPREAD = 1.0
    _MOST_OFF = math.log(8.0)
    _MOST = 12.0

    def __init__(self) -> None:
        self._weight = self._size = self._value = self._spread = self._joint = 0.0

    def foretold(self, size: float) -> float:
        slope = (self._joint + self._ASSUMED_SPREAD * self._ASSUMED_SLOPE) / (self._spread + self._ASSUMED_SPREAD)
        return min(self._value + slope * (size - self._size), self._MOST)

    def learn(self, size: float, value: float) -> None:
        if self._weight:
            guess = self.foretold(size)
            value = guess + min(max(value - guess, -self._MOST_OFF), self._MOST_OFF)
        self._weight = self._KEPT * self._weight + 1.0
        right, up = size - self._size, value - self._value
        self._size += right / self._weight
        self._value += up / self._weight
        self._spread = self._KEPT * self._spread + right * (size - self._size)
        self._joint = self._KEPT * self._joint + right * (value - self._value)
