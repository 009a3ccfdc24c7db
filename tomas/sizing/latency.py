"""Run times of tools, learned run by run: a distribution over input size, never rising with cores or GPU share."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from tomas.sizing.mixture import FLAT_PRIOR, Array, Mixture, log_size

__all__ = ["LatencySizer", "slowdown"]

_ASSUMED = 0.5
_SHARES = np.array([0.5, 0.0, 0.1, 0.25, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
"""Of those that fit equally well the first is taken."""
_KEPT = 64
_NEAR = math.log(4.0)
"""Runs whose inputs differ by more than this factor do not tell the parallel share."""
_CLOSEST = 0.05
_CLIP = math.log(4.0)
_LEAST_GPU_PCT = 1.0
_REVIEW_EVERY = 32
_RANKS = 200
_OWN_RANKS = 33
"""Of fewer ranks than this, none can tell a 97 % quantile: those of all tools are used together."""
_LEAST_RANKS = 20
_UNIFORM_RANKS = 10.0
_HIGHEST = 0.97
"""Higher levels of a belief that rests on few runs are its assumptions only."""
_LEVELS = np.linspace(0.005, 0.995, 100)


class LatencySizer:
    """Foretells run times from all runs so far, per tool and kind of device.

    Latency on c cores is that on one core times (1 - p) + p / c (Amdahl 1967), on g percent of a GPU that on a
    whole one times (1 - p) + p · 100 / g; so it falls, or stays, with every core and every share. The parallel
    share p is one half until a tool has run under two allocations, then that under which its runs on inputs of
    like size agree best. Levels are calibrated forward in time: every run is ranked within what was foretold for
    it, and the ranks (of all tools, until a tool has 33) correct the next answers; of few runs, upper quantiles are
    raised as conformal prediction does, all the more as the quick ones end first.

    :param experience: ranks of runs of other sizers, with which this one starts.
    """

    def __init__(self, experience: Sequence[float] = ()) -> None:
        self._known: dict[tuple[str, bool], _Times] = {}
        self._ranks: deque[float] = deque(experience, maxlen=2 * _RANKS)
        self._own = 0

    @property
    def experience(self) -> tuple[float, ...]:
        """The ranks of this sizer's runs, from 0 to 1, the latest last, without those it started with."""
        return tuple(self._ranks)[len(self._ranks) - min(self._own, len(self._ranks)) :]

    def update(
        self, tool: str, input_bytes: float | None, cores: float, latency_ms: float, *, gpu_sm: float = 0.0
    ) -> None:
        """Learn from a run that ended well."""
        known = self._known.setdefault((tool, gpu_sm > 0), _Times())
        rank = known.learn(log_size(input_bytes or 0.0), (cores, gpu_sm), math.log(max(latency_ms, 1.0)))
        if rank is not None:
            self._ranks.append(rank)
            self._own += 1

    def quantile_ms(
        self, quantile: float, tool: str, input_bytes: float | None, cores: float, *, gpu_sm: float = 0.0
    ) -> float | None:
        """The quantile of run time in ms; None for a tool without runs on that kind of device."""
        found = self.quantiles_ms([quantile], [tool], input_bytes, [cores], gpu_sm=gpu_sm)
        return None if found is None else float(found[0, 0])

    def median_ms(self, tool: str, input_bytes: float | None, cores: float, *, gpu_sm: float = 0.0) -> float | None:
        """The median of run time in ms; None for a tool without runs on that kind of device."""
        return self.quantile_ms(0.5, tool, input_bytes, cores, gpu_sm=gpu_sm)

    def quantiles_ms(
        self,
        quantiles: Sequence[float],
        tools: Sequence[str],
        input_bytes: float | None,
        cores: Sequence[float],
        *,
        gpu_sm: float = 0.0,
    ) -> Array | None:
        """Quantiles of run time under several numbers of cores, of several tools as if they were one.

        :return: ms, shape (cores, quantiles), never rising with cores; None where no tool has runs on that kind
            of device.
        """
        found = [known for name in tools if (known := self._known.get((name, gpu_sm > 0))) is not None]
        if not found:
            return None
        alone = len(found) == 1
        levels = [_raised(level, found[0].runs if alone else len(found)) for level in quantiles]
        parts = []
        for known in found:
            grid, below = self._distribution(known, input_bytes)
            factors = np.log([_factor(known.share, count, gpu_sm) for count in cores])
            parts.append(np.interp(levels if alone else _LEVELS, below, grid)[None, :] + factors[:, None])
        logs = parts[0] if alone else np.quantile(np.hstack(parts), levels, axis=1).T
        result: Array = np.exp(np.minimum(logs, 40.0))
        return result

    def parallel_share(self, tool: str, *, gpu: bool = False) -> float | None:
        """The share p of the tool's work that runs in parallel; None while nothing tells."""
        known = self._known.get((tool, gpu))
        return known.share if known is not None and known.reviewed else None

    def _distribution(self, known: _Times, input_bytes: float | None) -> tuple[Array, Array]:
        """Logarithms of ms on one core and a whole GPU, and the calibrated probability of at most that."""
        assert known.state is not None  # noqa: S101  (made with the first run)
        grid, below = known.state.distribution(log_size(input_bytes or 0.0))
        ranks = known.ranks if len(known.ranks) >= _OWN_RANKS else self._ranks
        if len(ranks) < _LEAST_RANKS:
            return grid, below
        counts = np.searchsorted(np.sort(np.array(ranks)), below, side="right")
        return grid, (counts + _UNIFORM_RANKS * below) / (len(ranks) + _UNIFORM_RANKS)


class _Times:
    """What the runs of one tool on one kind of device say."""

    def __init__(self) -> None:
        self.share = _ASSUMED
        self.state: Mixture | None = None
        self.ranks: deque[float] = deque(maxlen=_RANKS)
        self.reviewed = False
        self._kept: deque[tuple[float, tuple[float, float], float]] = deque(maxlen=_KEPT)
        self._until_review = 0

    @property
    def runs(self) -> int:
        """How many runs it learned from."""
        return 0 if self.state is None else self.state.runs

    def learn(self, size: float, allocation: tuple[float, float], value: float) -> float | None:
        """Learn from one run, all in logarithms but the allocation; its rank within what was foretold, if any."""
        rank = self._teach(size, allocation, value)
        if rank is not None:
            self.ranks.append(rank)
        self._kept.append((size, allocation, value))
        self._until_review -= 1
        if self._until_review <= 0 and any(other != allocation for _, other, _ in self._kept):
            self._review()
            self._until_review = min(_REVIEW_EVERY, len(self._kept) // 2)
        return rank

    def _teach(self, size: float, allocation: tuple[float, float], value: float) -> float | None:
        value -= math.log(_factor(self.share, *allocation))
        if self.state is None:
            self.state = Mixture(size, value, FLAT_PRIOR)
            return None
        return self.state.learn(size, value, FLAT_PRIOR)

    def _review(self) -> None:
        """Choose the share under which runs on inputs of like size, under unlike allocations, agree best."""
        sizes = np.array([size for size, _, _ in self._kept])
        values = np.array([value for _, _, value in self._kept])
        kinds = {allocation: number for number, (_, allocation, _) in enumerate(self._kept)}
        kind = np.array([kinds[allocation] for _, allocation, _ in self._kept])
        apart = np.abs(sizes[:, None] - sizes[None, :])
        close = np.where((apart < _NEAR) & (kind[:, None] != kind[None, :]), 1.0 / (_CLOSEST + apart), 0.0)
        if not close.any():
            return
        losses = []
        for share in _SHARES:
            serial = values - np.log([_factor(float(share), *allocation) for _, allocation, _ in self._kept])
            losses.append((close * np.minimum(np.abs(serial[:, None] - serial[None, :]), _CLIP)).sum())
        best = float(_SHARES[int(np.argmin(np.round(losses, 9)))])
        self.reviewed = True
        if best == self.share:
            return
        self.share, self.state = best, None
        for run in self._kept:
            self._teach(*run)


def _raised(level: float, runs: int) -> float:
    """The level at which the next of ``runs + 1`` exchangeable runs keeps to an upper quantile."""
    return level if level <= 0.5 else max(level, min(_HIGHEST, level * (runs + 1) / runs))


def slowdown(parallel: float, cores: float) -> float:
    """Latency on ``cores`` cores relative to one core; a share of a core stretches it in proportion."""
    return (1.0 - parallel) + parallel / cores if cores >= 1.0 else 1.0 / max(cores, 0.05)


def _factor(share: float, cores: float, gpu_sm: float) -> float:
    factor = slowdown(share, cores)
    if gpu_sm > 0:
        factor *= (1.0 - share) + share * 100.0 / min(max(gpu_sm, _LEAST_GPU_PCT), 100.0)
    return factor
