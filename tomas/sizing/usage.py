"""What runs use besides memory and time: processor, GPU, output; quantiles by rank among the nearest runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tomas.sizing.mixture import log_size
from tomas.sizing.run import Run

__all__ = ["Quantiles", "Usage", "size_quantiles", "usage"]

_LEVELS = (0.5, 0.95)
_SLOPES = (0.0, 0.5, 1.0)
_NEAREST = 24
_LEAST_ALIKE = 3
_FARTHEST = 30.0


@dataclass(frozen=True)
class Quantiles:
    """Of one quantity."""

    p50: float
    p95: float


@dataclass(frozen=True)
class Usage:
    """What a run is foretold to use of what it is given.

    :ivar cpu_cores: on average over its time.
    :ivar gpu_sm: percent of one GPU, on average.
    :ivar output_bytes: of all outputs together.
    """

    cpu_cores: Quantiles
    gpu_sm: Quantiles
    gpu_mem_gb: Quantiles
    output_bytes: Quantiles


def usage(runs: Sequence[Run], input_bytes: float, cores: float, gpu_sm: float) -> Usage:
    """Quantiles from the runs of a tool (or of its relatives) on one kind of device.

    Single runs and their tenants count by rank only, so none bends an answer.
    """
    ended = [run for run in runs if run.broken_step is None]
    shares = [min(run.cpu_used / run.cores, 1.0) for run in _alike(ended, cores=cores) if run.cpu_used > 0]
    busy = _ranked(shares) if shares else Quantiles(1.0, 1.0)
    seen = [run.gpu_sm_used for run in _alike(ended, gpu_sm=gpu_sm) if run.gpu_sm_used > 0]
    return Usage(
        cpu_cores=Quantiles(busy.p50 * cores, busy.p95 * cores),
        gpu_sm=_ranked(seen) if seen else Quantiles(gpu_sm, gpu_sm),
        gpu_mem_gb=size_quantiles([(run.input_bytes, run.gpu_mem_gb) for run in ended], input_bytes),
        output_bytes=size_quantiles([(run.input_bytes, run.output_bytes) for run in ended], input_bytes),
    )


def size_quantiles(points: Sequence[tuple[float, float]], input_bytes: float) -> Quantiles:
    """Quantiles of a quantity over input size.

    It is taken to be constant, to grow with the root of the input, or in proportion to it: as that under which the
    runs nearest in size agree best. The rest is ranked (split conformal prediction: of fewer than 19 runs the
    largest is all that can be said of 95 %).

    :param points: (bytes of input, value); values of 0 are left out.
    """
    known = np.array([(log_size(size), math.log(value)) for size, value in points if value > 0])
    if not len(known):
        return Quantiles(0.0, 0.0)
    at = log_size(input_bytes)
    known = known[np.argsort(np.abs(known[:, 0] - at), kind="stable")[:_NEAREST]]
    deviations = [known[:, 1] + slope * (at - known[:, 0]) for slope in _SLOPES]
    spreads = [float(np.abs(item - np.median(item)).mean()) for item in deviations]
    found = _ranked(list(np.minimum(deviations[int(np.argmin(np.round(spreads, 9)))], _FARTHEST * math.log(10.0))))
    return Quantiles(math.exp(found.p50), math.exp(found.p95))


def _alike(runs: Sequence[Run], *, cores: float | None = None, gpu_sm: float | None = None) -> Sequence[Run]:
    """Runs under the same allocation, where there are a few; else all."""
    same = [
        run for run in runs if (cores is None or run.cores == cores) and (gpu_sm is None or run.gpu_sm == gpu_sm)
    ]
    return same if len(same) >= _LEAST_ALIKE else runs


def _ranked(values: Sequence[float]) -> Quantiles:
    ordered = sorted(values)
    upper = min(len(ordered), math.ceil((len(ordered) + 1) * _LEVELS[1] - 1e-9))
    return Quantiles(float(np.median(ordered)), max(float(np.median(ordered)), ordered[upper - 1]))
