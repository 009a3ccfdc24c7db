"""The two protocols of the sizing benchmark, and what an allocation costs under the shared ladder."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from benchmarks.sizing_baselines import Baseline
from benchmarks.sizing_traces import GB, Task
from tomas.sizing import Ladder, LatencySizer, MemoryRun, MemorySizer, MemoryTask

__all__ = ["LADDER", "Chosen", "Method", "PerProcess", "Tomas", "cost", "prequential", "shuffled", "totals"]

LADDER = Ladder()
_TOMAS_GB = 2.0**30 / GB
"""Of TOMAS's GB in those of this benchmark."""
_LEAST_RUNS = 34
"""The published protocol leaves out processes with fewer tasks."""


@dataclass(frozen=True)
class Chosen:
    """What one method gave one task."""

    task: Task
    first_gb: float
    warm: bool
    """A run of its process had completed before it was submitted."""
    basis: str = ""
    latency_ms: float | None = None
    """Foretold median."""


class Method(Protocol):
    """A sizer of all processes of a workflow."""

    def choose(self, task: Task) -> tuple[float, str, float | None]:
        """First allocation in GB, what it rests on, and the foretold run time in ms where there is one."""
        ...

    def learn(self, task: Task) -> None:
        """A task completed."""
        ...


class PerProcess:
    """A baseline, one instance a process; the user's request where it knows nothing."""

    def __init__(self, make: Callable[[], Baseline]) -> None:
        self._make = make
        self._known: dict[str, Baseline] = {}

    def choose(self, task: Task) -> tuple[float, str, float | None]:
        """The baseline's prediction."""
        state = self._known.get(task.process)
        guess = None if state is None else state.predict(task)
        return (task.request_gb, "request", None) if guess is None else (guess, "tool", None)

    def learn(self, task: Task) -> None:
        """Update the process's instance."""
        self._known.setdefault(task.process, self._make()).update(task)


class Tomas:
    """TOMAS's memory and latency sizers, timed."""

    def __init__(self, *, inputs: bool) -> None:
        """
        :param inputs: dispatch time: input sizes are known; else planning time.
        """
        self._inputs = inputs
        self._memory = MemorySizer(LADDER)
        self._latency = LatencySizer()
        self._given: dict[int, float] = {}
        """What tasks that have not completed were given first, where runs of their own process told."""
        self.predict_s: list[float] = []
        self.update_s: list[float] = []

    def choose(self, task: Task) -> tuple[float, str, float | None]:
        """The memory sizer's choice and the latency sizer's median."""
        size = task.input_bytes if self._inputs else None
        wanted = MemoryTask(task.process, task.family, size, task.request_gb / _TOMAS_GB)
        started = time.thread_time()
        choice = self._memory.predict(wanted)
        self.predict_s.append(time.thread_time() - started)
        if choice.basis == "tool":
            self._given[id(task)] = choice.gb
        return choice.gb * _TOMAS_GB, choice.basis, self._latency.median_ms(task.process, size, task.cores)

    def learn(self, task: Task) -> None:
        """Update both sizers."""
        size = task.input_bytes if self._inputs else None
        run = MemoryRun(
            task.process, task.peak_gb / _TOMAS_GB, task.family, size, cap_gb=task.request_gb / _TOMAS_GB,
            latency_ms=task.runtime_ms, first_gb=self._given.pop(id(task), None),
        )  # fmt: skip
        started = time.thread_time()
        self._memory.update(run)
        self.update_s.append(time.thread_time() - started)
        self._latency.update(task.process, size, task.cores, task.runtime_ms)

    def pair_ms_p99(self) -> float:
        """The 99 % quantile of one prediction and one update together, ms of processor time."""
        pairs = min(len(self.predict_s), len(self.update_s))
        both = np.array(self.predict_s[:pairs]) + np.array(self.update_s[:pairs])
        return 1000.0 * float(np.quantile(both, 0.99))


def prequential(tasks: Sequence[Task], method: Method) -> Iterator[Chosen]:
    """Every task in the order of submission; a method knows what completed before that instant, and no more."""
    running: list[tuple[float, int, Task]] = []
    done: set[str] = set()
    for number, task in enumerate(sorted(tasks, key=lambda task: task.submit_ms)):
        while running and running[0][0] < task.submit_ms:
            ended = heapq.heappop(running)[2]
            done.add(ended.process)
            method.learn(ended)
        first, basis, latency = method.choose(task)
        yield Chosen(task, first, task.process in done, basis, latency)
        heapq.heappush(running, (task.complete_ms, number, task))


def shuffled(tasks: Sequence[Task], method: Method, seed: int) -> Iterator[Chosen]:
    """The literature's protocol: of each process 30 % of the tasks are known, the rest come one by one, each known
    as soon as it was sized. Processes with fewer than 34 tasks, or with one of no run time, are left out."""
    for items in _processes(tasks):
        if len(items) < _LEAST_RUNS or any(task.runtime_ms == 0 for task in items):
            continue
        order = np.random.RandomState(seed).permutation(len(items))
        tested = math.ceil(0.7 * len(items))
        for place in order[tested:]:
            method.learn(items[place])
        for place in order[:tested]:
            first, basis, latency = method.choose(items[place])
            yield Chosen(items[place], first, True, basis, latency)
            method.learn(items[place])


def _processes(tasks: Sequence[Task]) -> list[list[Task]]:
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.process, []).append(task)
    return list(groups.values())


def cost(chosen: Chosen, *, raised: float = 1.0) -> tuple[float, int]:
    """GB·h wasted by a task, and its failed tries.

    :param raised: factor on the first allocation.
    """
    task = chosen.task
    given = LADDER.tries(chosen.first_gb * raised, task.peak_gb, max(task.request_gb, 0.0))
    return (sum(given) - task.peak_gb) * task.runtime_ms / 3.6e6, len(given) - 1


@dataclass
class _Sum:
    waste_gbh: float = 0.0
    failed: int = 0
    tasks: int = 0
    parts: list[float] = field(default_factory=list)


def totals(chosen: Sequence[Chosen], *, raised: float = 1.0) -> dict[str, float]:
    """``waste_gbh``, ``failed_pct`` (failed tries per 100 tasks) and ``tasks``."""
    total = _Sum()
    for item in chosen:
        waste, failed = cost(item, raised=raised)
        total.waste_gbh += waste
        total.failed += failed
        total.tasks += 1
    return {
        "waste_gbh": total.waste_gbh,
        "failed_pct": 100.0 * total.failed / max(1, total.tasks),
        "tasks": total.tasks,
    }
