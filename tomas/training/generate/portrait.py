"""Resource portraits: a random but physically sensible law of a tool's time and memory, and profiles drawn from it.

Time follows Amdahl's law over cores and grows with the input; memory is linear in the input; a GPU, where a tool
can use one, multiplies speed by a power of its share and needs memory of its own. Input size and allocation of a
profile row are drawn apart, so that the effect of each can be told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tomas.model.example import PROFILE_FEATURES, FloatArray

__all__ = ["Law", "Laws", "draw_laws", "draw_profiles", "law_of"]

Laws = NDArray[np.float64]

MB = 1e6
_GPU_POWER = 0.8
_SMS = (25.0, 50.0, 100.0)


@dataclass(frozen=True)
class Law:
    """How a tool behaves.

    :ivar base_ms: start of the tool, independent of input and cores.
    :ivar ms_per_mb: work of one core on a megabyte of input.
    :ivar parallel: share of the work that runs on all cores, up to ``max_cores``.
    :ivar base_gb: memory at rest; ``gb_per_mb`` more for every megabyte of input.
    :ivar output_ratio: bytes written per byte read.
    :ivar gpu_speed: times one core's speed on a whole GPU; 0: it cannot use one.
    :ivar gpu_gb: memory of the GPU it needs, ``gpu_gb_per_mb`` more for every megabyte.
    :ivar gpu_only: it does not run without.
    """

    base_ms: float
    ms_per_mb: float
    parallel: float
    max_cores: int
    base_gb: float
    gb_per_mb: float
    output_ratio: float
    gpu_speed: float
    gpu_gb: float
    gpu_gb_per_mb: float
    gpu_only: bool

    def latency_ms(self, input_bytes: float, cores: float, gpu_sm: float) -> float:
        """Expected time of a run on ``cores`` cores and ``gpu_sm`` percent of a GPU; 0: none."""
        work = self.ms_per_mb * input_bytes / MB
        if gpu_sm > 0:
            return self.base_ms + work / (self.gpu_speed * float((gpu_sm / 100.0) ** _GPU_POWER))
        used = min(cores, self.max_cores)
        if used < 1.0:
            return (self.base_ms + work) / used
        return self.base_ms + work * (1.0 - self.parallel + self.parallel / used)

    def peak_gb(self, input_bytes: float) -> float:
        """Expected peak of resident memory."""
        return self.base_gb + self.gb_per_mb * input_bytes / MB

    def gpu_peak_gb(self, input_bytes: float) -> float:
        """Expected memory on the GPU."""
        return self.gpu_gb + self.gpu_gb_per_mb * input_bytes / MB


def draw_laws(rng: np.random.Generator, count: int, *, gpu: bool) -> Laws:
    """Laws at random, one a row in the order of :class:`Law`'s fields.

    :param gpu: whether the fleet has GPUs; without, no tool needs one.
    """
    u = rng.random((10, count))
    takes_gpu = u[0] < 0.35
    parallel = np.where(u[1] < 0.25, 0.0, 0.4 + 0.58 * u[2])
    return np.stack(
        [
            np.exp(3.9 + 3.0 * u[3]),
            np.exp(2.0 + 5.5 * u[4]),
            parallel,
            np.where(parallel == 0.0, 1.0, 2.0 ** (1.0 + np.floor(4.0 * u[5]))),
            np.exp(-3.0 + 3.5 * u[6]),
            np.exp(-9.0 + 5.5 * u[7]),
            np.exp(-6.0 + 6.5 * u[8]),
            np.where(takes_gpu, np.exp(1.0 + 3.0 * u[9]), 0.0),
            np.where(takes_gpu, 1.0 + 7.0 * u[2] * u[6], 0.0),
            np.where(takes_gpu, 0.02 * u[7], 0.0),
            takes_gpu & (u[1] > 0.85) & gpu,
        ],
        axis=1,
    )


def law_of(row: NDArray[np.float64]) -> Law:
    """One row of :func:`draw_laws`."""
    base_ms, ms_per_mb, parallel, most, base_gb, gb_per_mb, ratio, speed, gpu_gb, gpu_gb_per_mb, only = map(
        float, row
    )
    return Law(
        base_ms, ms_per_mb, parallel, int(most), base_gb, gb_per_mb, ratio, speed, gpu_gb, gpu_gb_per_mb, bool(only)
    )


def draw_profiles(laws: Laws, rng: np.random.Generator, rows: int) -> FloatArray:
    """Profiling history under each law, with noise; shape (laws, rows, len(PROFILE_FEATURES))."""
    shape = (len(laws), rows)
    base_ms, ms_per_mb, parallel, most, base_gb, gb_per_mb, ratio, gpu_speed, gpu_gb, gpu_gb_per_mb, only = (
        column[:, None] for column in laws.T
    )
    u = rng.random((5, *shape), dtype=np.float32)
    size = np.exp(np.log(2e4) + u[0] * np.log(1.5e4))
    cores = 2.0 ** np.floor(5.0 * u[1])
    share = np.array(_SMS)[(3.0 * u[2]).astype(np.int64)]
    on_gpu = (gpu_speed > 0) & (u[3] < np.where(only > 0, 1.0, 0.5))
    mb = size / MB
    work = ms_per_mb * mb
    speed = np.maximum(gpu_speed, 1.0) * (share / 100.0) ** _GPU_POWER
    on_cores = work * (1.0 - parallel + parallel / np.minimum(cores, most))
    noise = np.exp(0.08 * rng.standard_normal((3, *shape), dtype=np.float32))
    latency = base_ms + np.where(on_gpu, work / speed, on_cores)
    peak = (base_gb + gb_per_mb * mb) * noise[1]
    table = np.empty((*shape, len(PROFILE_FEATURES)), dtype=np.float32)
    table[..., 0] = np.log1p(size)
    table[..., 1] = cores
    table[..., 2] = np.maximum(np.ceil(peak * (1.05 + 2.0 * u[4]) * 2.0) / 2.0, 0.5)
    table[..., 3] = np.where(on_gpu, share, 0.0)
    table[..., 4] = np.where(on_gpu, np.ceil(gpu_gb + gpu_gb_per_mb * mb), 0.0)
    table[..., 5] = np.log1p(latency * noise[0])
    table[..., 6] = np.log1p(peak)
    table[..., 7] = np.log1p(size * ratio * noise[2])
    return table
