"""What many runs say together: makespans, waits, utilisation, missed deadlines, and the bottleneck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tomas.schema import RESOURCE_NAMES
from tomas.simulate.chain import Chain, add_chains
from tomas.simulate.result import JobState, SimulationResult
from tomas.simulate.workload import Workload

__all__ = ["BinSummary", "Spread", "Summary", "Tally", "WorkloadSummary"]

_WORTH_NAMING = 0.2
"""Share of the time from which on the second largest part is named too."""


@dataclass(frozen=True)
class Spread:
    """Quantiles of a set of numbers; NaN where it is empty."""

    p10: float
    p50: float
    p90: float
    max: float
    mean: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The quantiles of ``values``."""
        if not len(values):
            return cls(*[float("nan")] * 5)
        array = np.asarray(values, dtype=np.float64)
        p10, p50, p90 = (float(value) for value in np.quantile(array, [0.1, 0.5, 0.9]))
        return cls(p10, p50, p90, float(array.max()), float(array.mean()))


@dataclass(frozen=True)
class WorkloadSummary:
    """All jobs of one plan, over all runs."""

    name: str
    title: str
    jobs: int
    done: int
    makespan_ms: Spread
    """Of the jobs that ended."""
    planned_ms: float | None
    deadline_ms: float | None
    missed: float | None
    """Share of jobs that did not end within the deadline; None without one."""
    reasons: dict[str, int]
    """Why jobs did not end, and how many."""


@dataclass(frozen=True)
class BinSummary:
    """One bin over all runs."""

    name: str
    worker_class: str
    steps: float
    """Started per run."""
    wait_ms: Spread
    """Of those steps, from being ready to starting."""
    utilisation: dict[str, float]
    """By resource, and ``slots``: mean share used. What the bin does not have is left out."""
    slowed_share: float
    """Share of the time in which its steps ran below full speed."""
    overloads: float
    """Stretches of memory overload per run."""


@dataclass(frozen=True)
class Summary:
    """The answer to a what-if."""

    runs: int
    makespan_ms: Spread
    """Of the jobs of all plans that ended."""
    missed: float | None
    """Share of the jobs with a deadline that did not end within it; None where no plan has one."""
    workloads: tuple[WorkloadSummary, ...]
    bins: tuple[BinSummary, ...]
    bottleneck: str
    chain: Chain


@dataclass
class _BinTally:
    waits: list[float] = field(default_factory=list)
    used: list[tuple[float, ...]] = field(default_factory=list)
    slowed: list[float] = field(default_factory=list)
    columns: set[int] = field(default_factory=set)
    """Resources that the bin had at any time."""
    overloads: int = 0


class Tally:
    """Collects runs of one scenario; keeps a few numbers per job and step, not the results."""

    def __init__(self, workloads: Sequence[Workload]) -> None:
        self._workloads = workloads
        self._makespans: dict[str, list[float]] = {one.name: [] for one in workloads}
        self._missed: Counter[str] = Counter()
        self._jobs: Counter[str] = Counter()
        self._reasons: dict[str, Counter[str]] = {one.name: Counter() for one in workloads}
        self._bins: dict[str, _BinTally] = {}
        self._classes: dict[str, str] = {}
        self._chain = Chain()
        self.ends: list[float] = []
        """Per run, the longest makespan; infinite where a job did not end."""

    def add(self, result: SimulationResult) -> None:
        """Count one run."""
        longest = 0.0
        for job in result.jobs:
            self._jobs[job.workload] += 1
            self._missed[job.workload] += job.missed
            if job.state is JobState.DONE:
                self._makespans[job.workload].append(job.makespan_ms)
                longest = max(longest, job.makespan_ms)
            else:
                self._reasons[job.workload][job.reason] += 1
                longest = float("inf")
        self.ends.append(longest)
        overloads = Counter(one.bin for one in result.overloads)
        first = result.jobs[0].arrival_ms if result.jobs else 0.0
        span = result.end_at_ms - first
        waits = result.wait_ms
        for number, run in enumerate(result.bins):
            tally = self._bins.setdefault(run.bin.name, _BinTally())
            self._classes[run.bin.name] = run.bin.worker_class
            mine = waits[(result.bin == number) & ~np.isnan(waits)]
            tally.waits.extend(mine.tolist())
            tally.used.append(run.utilisation)
            tally.slowed.append(run.slowed_ms / span if span > 0 else 0.0)
            tally.overloads += overloads[run.bin.name]
            tally.columns.update(column for column, value in enumerate(run.free) if value > 0)
        add_chains(result, self._chain)

    def summary(self) -> Summary:
        """What all runs so far say."""
        runs = max(1, len(self.ends))
        bins = tuple(self._bin(name, runs) for name in self._bins)
        workloads = tuple(self._workload(one) for one in self._workloads)
        makespans = [value for one in self._makespans.values() for value in one]
        timed = sum(self._jobs[one.name] for one in self._workloads if one.deadline_ms is not None)
        missed = self._missed.total() / timed if timed else None
        sentence = bottleneck(workloads, bins, self._chain)
        return Summary(runs, Spread.of(makespans), missed, workloads, bins, sentence, self._chain)

    def _workload(self, one: Workload) -> WorkloadSummary:
        makespans, jobs = self._makespans[one.name], self._jobs[one.name]
        return WorkloadSummary(
            one.name,
            one.title,
            jobs,
            len(makespans),
            Spread.of(makespans),
            one.planned_makespan_ms,
            one.deadline_ms,
            None if one.deadline_ms is None else self._missed[one.name] / max(1, jobs),
            dict(self._reasons[one.name].most_common()),
        )

    def _bin(self, name: str, runs: int) -> BinSummary:
        tally = self._bins[name]
        means = np.mean(np.array(tally.used), axis=0)
        names = (*RESOURCE_NAMES, "slots")
        return BinSummary(
            name,
            self._classes[name],
            len(tally.waits) / runs,
            Spread.of(tally.waits),
            {names[column]: float(means[column]) for column in sorted(tally.columns)},
            float(np.mean(tally.slowed)),
            tally.overloads / runs,
        )


def bottleneck(workloads: Sequence[WorkloadSummary], bins: Sequence[BinSummary], chain: Chain) -> str:
    """What the time from arrival to end goes to most, in one sentence."""
    unfinished = sum(one.jobs - one.done for one in workloads)
    if unfinished:
        jobs = sum(one.jobs for one in workloads)
        reasons: Counter[str] = Counter()
        for one in workloads:
            reasons.update(one.reasons)
        return f"{unfinished} of {jobs} jobs do not end; most often because {reasons.most_common(1)[0][0]}."
    total = chain.total
    if total <= 0:
        return "Nothing takes any time."
    spent = {
        _work_words(chain, total): sum(chain.work.values()),
        _wait_words(chain, bins): sum(chain.wait.values()),
        _slow_words(chain): sum(chain.slow.values()),
        "Airflow's hand-over from step to step": chain.hand_over,
        "work that a failure undid": chain.lost,
    }
    first, second = sorted(spent, key=lambda words: -spent[words])[:2]
    text = f"{spent[first] / total:.0%} of the time from arrival to end is {first}"
    if spent[second] / total >= _WORTH_NAMING:
        return f"{text}; {spent[second] / total:.0%} is {second}."
    return text + (": more bins would help little." if first.startswith("work of") else ".")


def _work_words(chain: Chain, total: float) -> str:
    if not chain.work:
        return "work"
    (place, step), most = chain.work.most_common(1)[0]
    return f"work of steps that follow one another, most of it {step} on {place} ({most / total:.0%})"


def _slow_words(chain: Chain) -> str:
    place = chain.slow.most_common(1)[0][0] if chain.slow else ""
    return f"slowdown, most of it on {place}, whose steps need more cores or GPU than it has free"


def _wait_words(chain: Chain, bins: Sequence[BinSummary]) -> str:
    name = chain.wait.most_common(1)[0][0] if chain.wait else ""
    return f"waiting for room, most of it on {name}{_fullest(name, bins)}"


def _fullest(name: str, bins: Sequence[BinSummary]) -> str:
    place = next((one for one in bins if one.name == name), None)
    if place is None or not place.utilisation:
        return ""
    used = {key: value for key, value in place.utilisation.items() if key != "slots"}
    resource = max(used, key=lambda key: used[key]) if used else "slots"
    slots = place.utilisation.get("slots", 0.0)
    return f" ({slots:.0%} of its slots taken, {used.get(resource, 0.0):.0%} of its {resource} used)"
