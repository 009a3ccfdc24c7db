"""Runs as the sizer sees them, from the profile table and from execution records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tomas.schema import ExecutionRecord, Outcome, ProfileRow, ProfileSource

__all__ = ["Observation", "observations"]


@dataclass(frozen=True)
class Observation:
    """One run of one tool."""

    tool: str
    input_bytes: float
    cores: float
    gpu_sm: float
    gpu_mem_gb: float
    latency_ms: float | None
    """None where the run did not end by itself."""
    peak_gb: float
    censored: bool
    """The peak is a lower bound: the run was stopped at its memory limit."""
    output_bytes: float
    measured: bool


def observations(profiles: Iterable[ProfileRow], records: Iterable[ExecutionRecord]) -> list[Observation]:
    """Profile rows, and one observation per executed step.

    Of several tries of a step the successful one counts, else the out-of-memory with the highest limit;
    failed, killed and unfinished runs say nothing about needs. Where a tool has measured runs, its given
    rows are left out.
    """
    rows = [
        Observation(
            row.tool, row.input_bytes, row.cpu_core, row.gpu_sm, row.gpu_mem_gb, row.latency_ms, row.peak_mem_gb,
            False, row.output_bytes, row.source is ProfileSource.MEASURED,
        )
        for row in profiles
    ]  # fmt: skip
    best: dict[tuple[str, str], ExecutionRecord] = {}
    for record in records:
        if record.usage.outcome not in (Outcome.SUCCESS, Outcome.OUT_OF_MEMORY):
            continue
        key = (record.plan_id, record.step_id)
        if key not in best or _rank(record) > _rank(best[key]):
            best[key] = record
    rows += [_observed(record) for _, record in sorted(best.items())]
    measured = {row.tool for row in rows if row.measured}
    return [row for row in rows if row.measured or row.tool not in measured]


def _rank(record: ExecutionRecord) -> tuple[bool, float, int]:
    return record.usage.outcome is Outcome.SUCCESS, record.requested.cpu_mem_gb, record.try_number


def _observed(record: ExecutionRecord) -> Observation:
    ended_well = record.usage.outcome is Outcome.SUCCESS
    return Observation(
        tool=record.tool,
        input_bytes=record.input_bytes,
        cores=max(record.requested.cpu_cores, 0.1),
        gpu_sm=record.requested.gpu_sm,
        gpu_mem_gb=max(record.requested.gpu_mem_gb, record.usage.gpu_peak_mem_gb),
        latency_ms=max(record.usage.wall_ms, 1.0) if ended_well else None,
        peak_gb=record.usage.peak_mem_gb
        if ended_well
        else max(record.requested.cpu_mem_gb, record.usage.peak_mem_gb),
        censored=not ended_well,
        output_bytes=record.output_bytes if ended_well else 0.0,
        measured=True,
    )
