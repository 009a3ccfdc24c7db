"""From the state at the end of a simulation to its result."""

from __future__ import annotations

import numpy as np

from tomas.simulate.core import Engine
from tomas.simulate.result import BinRun, JobRun, JobState, SimulationResult, StepState

__all__ = ["collect"]


def collect(engine: Engine) -> SimulationResult:
    """The result of an engine that has run to its end."""
    last = max(engine.ended_at, default=0.0)
    if any(server.running for server in engine.servers):
        last = max(last, engine.now)
    for server in engine.servers:
        server.advance(engine.now)
    jobs = tuple(_job(engine, rank) for rank in range(len(engine.base)))
    return SimulationResult(
        jobs=jobs,
        bins=tuple(_bins(engine, last)),
        overloads=tuple(engine.record.overloads),
        failed_tries=tuple(engine.failed_tries),
        job=np.array(engine.job_of, dtype=np.int64),
        step=np.array([number for plan in engine.plan for number in range(plan.size)], dtype=np.int64),
        bin=np.array(engine.bin_of, dtype=np.int64),
        slots=np.array(engine.slots_of, dtype=np.int64),
        ready_ms=np.array(engine.ready),
        start_ms=np.array(engine.start),
        end_ms=np.array(engine.end),
        work_ms=np.array(engine.work),
        state=np.array(engine.state, dtype=np.int64),
        tries=np.array(engine.tries, dtype=np.int64),
        events=engine.events,
        end_at_ms=last,
        given=tuple(engine.given[index] for index in engine.order),
    )


def _bins(engine: Engine, last: float) -> list[BinRun]:
    """Means count from the first arrival to the last end."""
    first = engine.given[engine.order[0]].arrival_ms if engine.order else 0.0
    span = max(last - first, 0.0)
    tail = [0.0] * len(engine.servers)
    for step, end in enumerate(engine.end):
        held = end + engine.hand_over[engine.job_of[step]] - last
        if held > 0 and engine.state[step] == StepState.DONE:
            tail[engine.bin_of[step]] += held * engine.slots_of[step]
    found = []
    for server in engine.servers:
        before, until = server.capacity_area(first), server.capacity_area(last)
        areas = [*server.area[:4], server.area[4] - tail[server.index]]
        found.append(
            BinRun(
                server.place,
                tuple(area / span if span else 0.0 for area in areas),
                tuple((b - a) / span if span else 0.0 for a, b in zip(before, until, strict=True)),
                server.slow_ms,
                engine.record.usage(server),
            )
        )
    return found


def _job(engine: Engine, rank: int) -> JobRun:
    job = engine.given[engine.order[rank]]
    state, reason = JobState.DONE, ""
    if engine.left[rank]:
        state, reason = engine.failures.get(rank) or (JobState.STUCK, _why_stuck(engine, rank))
    return JobRun(
        engine.order[rank],
        job.workload.name,
        job.arrival_ms,
        engine.ended_at[rank],
        state,
        reason,
        job.workload.deadline_ms,
    )


def _why_stuck(engine: Engine, rank: int) -> str:
    """The first step that could go on but for its bin."""
    base = engine.base[rank]
    steps = engine.given[engine.order[rank]].workload.steps
    for number in range(engine.plan[rank].size):
        step = base + number
        server = engine.servers[engine.bin_of[step]]
        name = server.place.name
        if engine.state[step] == StepState.RUNNING:
            return f"step {steps[number].id} runs on {name}, which has no cores or GPU free for it any more"
        if engine.state[step] != StepState.WAITING:
            continue
        if server.lost:
            return f"step {steps[number].id} waits for {name}, which is lost"
        if engine.slots_of[step] > server.slots:
            return (
                f"step {steps[number].id} needs {engine.slots_of[step]} slots of {name}, "
                f"whose pool has {server.slots}"
            )
        return f"step {steps[number].id} was never chosen on {name}"
    return "no step of it could start"
