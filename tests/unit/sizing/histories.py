"""Tools, bins, profile rows and records for the tests of sizing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tomas.schema import (
    Bin,
    ExecutionRecord,
    InputSize,
    InputSizeThresholds,
    Outcome,
    Port,
    ProfileRow,
    ProfileSource,
    Resources,
    StepUsage,
    Tool,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def tool(name: str = "blur", family: str = "vision", max_cores: int = 8) -> Tool:
    return Tool(
        name=name, family=family, description="Blur.", inputs=[Port(name="images", type="image/*")],
        outputs=[Port(name="images", type="image/png")], max_cores=max_cores,
        input_size=InputSizeThresholds(small_max_bytes=1000, medium_max_bytes=100_000),
    )  # fmt: skip


def place(cores: float = 8, gb: float = 16, gpu: float = 0, name: str = "b1") -> Bin:
    capacity = Resources(cpu_cores=cores, cpu_mem_gb=gb, gpu_sm=100 if gpu else 0, gpu_mem_gb=gpu)
    return Bin(name=name, worker_class="c", queue="q", pool="p", capacity=capacity)


def row(
    size: int, latency_ms: float, *, cores: float = 1, peak: float = 0.4, name: str = "blur", **more: Any
) -> ProfileRow:
    fields = {"source": ProfileSource.MEASURED, "measured_at": NOW, "output_bytes": size // 2, **more}
    return ProfileRow(
        tool=name, input_size=InputSize.SMALL, input_bytes=size, cpu_core=cores, cpu_mem_gb=4,
        latency_ms=latency_ms, peak_mem_gb=peak, **fields,
    )  # fmt: skip


def record(
    step: str, *, outcome: Outcome = Outcome.SUCCESS, gb: float = 1.0, peak: float = 0.5, wall: float = 1000,
    size: int = 10_000, tries: int = 1, name: str = "blur", dag: str | None = None, cores: float = 1,
    gpu_sm: float = 0, gpu_mem_gb: float = 0, at: datetime = NOW, cpu_seconds: float = 1,
) -> ExecutionRecord:  # fmt: skip
    return ExecutionRecord(
        plan_id="p", step_id=step, tool=name, try_number=tries, bin="b1", host="h", dag_id=dag,
        requested=Resources(cpu_cores=cores, cpu_mem_gb=gb, gpu_sm=gpu_sm, gpu_mem_gb=gpu_mem_gb),
        input_bytes=size, output_bytes=size, started_at=at, ended_at=at + timedelta(milliseconds=wall),
        usage=StepUsage(
            wall_ms=wall, peak_mem_gb=peak, cpu_seconds=cpu_seconds, peak_cpu_cores=1, outcome=outcome,
            gpu_peak_mem_gb=gpu_mem_gb * 0.75,
        ),
    )  # fmt: skip


AMDAHL = [
    row(size, size / 10 * (0.2 + 0.8 / cores) * noise, cores=cores, peak=0.2 + size / 1e6)
    for size in (10_000, 100_000, 1_000_000)
    for cores in (1, 2, 4)
    for noise in (0.97, 1.0, 1.03)
]
"""Three inputs on one, two and four cores; four fifths of the work run in parallel."""
