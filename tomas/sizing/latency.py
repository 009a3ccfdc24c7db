"""Run times of tools, learned run by run: a distribution over input size, never rising with cores or GPU share."""

from __future__ import annotations

import math

import numpy as np

from tomas.sizing.estimate import slowdown
from tomas.sizing.mixture import FLAT_PRIOR, Mixture, log_size

__all__ = ["LatencySizer"]

_ASSUMED_PARALLEL = 0.5
_LEAST_GPU_PCT = 1.0


class LatencySizer:
    """Foretells run times from all runs so far, per tool and kind of device.

    Latency on c cores is that on one core times (1 - p) + p / c (Amdahl 1967), on g percent of a GPU that on a
    whole one times (1 - p) + p · 100 / g; so it falls, or stays, with every core and every share.

    :param parallel: p, where the caller knows better than a half.
    """

    def __init__(self, *, parallel: float = _ASSUMED_PARALLEL) -> None:
        self._parallel = parallel
        self._known: dict[tuple[str, bool], Mixture] = {}

    def _factor(self, cores: float, gpu_sm: float) -> float:
        factor = slowdown(self._parallel, cores)
        if gpu_sm > 0:
            share = min(max(gpu_sm, _LEAST_GPU_PCT), 100.0) / 100.0
            factor *= (1.0 - self._parallel) + self._parallel / share
        return factor

    def update(
        self, tool: str, input_bytes: float | None, cores: float, latency_ms: float, *, gpu_sm: float = 0.0
    ) -> None:
        """Learn from a run that ended well."""
        size = log_size(input_bytes or 0.0)
        value = math.log(max(latency_ms, 1.0) / self._factor(cores, gpu_sm))
        key = (tool, gpu_sm > 0)
        if key in self._known:
            self._known[key].learn(size, value, FLAT_PRIOR)
        else:
            self._known[key] = Mixture(size, value, FLAT_PRIOR)

    def quantile_ms(
        self, quantile: float, tool: str, input_bytes: float | None, cores: float, *, gpu_sm: float = 0.0
    ) -> float | None:
        """The quantile of run time in ms; None for a tool without runs on that kind of device."""
        state = self._known.get((tool, gpu_sm > 0))
        if state is None:
            return None
        grid, below = state.distribution(log_size(input_bytes or 0.0))
        return math.exp(min(float(np.interp(quantile, below, grid)), 40.0)) * self._factor(cores, gpu_sm)

    def median_ms(self, tool: str, input_bytes: float | None, cores: float, *, gpu_sm: float = 0.0) -> float | None:
        """The median of run time in ms; None for a tool without runs on that kind of device."""
        return self.quantile_ms(0.5, tool, input_bytes, cores, gpu_sm=gpu_sm)
