"""What a simulation found: times of every step, fate of every job, use and overloads of every bin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

import numpy as np
import numpy.typing as npt

from tomas.simulate.workload import Job, SimBin

__all__ = ["BinRun", "FailedTry", "JobRun", "JobState", "Overload", "SimulationResult", "StepState", "Usage"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class StepState(IntEnum):
    """How far a step came."""

    PENDING = 0
    """A predecessor did not end."""
    WAITING = 1
    RUNNING = 2
    DONE = 3
    FAILED = 4


class JobState(StrEnum):
    """How a job ended."""

    DONE = "done"
    FAILED = "failed"
    """A step failed for good; what depends on it never ran."""
    STUCK = "stuck"
    """Steps wait for room that never comes."""
    REFUSED = "refused"
    """Planning it again found no place for it."""


@dataclass(frozen=True)
class JobRun:
    """One arrival and how it ended; times in ms from the start of the simulation."""

    job: int
    workload: str
    arrival_ms: float
    end_ms: float
    """When its last step ended that did."""
    state: JobState
    reason: str = ""
    deadline_ms: float | None = None
    """Counted from the arrival, as is the makespan."""

    @property
    def makespan_ms(self) -> float:
        """From its arrival to its end."""
        return self.end_ms - self.arrival_ms

    @property
    def lateness_ms(self) -> float | None:
        """By how much it ended after its deadline, negative if before; None without a deadline or an end."""
        if self.deadline_ms is None or self.state is not JobState.DONE:
            return None
        return self.makespan_ms - self.deadline_ms

    @property
    def missed(self) -> bool:
        """Whether it has a deadline and did not end within it."""
        if self.deadline_ms is None:
            return False
        return self.state is not JobState.DONE or self.makespan_ms > self.deadline_ms + 1e-6


@dataclass(frozen=True)
class FailedTry:
    """A try of a step that did not end well, whether or not a later one did."""

    job: int
    """Index into the result's jobs."""
    step: int
    bin: int
    """Index into the result's bins."""
    start_ms: float
    end_ms: float
    reason: str


@dataclass(frozen=True)
class Overload:
    """A stretch of time in which running steps held more of a resource than the bin had free."""

    bin: str
    resource: str
    start_ms: float
    end_ms: float
    used: float
    """The most that was held."""
    free: float
    """What was free at that instant."""
    steps: tuple[tuple[int, int], ...]
    """(job, step index) of those that held it then."""


@dataclass(frozen=True)
class Usage:
    """What a bin's running steps need over time: row ``i`` holds from ``times_ms[i]`` to the next.

    ``amounts`` has shape (k, 5): the four resources and slots. Cores or SMs above what is free mean that steps
    run slower.
    """

    times_ms: FloatArray
    amounts: FloatArray


@dataclass(frozen=True)
class BinRun:
    """One bin over the whole simulation."""

    bin: SimBin
    used: tuple[float, ...]
    """Mean over time of what was used of the four resources and the slots."""
    free: tuple[float, ...]
    """Mean over time of what there was."""
    slowed_ms: float
    """For how long its steps ran below full speed."""
    usage: Usage | None = None

    @property
    def utilisation(self) -> tuple[float, ...]:
        """Share used of the four resources and the slots; 0 of what the bin does not have."""
        return tuple(used / free if free > 0 else 0.0 for used, free in zip(self.used, self.free, strict=True))


@dataclass(frozen=True)
class SimulationResult:
    """Columns of all steps, job after job in the order of arrival; jobs; bins.

    A step that never started has NaN as start and end. ``bin`` holds indexes into ``bins``, -1 for a step that
    was never placed.
    """

    jobs: tuple[JobRun, ...]
    bins: tuple[BinRun, ...]
    overloads: tuple[Overload, ...]
    failed_tries: tuple[FailedTry, ...]
    """In the order in which they failed."""
    job: IntArray
    step: IntArray
    bin: IntArray
    slots: IntArray
    ready_ms: FloatArray
    start_ms: FloatArray
    end_ms: FloatArray
    work_ms: FloatArray
    """What each step takes at full speed."""
    state: IntArray
    tries: IntArray
    events: int
    """Starts and ends of steps."""
    end_at_ms: float
    """When the last event happened."""
    given: Sequence[Job] = field(default=(), repr=False)
    """The jobs as they were given, in the order of ``jobs``."""

    @property
    def wait_ms(self) -> FloatArray:
        """From being ready to starting; NaN for a step that never started."""
        return np.asarray(self.start_ms - self.ready_ms)

    @property
    def slowdown(self) -> FloatArray:
        """Time taken over time needed at full speed, 1 where nothing was short."""
        taken = self.end_ms - self.start_ms
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.work_ms > 0, taken / self.work_ms, np.where(np.isnan(taken), np.nan, 1.0))

    @property
    def done(self) -> bool:
        """Whether every job ended well."""
        return all(job.state is JobState.DONE for job in self.jobs)

    def rows(self, job: int) -> slice:
        """Where the steps of the job at index ``job`` of :attr:`jobs` stand in the columns."""
        first, last = np.searchsorted(self.job, [job, job + 1])
        return slice(int(first), int(last))
