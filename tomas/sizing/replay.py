"""History told again in the order it happened: what the sizers learn from it, and how well they foretold it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from tomas.schema import ExecutionRecord, Outcome, ProfileRow, ProfileSource, Tool
from tomas.sizing.latency import LatencySizer
from tomas.sizing.memory import MemoryRun, MemorySizer, MemoryTask

__all__ = ["Foretold", "Replay", "replay"]


@dataclass(frozen=True)
class Foretold:
    """One run that ended well, beside what was foretold from what had ended before it started.

    :ivar given_gb: the memory that would have been chosen; None: its tool had no run yet, nor had its relatives.
    """

    tool: str
    input_bytes: float
    cores: float
    gpu_sm: float
    peak_gb: float
    latency_ms: float
    given_gb: float | None
    p50_ms: float | None
    p90_ms: float | None


@dataclass(frozen=True)
class Replay:
    """The sizers after all of history, and every run in it."""

    memory: MemorySizer
    latency: LatencySizer
    runs: list[Foretold]
    broken: list[MemoryRun]
    """Tries that ended out of memory, at their limits."""


@dataclass(frozen=True)
class _Try:
    run: MemoryRun
    cores: float
    gpu_sm: float
    latency_ms: float | None


def replay(
    profiles: Iterable[ProfileRow], records: Iterable[ExecutionRecord], tools: Iterable[Tool] = ()
) -> Replay:
    """Teach new sizers all rows and records in the order of their ends.

    Measured profile rows come first and count as runs; given rows count only where a tool has no run. Failed,
    killed and unfinished tries say nothing about needs.

    :param tools: of the registry; they tell which tools are of one family.
    """
    family_of = {tool.name: tool.family for tool in tools}
    result = Replay(MemorySizer(), LatencySizer(), [], [])
    waiting: list[tuple[datetime, int, _Try]] = []
    for started, ended, item in _in_order(profiles, records, family_of):
        while waiting and (started is None or waiting[0][0] <= started):
            _learn(result, heapq.heappop(waiting)[2])
        if item.run.profile or started is None or ended is None:
            _learn(result, item, foretell=not item.run.profile)
            continue
        if item.latency_ms is not None:
            result.runs.append(_foretell(result, item))
        heapq.heappush(waiting, (ended, len(result.runs) + len(waiting), item))
    while waiting:
        _learn(result, heapq.heappop(waiting)[2])
    return result


def _in_order(
    profiles: Iterable[ProfileRow], records: Iterable[ExecutionRecord], family_of: dict[str, str]
) -> Iterator[tuple[datetime | None, datetime | None, _Try]]:
    rows = sorted(profiles, key=lambda row: (row.source is ProfileSource.MEASURED, str(row.measured_at or "")))
    for row in rows:
        run = MemoryRun(
            row.tool, max(row.peak_mem_gb, 1e-3), family_of.get(row.tool), row.input_bytes,
            profile=row.source is not ProfileSource.MEASURED,
        )  # fmt: skip
        yield None, None, _Try(run, row.cpu_core, row.gpu_sm, row.latency_ms)
    for record in sorted(records, key=lambda item: (item.started_at, item.plan_id, item.step_id, item.try_number)):
        broke = record.usage.outcome is Outcome.OUT_OF_MEMORY
        if record.ended_at is None or not (broke or record.usage.outcome is Outcome.SUCCESS):
            continue
        peak = max(record.usage.peak_mem_gb, record.requested.cpu_mem_gb if broke else 1e-3)
        run = MemoryRun(
            record.tool, peak, family_of.get(record.tool), record.input_bytes, out_of_memory=broke,
            step=f"{record.plan_id}/{record.step_id}", tenant=record.dag_id,
        )  # fmt: skip
        latency = None if broke else max(record.usage.wall_ms, 1.0)
        cores = max(record.requested.cpu_cores, 0.1)
        yield record.started_at, record.ended_at, _Try(run, cores, record.requested.gpu_sm, latency)


def _foretell(result: Replay, item: _Try) -> Foretold:
    run = item.run
    choice = result.memory.predict(MemoryTask(run.tool, run.family, run.input_bytes))
    size = run.input_bytes
    p50, p90 = (
        result.latency.quantile_ms(level, run.tool, size, item.cores, gpu_sm=item.gpu_sm) for level in (0.5, 0.9)
    )
    return Foretold(
        run.tool, size or 0.0, item.cores, item.gpu_sm, run.peak_gb, item.latency_ms or 1.0,
        None if choice.basis == "prior" else choice.gb, p50, p90,
    )  # fmt: skip


def _learn(result: Replay, item: _Try, *, foretell: bool = False) -> None:
    if foretell and item.latency_ms is not None:
        result.runs.append(_foretell(result, item))
    result.memory.update(item.run)
    if item.run.out_of_memory:
        result.broken.append(item.run)
    elif item.latency_ms is not None:
        run = item.run
        result.latency.update(run.tool, run.input_bytes, item.cores, item.latency_ms, gpu_sm=item.gpu_sm)
