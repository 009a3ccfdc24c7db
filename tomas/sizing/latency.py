"""Run times of tools, learned run by run: a distribution over input size, never rising with cores or GPU share."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from tomas.sizing.estimate import slowdown
from tomas.sizing.mixture import FLAT_PRIOR, Mixture, log_size

__all__ = ["LatencySizer"]

_ASSUMED = 0.5
_SHARES = (0.0, 0.25, 0.75, 0.95)
_KEPT = 64
_FORGET = 0.95
_CLIP = math.log(4.0)
_LEAST_GPU_PCT = 1.0


class LatencySizer:
    """Foretells run times from all runs so far, per tool and kind of device.

    Latency on c cores is that on one core times (1 - p) + p / c (Amdahl 1967), on g percent of a GPU that on a
    whole one times (1 - p) + p · 100 / g; so it falls, or stays, with every core and every share. The parallel
    share p is one half until a tool has run under two allocations, then that which foretells its runs best.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], _Times] = {}

    def update(
        self, tool: str, input_bytes: float | None, cores: float, latency_ms: float, *, gpu_sm: float = 0.0
    ) -> None:
        """Learn from a run that ended well."""
        known = self._known.setdefault((tool, gpu_sm > 0), _Times())
        known.learn(log_size(input_bytes or 0.0), (cores, gpu_sm), math.log(max(latency_ms, 1.0)))

    def quantile_ms(
        self, quantile: float, tool: str, input_bytes: float | None, cores: float, *, gpu_sm: float = 0.0
    ) -> float | None:
        """The quantile of run time in ms; None for a tool without runs on that kind of device."""
        known = self._known.get((tool, gpu_sm > 0))
        if known is None:
            return None
        grid, below = known.states[known.share].distribution(log_size(input_bytes or 0.0))
        log_ms = float(np.interp(quantile, below, grid))
        return math.exp(min(log_ms, 40.0)) * _factor(known.share, cores, gpu_sm)

    def median_ms(self, tool: str, input_bytes: float | None, cores: float, *, gpu_sm: float = 0.0) -> float | None:
        """The median of run time in ms; None for a tool without runs on that kind of device."""
        return self.quantile_ms(0.5, tool, input_bytes, cores, gpu_sm=gpu_sm)

    def parallel_share(self, tool: str, *, gpu: bool = False) -> float | None:
        """The share p of the tool's work that runs in parallel; None while nothing tells."""
        known = self._known.get((tool, gpu))
        return known.share if known is not None and len(known.states) > 1 else None


class _Times:
    """One mixture for each parallel share that is still thought of."""

    def __init__(self) -> None:
        self.states: dict[float, Mixture] = {}
        self.share = _ASSUMED
        self._losses: dict[float, float] = {}
        self._kept: deque[tuple[float, tuple[float, float], float]] = deque(maxlen=_KEPT)

    def learn(self, size: float, allocation: tuple[float, float], value: float) -> None:
        if len(self.states) == 1 and allocation != self._kept[-1][1]:
            for share in _SHARES:
                for past in self._kept:
                    self._teach(share, *past)
            self._losses = dict.fromkeys(self.states, 0.0)
        for share in list(self.states) or [_ASSUMED]:
            self._teach(share, size, allocation, value)
        self._kept.append((size, allocation, value))
        if self._losses:
            self.share = min(self._losses, key=lambda item: self._losses[item])

    def _teach(self, share: float, size: float, allocation: tuple[float, float], value: float) -> None:
        value -= math.log(_factor(share, *allocation))
        state = self.states.get(share)
        if state is None:
            self.states[share] = Mixture(size, value, FLAT_PRIOR)
            return
        if share in self._losses:
            error = min(abs(value - state.median(size)), _CLIP)
            self._losses[share] = _FORGET * self._losses[share] + error
        state.learn(size, value, FLAT_PRIOR)


def _factor(share: float, cores: float, gpu_sm: float) -> float:
    factor = slowdown(share, cores)
    if gpu_sm > 0:
        factor *= (1.0 - share) + share * 100.0 / min(max(gpu_sm, _LEAST_GPU_PCT), 100.0)
    return factor
