"""A what-if as a whole: plans, bins, arrivals and rules, run once or many times."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tomas.errors import DataError
from tomas.schedule import schedule
from tomas.simulate.arrivals import MAX_ARRIVALS, Arrivals
from tomas.simulate.engine import simulate
from tomas.simulate.latency import Latency
from tomas.simulate.replan import Replanner
from tomas.simulate.result import SimulationResult
from tomas.simulate.summary import Summary, Tally
from tomas.simulate.workload import Job, SimBin, Workload

__all__ = ["Scenario", "run_many"]

_WORK, _ARRIVALS = 0, 1


@dataclass(frozen=True)
class Scenario:
    """Everything that determines a run but its number. Each workload arrives by a process of its own."""

    workloads: tuple[Workload, ...]
    bins: tuple[SimBin, ...]
    arrivals: Arrivals = field(default_factory=Arrivals)
    latency: Latency = "sampled"
    replan: bool = False
    schedule_limit_s: float = 0.0
    """What improving each schedule of ``replan`` may take; 0 keeps the list schedule."""
    retries: int = 0
    oom: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        names = [one.name for one in self.workloads]
        if not names or len(set(names)) < len(names):
            raise DataError(
                f"The workloads are called {', '.join(names) or '(there is none)'}.",
                remedy="Give at least one, and every one a name of its own.",
            )

    def jobs(self, run: int) -> list[Job]:
        """What arrives in a run, workload by workload.

        :raises DataError: it is more than a simulation takes.
        """
        found = []
        for number, workload in enumerate(self.workloads):
            times = self.arrivals.draw((self.seed, run, _ARRIVALS, number))
            found += [Job(workload, time) for time in times]
            if len(found) > MAX_ARRIVALS:
                raise DataError(
                    f"More than {MAX_ARRIVALS:,} jobs would arrive.",
                    remedy="Simulate fewer plans, or a shorter time.",
                )
        return found

    def run(
        self, run: int = 0, *, usage: bool = True, on_progress: Callable[[int, int], None] | None = None
    ) -> SimulationResult:
        """One run; the same number gives the same result."""
        solve = partial(schedule, limit_s=self.schedule_limit_s)
        return simulate(
            self.jobs(run),
            self.bins,
            seed=(self.seed, run, _WORK),
            latency=self.latency,
            placer=Replanner(self.bins, solve) if self.replan else None,
            retries=self.retries,
            oom=self.oom,
            usage=usage,
            on_progress=on_progress,
        )


def run_many(
    scenario: Scenario, runs: int, *, on_progress: Callable[[float], None] | None = None
) -> tuple[Summary, int]:
    """Run a scenario ``runs`` times: the summary, and the number of the run whose longest makespan is the median.

    :param on_progress: called now and then with the share done.
    :raises DataError: there are no runs.
    """
    if runs < 1:
        raise DataError(f"{runs} runs show nothing.", remedy="Ask for at least one run.")
    tally = Tally(scenario.workloads)
    for number in range(runs):

        def inside(done: int, whole: int, number: int = number) -> None:
            if on_progress is not None:
                on_progress((number + done / max(1, whole)) / runs)

        tally.add(scenario.run(number, usage=False, on_progress=inside))
        inside(1, 1)
    middle = statistics.median_low(tally.ends)
    return tally.summary(), tally.ends.index(middle)
