"""How long a step really takes: drawn from its p50 and p90, or one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from tomas.errors import DataError
from tomas.simulate.workload import Job, Workload

__all__ = ["Latency", "Sampler", "log_normal"]

Latency = Literal["sampled", "p50", "p90"]
FloatArray = npt.NDArray[np.float64]

_Z90 = 1.2815515655446004
"""The 90 % quantile of the standard normal distribution."""


def log_normal(p50_ms: Sequence[float], p90_ms: Sequence[float]) -> tuple[FloatArray, FloatArray]:
    """Median and scale (of the logarithm) of the log-normal distributions through these quantiles, shape (n,) each.

    A step with a p90 of no more than its p50 always takes its p50; one with a p50 of 0 takes no time.
    """
    p50, p90 = np.asarray(p50_ms, dtype=np.float64), np.asarray(p90_ms, dtype=np.float64)
    scale = np.zeros_like(p50)
    spread = (p90 > p50) & (p50 > 0)
    scale[spread] = np.log(p90[spread] / p50[spread]) / _Z90
    return p50, scale


class Sampler:
    """Draws the work of one job after the other."""

    def __init__(self, latency: Latency, seed: int | Sequence[int]) -> None:
        if latency not in ("sampled", "p50", "p90"):
            raise DataError(f"Latency {latency!r} is unknown.", remedy="Take sampled, p50 or p90.")
        self.latency = latency
        self._random = np.random.default_rng(seed)
        self._fits: dict[int, tuple[Workload, FloatArray, FloatArray]] = {}

    def draw(self, job: Job) -> list[float]:
        """Milliseconds of each step at full speed.

        :raises DataError: the job's own work does not fit its steps.
        """
        steps = job.workload.steps
        if job.work_ms is not None:
            if len(job.work_ms) != len(steps) or not all(0 <= value < float("inf") for value in job.work_ms):
                raise DataError(
                    f"A job of {job.workload.name} is given work {job.work_ms[:5]} for its {len(steps)} steps.",
                    remedy="Give one finite time that is not negative for each step.",
                )
            return list(job.work_ms)
        if self.latency == "p50":
            return [step.p50_ms for step in steps]
        if self.latency == "p90":
            return [step.p90_ms for step in steps]
        fit = self._fits.get(id(job.workload))
        if fit is None:
            fitted = log_normal([step.p50_ms for step in steps], [step.p90_ms for step in steps])
            fit = self._fits[id(job.workload)] = (job.workload, *fitted)
        _, median, scale = fit
        drawn: list[float] = (median * np.exp(scale * self._random.standard_normal(len(steps)))).tolist()
        return drawn
