"""Where a job's time went: the steps that determined its end, cut into work, slowdown, waits and hand-overs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from tomas.simulate.result import JobState, SimulationResult

__all__ = ["Chain", "add_chains"]


@dataclass
class Chain:
    """Milliseconds along the critical chains of jobs that ended; they add up to the jobs' makespans."""

    work: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (bin, "step (tool)"): at full speed."""
    slow: Counter[str] = field(default_factory=Counter)
    """By bin: longer than at full speed."""
    wait: Counter[str] = field(default_factory=Counter)
    """By bin: ready, but its pool had no room."""
    hand_over: float = 0.0
    lost: float = 0.0
    """From being ready to a try that failed, and until the next try."""

    @property
    def total(self) -> float:
        """All of it."""
        parts = (self.work, self.slow, self.wait)
        return sum(sum(part.values()) for part in parts) + self.hand_over + self.lost


def add_chains(result: SimulationResult, chain: Chain) -> None:
    """Add the critical chains of all jobs that ended well.

    From the step that ended last, each time to the predecessor that ended last.
    """
    names = [run.bin.name for run in result.bins]
    for rank, job in enumerate(result.jobs):
        steps = result.given[rank].workload.steps
        if job.state is not JobState.DONE or not steps:
            continue
        rows = result.rows(rank)
        ready, start = result.ready_ms[rows].tolist(), result.start_ms[rows].tolist()
        end, work, places = result.end_ms[rows].tolist(), result.work_ms[rows].tolist(), result.bin[rows].tolist()
        tries = result.tries[rows].tolist()
        number = max(range(len(steps)), key=lambda i: (end[i], i))
        while True:
            step, name = steps[number], names[places[number]]
            begun = max((end[before] for before in step.after), default=job.arrival_ms)
            chain.work[name, f"{step.id} ({step.tool})" if step.tool else step.id] += work[number]
            chain.slow[name] += max(0.0, end[number] - start[number] - work[number])
            chain.wait[name] += start[number] - ready[number]
            if tries[number] > 1:
                # A step that is tried again is ready anew after its failure.
                hand_over = min(result.given[rank].workload.hand_over_ms, ready[number] - begun)
                chain.lost += ready[number] - begun - hand_over
                chain.hand_over += hand_over
            else:
                chain.hand_over += ready[number] - begun
            if not step.after or math.isnan(begun):
                break
            number = max(step.after, key=lambda before: (end[before], before))
