"""What the runs of one tool (or family) say: latency over size and cores, peak memory, output size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from tomas.sizing.curve import LOG_CLIP, SizeCurve
from tomas.sizing.observation import Observation

__all__ = ["Estimate", "censored_quantile"]

LATENCY_QUANTILE = 0.9
MEMORY_QUANTILE = 0.95
_LEAST_SPREAD = math.log(1.15)
"""The 90 % latency lies at least this far above the median, however calm the history."""
_ASSUMED_PARALLEL = 0.5
"""Share of the work that runs in parallel, where history knows one number of cores only."""
_OOM_GROWTH = math.log(1.5)
"""What the quantile grows by when it falls among runs that were stopped at their limit."""


@dataclass(frozen=True)
class Estimate:
    """Fitted from the runs of one tool on one kind of device.

    Latency on c cores is that on one core times (1 - p) + p / c (Amdahl 1967); p is ``parallel``.
    """

    runs: int
    parallel: float
    latency: SizeCurve
    """Median on one core, ms."""
    p50: float
    p90: float
    """Logarithmic residual quantiles around ``latency``."""
    memory: SizeCurve
    """Median peak, GB."""
    p95: float
    output: SizeCurve | None
    gpu_sm: float = 0.0
    gpu_mem_gb: float = 0.0

    @classmethod
    def fit(cls, runs: Sequence[Observation]) -> Estimate | None:
        """Fit runs of one device kind; None if none of them ended by itself."""
        timed = [run for run in runs if run.latency_ms is not None]
        if not timed:
            return None
        parallel = _parallel_share(timed)
        serial = [(run.input_bytes, (run.latency_ms or 1.0) / slowdown(parallel, run.cores)) for run in timed]
        latency = SizeCurve.fit(serial)
        known = [run for run in runs if not run.censored and run.peak_gb > 0]
        grown = [(run.input_bytes, run.peak_gb) for run in runs if run.censored]
        memory = SizeCurve.fit([(run.input_bytes, run.peak_gb) for run in known] or grown or [(0.0, 0.1)])
        assert latency is not None  # noqa: S101  (there are points)
        assert memory is not None  # noqa: S101
        spread = [(_clip(math.log(value) - latency.log_at(size)), False) for size, value in serial]
        peaks = [
            (_clip(math.log(run.peak_gb) - memory.log_at(run.input_bytes)), run.censored)
            for run in runs
            if run.peak_gb > 0
        ]
        p50 = median(value for value, _ in spread)
        return cls(
            runs=len(runs),
            parallel=parallel,
            latency=latency,
            p50=p50,
            p90=max(censored_quantile(spread, LATENCY_QUANTILE), p50 + _LEAST_SPREAD),
            memory=memory,
            p95=max(0.0, censored_quantile(peaks, MEMORY_QUANTILE)) if peaks else 0.0,
            output=SizeCurve.fit([(run.input_bytes, run.output_bytes) for run in timed], through_zero=True),
            gpu_sm=max(run.gpu_sm for run in runs),
            gpu_mem_gb=min(run.gpu_mem_gb for run in runs),
        )

    def latency_ms(self, size: float, cores: float) -> tuple[float, float]:
        """Median and 90 % quantile of latency at ``size`` bytes on ``cores`` cores; never rising with cores."""
        base = self.latency.log_at(size) + math.log(slowdown(self.parallel, cores))
        return math.exp(min(base + self.p50, 40.0)), math.exp(min(base + self.p90, 40.0))

    def peak_gb(self, size: float) -> float:
        """The 95 % quantile of peak memory at ``size`` bytes, GB."""
        return math.exp(min(self.memory.log_at(size) + self.p95, 40.0))

    def to_payload(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "runs": self.runs,
            "parallel": self.parallel,
            "latency": self.latency.to_payload(),
            "p50": self.p50,
            "p90": self.p90,
            "memory": self.memory.to_payload(),
            "p95": self.p95,
            "output": self.output.to_payload() if self.output else None,
            "gpu_sm": self.gpu_sm,
            "gpu_mem_gb": self.gpu_mem_gb,
        }

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> Estimate:
        """The inverse of :meth:`to_payload`."""
        return cls(
            runs=int(payload["runs"]),
            parallel=float(payload["parallel"]),
            latency=SizeCurve.from_payload(payload["latency"]),
            p50=float(payload["p50"]),
            p90=float(payload["p90"]),
            memory=SizeCurve.from_payload(payload["memory"]),
            p95=float(payload["p95"]),
            output=SizeCurve.from_payload(payload["output"]) if payload["output"] else None,
            gpu_sm=float(payload["gpu_sm"]),
            gpu_mem_gb=float(payload["gpu_mem_gb"]),
        )


def slowdown(parallel: float, cores: float) -> float:
    """Latency on ``cores`` cores relative to one core; a share of a core stretches it in proportion."""
    return (1.0 - parallel) + parallel / cores if cores >= 1.0 else 1.0 / max(cores, 0.05)


def _clip(residual: float) -> float:
    return min(max(residual, -LOG_CLIP), LOG_CLIP)


def _parallel_share(runs: Sequence[Observation]) -> float:
    """The share p under which runs of like size, brought to one core, agree best (least absolute deviation)."""
    groups: dict[int, list[Observation]] = {}
    for run in runs:
        groups.setdefault(round(math.log2(run.input_bytes + 1.0)), []).append(run)
    mixed = [group for group in groups.values() if len({max(run.cores, 1.0) for run in group}) > 1]
    if not mixed:
        return _ASSUMED_PARALLEL
    best = (math.inf, 0.0)
    for step in range(21):
        share = step / 20.0
        loss = 0.0
        for group in mixed:
            serial = [math.log((run.latency_ms or 1.0) / slowdown(share, run.cores)) for run in group]
            centre = median(serial)
            loss += sum(min(abs(value - centre), LOG_CLIP) for value in serial)
        best = min(best, (round(loss, 9), share))
    return best[1]


def censored_quantile(values: Sequence[tuple[float, bool]], quantile: float) -> float:
    """The ``quantile`` of values of which some are lower bounds (Kaplan and Meier, 1958).

    :param values: (value, whether it is only a lower bound), at least one.
    """
    ordered = sorted(values)
    survival = 1.0
    for index, (value, censored) in enumerate(ordered):
        if not censored:
            survival *= 1.0 - 1.0 / (len(ordered) - index)
            if 1.0 - survival >= quantile - 1e-12:
                return value
    return ordered[-1][0] + (_OOM_GROWTH if any(censored for _, censored in ordered) else 0.0)
