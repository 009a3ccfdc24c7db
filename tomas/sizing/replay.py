"""History told again in the order it happened: what the sizer learns from it, and how well it foretold it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from tomas.schema import ExecutionRecord, ProfileRow, ProfileSource, Tool
from tomas.sizing.learned import LearnedSizer
from tomas.sizing.run import Run, rounds, run_of_record, run_of_row, step_name

__all__ = ["Foretold", "Replay", "replay"]


@dataclass(frozen=True)
class Foretold:
    """One run that ended well, beside what was foretold from what had ended before it started.

    :ivar given_gb: the memory that would have been chosen; None: neither its tool nor its relatives had run yet.
    """

    tool: str
    input_bytes: float
    cores: float
    gpu_sm: float
    peak_gb: float
    latency_ms: float
    cpu_used: float
    output_bytes: float
    given_gb: float | None
    p50_ms: float | None
    p90_ms: float | None


@dataclass(frozen=True)
class Replay:
    """The sizer after all of history, and every run in it."""

    sizer: LearnedSizer
    runs: list[Foretold]
    broken: list[tuple[str, Run]]
    """Tries that ended out of memory, by tool, at their limits."""


def replay(
    profiles: Iterable[ProfileRow],
    records: Iterable[ExecutionRecord],
    tools: Iterable[Tool] = (),
    *,
    only: str | None = None,
) -> Replay:
    """Teach a new sizer all rows and records, each when it had ended.

    Measured profile rows come first and count as runs; given rows stand in for a tool without runs. Failed, killed
    and unfinished tries say nothing about needs.

    :param tools: of the registry; they tell which tools are of one family.
    :param only: the tool whose runs are foretold; None: all.
    """
    rows = rounds(profiles)
    result = Replay(LearnedSizer(tools, (row for row in rows if row.source is not ProfileSource.MEASURED)), [], [])
    for row in rows:
        if row.source is ProfileSource.MEASURED:
            run = run_of_row(row)
            if only in (None, row.tool):
                _foretell(result, row.tool, run)
            result.sizer.observe(row.tool, run)
    waiting: list[tuple[datetime, int, ExecutionRecord, Run]] = []
    ordered = sorted(records, key=lambda item: (item.started_at, item.plan_id, item.step_id, item.try_number))
    for number, record in enumerate(ordered):
        tried = run_of_record(record)
        if tried is None or record.ended_at is None:
            continue
        while waiting and waiting[0][0] <= record.started_at:
            _learn(result, *heapq.heappop(waiting)[2:])
        if tried.broken_step is None and only in (None, record.tool):
            _foretell(result, record.tool, tried)
        heapq.heappush(waiting, (record.ended_at, number, record, tried))
    while waiting:
        _learn(result, *heapq.heappop(waiting)[2:])
    return result


def _foretell(result: Replay, tool: str, run: Run) -> None:
    choice = result.sizer.choice(tool, run.input_bytes, gpu=run.gpu_sm > 0)
    known = choice.basis not in ("any", "prior")
    times = result.sizer.times_ms(tool, run.input_bytes, [run.cores], gpu_sm=run.gpu_sm)[0] if known else None
    result.runs.append(
        Foretold(
            tool, run.input_bytes, run.cores, run.gpu_sm, run.peak_gb, run.latency_ms or 1.0, run.cpu_used,
            run.output_bytes, choice.gb if known else None, None if times is None else float(times[0]),
            None if times is None else float(times[1]),
        )
    )  # fmt: skip


def _learn(result: Replay, record: ExecutionRecord, run: Run) -> None:
    result.sizer.observe(record.tool, run, step=step_name(record))
    if run.broken_step is not None:
        result.broken.append((record.tool, run))
