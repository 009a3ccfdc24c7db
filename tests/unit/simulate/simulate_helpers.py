"""Small bins and workloads, written down in one line each."""

from __future__ import annotations

from tomas.schema import POOL_SIZE, Resources
from tomas.simulate import SimBin, SimStep, SimulationResult, Stretch, Workload


def a_bin(
    name: str = "b1", cores: float = 4, gb: float = 8, *changes: Stretch, sm: float = 0, gpu_gb: float = 0
) -> SimBin:
    capacity = Resources(cpu_cores=cores, cpu_mem_gb=gb, gpu_sm=sm, gpu_mem_gb=gpu_gb)
    return SimBin(name, "c", capacity, (Stretch(0.0, (cores, gb, sm, gpu_gb)), *changes))


def from_then(
    start_ms: float, cores: float = 4, gb: float = 8, slots: int = POOL_SIZE, lost: bool = False
) -> Stretch:
    return Stretch(start_ms, (cores, gb, 0.0, 0.0), slots, lost)


def step(
    name: str,
    ms: float,
    cores: float = 1,
    *after: int,
    gb: float = 1,
    slots: int = 25,
    place: str = "b1",
    priority: int = 1,
    p90: float | None = None,
) -> SimStep:
    return SimStep(
        name, place, slots, (cores, gb, 0.0, 0.0), ms, ms if p90 is None else p90, tuple(after), priority, "tool"
    )


def work(*steps: SimStep, hand_over_ms: float = 0.0, deadline_ms: float | None = None, name: str = "w") -> Workload:
    return Workload(name, steps, hand_over_ms, deadline_ms)


def times(result: SimulationResult) -> list[tuple[float, float]]:
    return [(round(float(a), 6), round(float(b), 6)) for a, b in zip(result.start_ms, result.end_ms, strict=True)]
