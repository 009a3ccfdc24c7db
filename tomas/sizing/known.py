"""What is known of one tool on one kind of device, from its own runs or in place of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tomas.sizing.latency import LatencySizer
from tomas.sizing.memory import MemoryBasis, MemoryChoice, MemoryExperience, MemoryRun, MemorySizer, MemoryTask
from tomas.sizing.mixture import FLAT_PRIOR, Array
from tomas.sizing.run import Run

__all__ = ["Experience", "Known"]

_LEVELS = (0.5, 0.9)
_MOST_FAILING = 0.05
_TRUSTED = 8
"""Runs of plans after which profile rows are no longer doubted."""


@dataclass(frozen=True)
class Experience:
    """What all tools together teach of any: the start of every tool's sizers."""

    memory: MemoryExperience = field(default_factory=lambda: MemoryExperience((), np.zeros_like(FLAT_PRIOR)))
    latency: tuple[float, ...] = ()

    @classmethod
    def of(cls, histories: Mapping[str, Sequence[Run]]) -> Experience:
        """What the runs of all tools teach one sizer, in turn: each tool's first runs, then its next ones."""
        memory, latency = MemorySizer(), LatencySizer()
        ended = {name: [run for run in runs if run.broken_step is None] for name, runs in histories.items()}
        places = [
            ((number + 0.5) / len(runs), name, number)
            for name, runs in ended.items()
            for number in range(len(runs))
        ]
        for _, name, number in sorted(places):
            run = ended[name][number]
            # With and without a GPU a tool has different needs.
            key = name if run.gpu_sm == 0 else f"{name} on a GPU"
            choice = memory.predict(MemoryTask(key, None, run.input_bytes))
            first_gb = choice.gb if choice.basis == "tool" else None
            memory.update(
                MemoryRun(
                    key, run.peak_gb, None, run.input_bytes, latency_ms=run.latency_ms, first_gb=first_gb
                )
            )  # fmt: skip
            latency.update(name, run.input_bytes, run.cores, run.latency_ms or 1.0, gpu_sm=run.gpu_sm)
        learned = memory.experience
        return cls(
            replace(
                learned,
                ranks=tuple(round(rank, 4) for rank in learned.ranks),
                weights=np.round(learned.weights, 6),
            ),
            tuple(round(rank, 4) for rank in latency.experience),
        )

    def to_payload(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "memory_ranks": list(self.memory.ranks),
            "memory_weights": self.memory.weights.tolist(),
            "ordinary_gbh": self.memory.ordinary_gbh,
            "raised": self.memory.raised,
            "latency_ranks": list(self.latency),
        }

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Experience:
        """The inverse of :meth:`to_payload`; weights of shapes that are no longer thought of are left out."""
        weights = np.array(payload["memory_weights"], dtype=float)
        if weights.shape != FLAT_PRIOR.shape:
            weights = np.zeros_like(FLAT_PRIOR)
        ranks = tuple(float(rank) for rank in payload["memory_ranks"])
        memory = MemoryExperience(ranks, weights, float(payload["ordinary_gbh"]), float(payload["raised"]))
        return cls(memory, tuple(float(rank) for rank in payload["latency_ranks"]))


class Known:
    """Memory and run time of one tool with or without a GPU.

    :ivar sources: runs that stand for it: its own, else its relatives', else its given profile rows.
    :ivar basis: whose they are; ``prior`` where there are none.
    """

    def __init__(
        self,
        tool: str,
        own: Sequence[Run],
        relatives: Mapping[str, Sequence[Run]],
        given: Sequence[Run],
        experience: Experience,
    ) -> None:
        """
        :param own: the tool's runs, those that broke among them, in the order of their ends.
        :param relatives: the runs of other tools of its family; asked where the tool has none that ended.
        :param given: profile rows that nobody measured; asked where the family has none either.
        """
        self.tool = tool
        self.memory = MemorySizer(experience=experience.memory)
        # What a failed try may cost is known from many tools' runs only; until then few of each may fail.
        self._priced = experience.memory.ordinary_gbh > 0
        self.latency = LatencySizer(experience.latency)
        self.basis: MemoryBasis = "prior"
        self.sources: list[Run] = []
        self.members: list[str] = []
        if any(run.broken_step is None for run in own):
            self.basis = "tool"
        elif len(relatives) > 1 and not own:
            self.basis = "family"
            for name, runs in relatives.items():
                for run in runs:
                    self._teach(name, run, family=tool)
                self.sources += runs
        elif given and not own:
            self.basis = "profile"
            for run in given:
                self._teach(tool, run, profile=True)
            self.sources = list(given)
        self.members = list(relatives) if self.basis == "family" else [tool]
        for run in own:
            self.learn(run)

    @property
    def runs(self) -> int:
        """How many runs that ended it rests on."""
        return sum(run.broken_step is None for run in self.sources)

    def learn(self, run: Run) -> None:
        """Learn from one more run of the tool itself, whose basis must be its own runs or none."""
        self._teach(self.tool, run)
        self.sources.append(run)

    def _teach(self, name: str, run: Run, *, family: str | None = None, profile: bool = False) -> None:
        broke = run.broken_step is not None
        self.memory.update(
            MemoryRun(
                name, run.peak_gb, family, run.input_bytes, out_of_memory=broke, step=run.broken_step,
                profile=profile, latency_ms=run.latency_ms if self._priced else None,
            )
        )  # fmt: skip
        if run.latency_ms is not None:
            self.latency.update(name, run.input_bytes, run.cores, run.latency_ms, gpu_sm=run.gpu_sm)

    @property
    def doubt(self) -> float:
        """How little the sources are known to tell of steps of plans, from 1 to 0: profile rows and relatives were
        measured on other inputs, perhaps elsewhere, and agree with each other more than with what comes."""
        if self.basis == "tool" and not any(run.profiled for run in self.sources):
            return 0.0
        return max(0.0, 1.0 - self.planned / _TRUSTED)

    @property
    def planned(self) -> int:
        """How many of the tool's own runs were steps of plans, and ended."""
        if self.basis != "tool":
            return 0
        return sum(run.broken_step is None and not run.profiled for run in self.sources)

    @property
    def broke_at_gb(self) -> float:
        """The largest limit at which a step broke that has not ended yet; 0 where none did."""
        return max((run.peak_gb for run in self.sources if run.broken_step is not None), default=0.0)

    def choice(self, input_bytes: float, cap_gb: float | None) -> MemoryChoice:
        """The memory of least expected cost under the ladder, but for 95 % of runs it is enough."""
        found = self.memory.predict(MemoryTask(self.tool, self.tool, input_bytes, cap_gb))
        least = found.p95_gb if cap_gb is None else min(found.p95_gb, cap_gb)
        return found if found.gb >= least else replace(found, gb=least, failing=_MOST_FAILING)

    def times_ms(self, input_bytes: float, cores: Sequence[float], gpu_sm: float) -> Array | None:
        """Median and 90 % quantile of run time, shape (cores, 2); None where nothing ran."""
        return self.latency.quantiles_ms(_LEVELS, self.members, input_bytes, cores, gpu_sm=gpu_sm)
