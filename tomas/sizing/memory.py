"""Memory of tool runs, learned run by run: the first allocation of least expected cost under the ladder."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tomas.sizing.ladder import Ladder
from tomas.sizing.mixture import FLAT_PRIOR, Array, Mixture, log_size
from tomas.sizing.price import FailurePrice

__all__ = ["MemoryBasis", "MemoryChoice", "MemoryExperience", "MemoryRun", "MemorySizer", "MemoryTask"]

MemoryBasis = Literal["tool", "family", "profile", "request", "any", "prior"]
"""Whose history an allocation rests on: the tool's, its family's, profile rows, how much of their requests other
tools used, what other tools used, or none."""

_PRIOR_TOOLS = 2.0
"""How many tools' posteriors the flat prior weighs as much as."""
_PRIOR_RUNS = 3
_RANKS = 400
_OWN_RANKS = 33
"""Of fewer ranks than this, none can tell a 97 % quantile: those of all tools are used together."""
_LEAST_RANKS = 20
_UNIFORM_RANKS = 10.0
_LEAST_TOOLS = 8
_SHARES = (0.125, 0.25, 0.5, 1.0)
_TENANT_RUNS = 8
_TENANT_WINDOW = 128
_BOUNDS = 16
_MEMBERS = 4
_LEVELS = np.array([0.5, 0.95])
_NOTHING, _ALL = np.zeros(1), np.ones(1)
_ROUND_UP = 1.0005
_PRIOR_GB = 1.0
"""For a tool of which nothing is known, not even a request."""


@dataclass(frozen=True)
class MemoryTask:
    """What is known of a task when its memory is chosen.

    :ivar input_bytes: None where no input exists yet; all runs then count alike.
    :ivar cap_gb: the user's request, or the largest bin; None: no limit.
    """

    tool: str
    family: str | None = None
    input_bytes: float | None = None
    cap_gb: float | None = None


@dataclass(frozen=True)
class MemoryRun:
    """One try that ended.

    :ivar peak_gb: measured peak; where ``out_of_memory``, the limit at which it broke.
    :ivar step: the tries of one step share it; they count as one run.
    :ivar tenant: whose run it was; where one runs a tool far more often than all others, not all its runs count.
    :ivar profile: from a profile table, not from a run of a plan.
    :ivar latency_ms: how long it ran. Where a tool's are told, failed tries are priced by them, see
        :class:`MemorySizer`.
    :ivar first_gb: what the first try of its step was given, where this sizer chose it.
    """

    tool: str
    peak_gb: float
    family: str | None = None
    input_bytes: float | None = None
    cap_gb: float | None = None
    out_of_memory: bool = False
    step: str | None = None
    tenant: str | None = None
    profile: bool = False
    latency_ms: float | None = None
    first_gb: float | None = None


@dataclass(frozen=True)
class MemoryChoice:
    """The first allocation of a task."""

    gb: float
    basis: MemoryBasis
    runs: int
    """Runs that it rests on."""
    median_gb: float
    p95_gb: float
    """The 95 % quantile of the peak."""
    failing: float
    """Foretold probability that it does not suffice."""


@dataclass(frozen=True)
class MemoryExperience:
    """What tools so far teach of any tool.

    :ivar ranks: of runs within what was foretold for them, from 0 to 1, the latest last.
    :ivar weights: of shapes and scales, summed over tools, shape (shapes, scales).
    :ivar ordinary_gbh: memory times time of an ordinary run, GB·h; 0: no run's time was told.
    :ivar raised: logarithm of the factor by which failed tries raised their price.
    """

    ranks: tuple[float, ...]
    weights: Array
    ordinary_gbh: float = 0.0
    raised: float = 0.0


class MemorySizer:
    """Chooses memory from all runs so far. Both calls together take about a quarter of a millisecond.

    A tool without runs is sized by its family's, by profile rows, by what share of their requests other tools used,
    or by a prior; the answer says by which. Levels are calibrated forward in time: every run is ranked within what
    was foretold for it, and the ranks (of all tools, until a tool has 33) correct the next answers.

    How much a failed try weighs depends on how long the tool runs, where that is known: it has one price in GB·h,
    see :class:`~tomas.sizing.price.FailurePrice`. Else it is reckoned as the ladder says, and none may be foretold
    to fail with more than a given probability.

    :param most_failing: the share of all tries that may break; of a tool whose run times are not told, the largest
        foretold probability of each.
    :param experience: of other sizers, with which this one starts.
    """

    def __init__(
        self,
        ladder: Ladder | None = None,
        *,
        most_failing: float = 0.03,
        experience: MemoryExperience | None = None,
    ) -> None:
        self.ladder = ladder or Ladder()
        self._most_failing = most_failing
        self._price = FailurePrice(most_failing)
        self._inherited = 0
        self._tools: dict[str, Mixture] = {}
        self._families: dict[str, dict[str, None]] = {}
        self._profiles: dict[str, Mixture] = {}
        self._learned: dict[str, Array] = {}
        self._learned_sum: Array = FLAT_PRIOR * _PRIOR_TOOLS
        self._ranks: list[float] = []
        self._tool_ranks: dict[str, list[float]] = {}
        self._shares: dict[str, tuple[float, int]] = {}
        self._tenants: dict[str, deque[tuple[str, bool]]] = {}
        self._bounds: dict[str, dict[str, tuple[float, float]]] = {}
        if experience is not None:
            self._ranks.extend(experience.ranks[-_RANKS:])
            self._inherited = len(self._ranks)
            self._learned_sum = self._learned_sum + experience.weights
            self._price.start(experience.ordinary_gbh, experience.raised)

    @property
    def experience(self) -> MemoryExperience:
        """What the tools of this sizer teach of any tool; of ranks and weights without what it started with."""
        return MemoryExperience(
            tuple(self._ranks[self._inherited :]),
            sum(self._learned.values(), np.zeros_like(FLAT_PRIOR)),
            self._price.ordinary_gbh,
            self._price.raised,
        )

    @property
    def tools(self) -> list[str]:
        """Tools that have runs of their own."""
        return sorted(self._tools)

    def predict(self, task: MemoryTask) -> MemoryChoice:
        """The first allocation for ``task``, at most its cap."""
        cap = task.cap_gb if task.cap_gb is not None else math.inf
        size = log_size(task.input_bytes or 0.0)
        known = self._tools.get(task.tool)
        if known is not None:
            grid, below = known.distribution(size)
            price = self._price.of(task.tool, size, blind=task.input_bytes is None)
            return self._chosen(grid, self._calibrated(below, task.tool), cap, "tool", known.runs, price)
        members = self._members(task)
        if members:
            grid, below = _together([item.distribution(size) for item in members])
            runs = sum(item.runs for item in members)
            return self._chosen(grid, self._calibrated(below, None), cap, "family", runs)
        given = self._profiles.get(task.tool)
        if given is not None and not self._bounds.get(task.tool):
            grid, below = given.distribution(size)
            return self._chosen(grid, self._calibrated(below, None), cap, "profile", given.runs)
        return self._unknown(task, cap)

    def _members(self, task: MemoryTask) -> list[Mixture]:
        """The tools of the family with most runs; a single one tells nothing of how its relatives differ."""
        if self._bounds.get(task.tool):
            return []
        names = self._families.get(task.family or "", ())
        states = sorted((self._tools[name] for name in names), key=lambda item: -item.runs)
        return states[:_MEMBERS] if len(states) > 1 else []

    def _chosen(
        self, grid: Array, below: Array, cap: float, basis: MemoryBasis, runs: int, price: float | None = None
    ) -> MemoryChoice:
        covered = np.concatenate([_NOTHING, below, _ALL])
        weights = covered[1:] - covered[:-1]
        # What lies beyond the grid is taken to lie a third above its end.
        peaks = np.exp(np.append(grid, grid[-1] + 0.3))
        if price is None:
            gb = self.ladder.cheapest(peaks, weights, cap_gb=cap, most_failing=self._most_failing)
        else:
            gb = replace(self.ladder, failure_price=1.0, restart_gb=price).cheapest(peaks, weights, cap_gb=cap)
        gb = min(gb * _ROUND_UP, cap)
        median, p95 = np.exp(np.interp(_LEVELS, below, grid)).tolist()
        return MemoryChoice(
            gb=gb,
            basis=basis,
            runs=runs,
            median_gb=median,
            p95_gb=p95,
            failing=float(weights[peaks > gb].sum()) if gb < cap else 0.0,
        )

    def _calibrated(self, below: Array, tool: str | None) -> Array:
        ranks = self._tool_ranks.get(tool or "", [])
        if len(ranks) < _OWN_RANKS:
            ranks = self._ranks
        if len(ranks) < _LEAST_RANKS:
            return below
        counts = np.searchsorted(np.sort(np.array(ranks)), below, side="right")
        result: Array = (counts + _UNIFORM_RANKS * below) / (len(ranks) + _UNIFORM_RANKS)
        return result

    def _unknown(self, task: MemoryTask, cap: float) -> MemoryChoice:
        """By the share of their requests that other tools used at most, one vote a tool."""
        broken = max((math.exp(limit) for _, limit in self._bounds.get(task.tool, {}).values()), default=0.0)
        if task.cap_gb is None:
            gb = max(_PRIOR_GB, broken * self.ladder.factor)
            return MemoryChoice(gb, "prior", 0, gb, gb, 1.0)
        if len(self._shares) < _LEAST_TOOLS or broken:
            return MemoryChoice(min(cap, max(cap, broken)), "prior", 0, cap, cap, 0.0)
        shares = np.sort(np.array([share for share, _ in self._shares.values()] + [1.0]))
        weights = np.full(len(shares), 1.0 / len(shares))
        wanted = [share for share in _SHARES if (shares > share).mean() <= self._most_failing]
        costs = {
            share: sum(Ladder(self.ladder.factor, 0.0).cost(share, float(used), 1.0) for used in shares)
            for share in wanted
        }
        share = min(costs, key=lambda item: costs[item])
        return MemoryChoice(
            max(cap * share, min(self.ladder.least_gb, cap)), "request", 0,
            cap * float(np.median(shares)), cap * float(np.quantile(shares, 0.95)),
            float(weights[shares > share].sum()),
        )  # fmt: skip

    def update(self, run: MemoryRun) -> None:
        """Learn from a try that ended; what broke at its limit says only that it needs more."""
        size = log_size(run.input_bytes or 0.0)
        value = math.log(max(run.peak_gb, 1e-4))
        if run.out_of_memory:
            self._break(run, size, value)
            return
        if run.step is not None:
            self._bounds.get(run.tool, {}).pop(run.step, None)
        if run.profile:
            self._learn(self._profiles, run.tool, size, value)
            return
        if not self._counts(run):
            return
        if run.first_gb is not None and run.tool in self._tools:
            cap = math.inf if run.cap_gb is None else run.cap_gb
            self._price.judge(len(self.ladder.tries(run.first_gb, run.peak_gb, cap)) - 1)
        if run.latency_ms is not None:
            self._price.learn(run.tool, size, run.peak_gb, run.latency_ms)
        rank = self._learn(self._tools, run.tool, size, value)
        self._tools[run.tool].bounds = self._bounds.get(run.tool, {})
        if rank is not None:
            self._rank(run.tool, rank)
        if self._tools[run.tool].runs >= _PRIOR_RUNS:
            now = self._tools[run.tool].weights
            self._learned_sum = self._learned_sum + now - self._learned.get(run.tool, 0.0)
            self._learned[run.tool] = now
        if run.family:
            self._families.setdefault(run.family, {})[run.tool] = None
        if run.cap_gb:
            share = min(run.peak_gb / run.cap_gb, 1.0)
            before, count = self._shares.get(run.tool, (0.0, 0))
            self._shares[run.tool] = (max(before, share), count + 1)

    def _break(self, run: MemoryRun, size: float, limit: float) -> None:
        bounds = self._bounds.setdefault(run.tool, {})
        step = run.step or f"#{len(bounds)}"
        known = bounds.pop(step, (size, limit))
        bounds[step] = (size, max(limit, known[1]))
        while len(bounds) > _BOUNDS:
            bounds.pop(next(iter(bounds)))
        if run.tool in self._tools:
            self._tools[run.tool].bounds = bounds

    def _learn(self, states: dict[str, Mixture], key: str, size: float, value: float) -> float | None:
        prior = self._learned_sum / self._learned_sum.sum()
        if key not in states:
            states[key] = Mixture(size, value, prior)
            return None
        return states[key].learn(size, value, prior)

    def _rank(self, tool: str, rank: float) -> None:
        for ranks, most in ((self._ranks, _RANKS), (self._tool_ranks.setdefault(tool, []), _RANKS // 2)):
            ranks.append(rank)
            if len(ranks) > most:
                del ranks[0]
                if ranks is self._ranks:
                    self._inherited = max(0, self._inherited - 1)

    def _counts(self, run: MemoryRun) -> bool:
        """Whether to learn from a run: of the latest, no tenant may have many more than all others."""
        if run.tenant is None:
            return True
        recent = self._tenants.setdefault(run.tool, deque(maxlen=_TENANT_WINDOW))
        others = sum(tenant != run.tenant for tenant, _ in recent)
        own = sum(tenant == run.tenant and counted for tenant, counted in recent)
        counted = not others or own < others + _TENANT_RUNS
        recent.append((run.tenant, counted))
        return counted


def _together(parts: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """The mixture, in equal shares, of distributions over grids of their own."""
    grid = np.sort(np.concatenate([values for values, _ in parts]))
    below = np.mean([np.interp(grid, values, under, left=0.0, right=1.0) for values, under in parts], axis=0)
    return grid, below
