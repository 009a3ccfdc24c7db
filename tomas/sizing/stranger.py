"""A tool of which nothing is known, nor of its family: by what other tools need, or by a guess."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tomas.sizing.kept import KeptRuns
from tomas.sizing.ladder import Ladder
from tomas.sizing.latency import slowdown
from tomas.sizing.memory import MemoryChoice
from tomas.sizing.mixture import Array, log_size
from tomas.sizing.run import Run

__all__ = ["Stranger"]

_LEAST_TOOLS = 3
_COVERED = 0.9
"""Share of the known tools that would have had enough of the answer."""
_PARALLEL = 0.5
_MEMORY_POWER, _TIME_POWER = 0.3, 0.6
"""How memory and time are taken to grow with the input."""
_FARTHEST = math.log(1e4)
_GUESS_BYTES, _GUESS_GB, _GUESS_MS = 1e6, 1.0, 5000.0
_GUESS_SPREAD = 4.0


class Stranger:
    """What other tools needed of the input nearest in size, one vote a tool; a guess where fewer than three ran."""

    def __init__(self, runs: Mapping[str, KeptRuns]) -> None:
        self._tools = [
            ended for kept in runs.values() if (ended := [run for run in kept if run.broken_step is None])
        ]

    def choice(self, input_bytes: float, cap_gb: float | None, broke_at_gb: float) -> MemoryChoice:
        """Memory that would have been enough for nine in ten tools.

        :param broke_at_gb: the limit at which the tool broke already; 0 where it never ran.
        """
        nearest = self._nearest(input_bytes)
        if len(nearest) < _LEAST_TOOLS:
            peaks = np.array([_GUESS_GB / 2.0, _GUESS_GB]) * _growth(input_bytes, _GUESS_BYTES, _MEMORY_POWER)
        else:
            peaks = np.array(
                [run.peak_gb * _growth(input_bytes, run.input_bytes, _MEMORY_POWER) for run in nearest]
            )
        peaks = np.maximum(peaks, broke_at_gb * Ladder().factor)
        gb = float(np.quantile(peaks, _COVERED, method="higher"))
        given = gb if cap_gb is None else min(gb, cap_gb)
        known = len(nearest) >= _LEAST_TOOLS
        return MemoryChoice(
            gb=given,
            basis="any" if known else "prior",
            runs=sum(map(len, self._tools)) if known else 0,
            median_gb=float(np.median(peaks)),
            p95_gb=gb,
            failing=float((peaks > given).mean()),
        )

    def times_ms(self, input_bytes: float, cores: Sequence[float]) -> Array:
        """Median and 90 % quantile of run time, shape (cores, 2)."""
        nearest = self._nearest(input_bytes)
        if len(nearest) < _LEAST_TOOLS:
            serial = _GUESS_MS * _growth(input_bytes, _GUESS_BYTES, _TIME_POWER) * np.array([1.0, _GUESS_SPREAD])
        else:
            times = [
                (run.latency_ms or 1.0)
                / slowdown(_PARALLEL, run.cores)
                * _growth(input_bytes, run.input_bytes, _TIME_POWER)
                for run in nearest
            ]
            serial = np.array([np.median(times), np.quantile(times, _COVERED, method="higher")])
        result: Array = np.array([slowdown(_PARALLEL, count) for count in cores])[:, None] * serial[None, :]
        return result

    def _nearest(self, input_bytes: float) -> list[Run]:
        """Of each tool the run nearest in input size; of those equally near the latest."""
        at = log_size(input_bytes)
        return [min(reversed(runs), key=lambda run: abs(log_size(run.input_bytes) - at)) for runs in self._tools]


def _growth(input_bytes: float, known_bytes: float, power: float) -> float:
    apart = log_size(input_bytes) - log_size(known_bytes)
    return math.exp(power * min(max(apart, -_FARTHEST), _FARTHEST))
