"""The sizer of plans: what each tool needs, learned from its runs, with fallbacks that name themselves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from tomas.schema import Bin, ExecutionRecord, ProfileRow, ProfileSource, Resources, Tool, pool_slots
from tomas.sizing.base import Mode
from tomas.sizing.kept import KeptRuns
from tomas.sizing.known import Experience, Known
from tomas.sizing.memory import MemoryChoice
from tomas.sizing.mixture import Array
from tomas.sizing.reason import why
from tomas.sizing.run import Run, rounds, run_of_record, run_of_row, runs_of_records, step_name
from tomas.sizing.stranger import Stranger
from tomas.sizing.usage import Quantiles, Usage, usage

__all__ = ["LearnedSizer"]

PAYLOAD_VERSION = 2
MEMORY_STEP_GB = 1.0 / 16.0
_LEAST_GAIN = 0.05
"""A mode with more cores is offered only if it is faster by this share."""
_MEMBERS = 4
_MARGIN, _MARGIN_GB = 0.25, 1.0 / 16.0
"""More memory where sources are doubted, see :attr:`~tomas.sizing.known.Known.doubt`."""
_GPU_SHARES = 3
_GPU_MARGIN = 1.1


class LearnedSizer:
    """Sizes steps from the runs of their tools, run by run.

    What it holds is runs: of each tool the recent ones and some older ones unlike them (see
    :class:`~tomas.sizing.kept.KeptRuns`). Memory and run time of a tool are learned from them when it is first
    asked for, which takes about 0.2 ms a run; so a plan pays for its own tools only, and what is written and read
    again sizes alike. A tool without runs is sized by its family (two tools with runs at least), by given profile
    rows, by what other tools need, or by a guess; modes say by which.

    :param tools: of the registry; they tell which tools are of one family.
    :param profiles: measured rows are runs, older than all records; given ones stand in for them.
    """

    def __init__(self, tools: Iterable[Tool] = (), profiles: Iterable[ProfileRow] = ()) -> None:
        self._families = {tool.name: tool.family for tool in tools}
        self._runs: dict[str, KeptRuns] = {}
        self._given: dict[str, list[Run]] = {}
        self._experience = Experience()
        self._until: datetime | None = None
        self._known: dict[tuple[str, bool], Known] = {}
        self._borrowed: set[str] = set()
        self._base: LearnedSizer | None = None
        self._add_rows(profiles)

    @classmethod
    def fit(
        cls,
        profiles: Iterable[ProfileRow],
        records: Iterable[ExecutionRecord],
        *,
        tools: Iterable[Tool] = (),
        base: LearnedSizer | None = None,
        until: datetime | None = None,
    ) -> LearnedSizer:
        """A sizer that knows what its tools teach of any tool, to be registered.

        :param base: to build on; it holds the profile rows then, and ``profiles`` and ``tools`` are not read.
        :param until: see :meth:`conclude`.
        """
        result = cls(tools, profiles) if base is None else base.branch()
        result.learn(records)
        result.conclude(until)
        return result

    def conclude(self, until: datetime | None) -> None:
        """Gather what the tools together teach of any.

        :param until: nothing that ended, or was measured, at this instant or later was learned.
        """
        self._experience = Experience.of({name: self._fair(name) for name in self.tools})
        self._known.clear()
        self._until = until

    @property
    def tools(self) -> list[str]:
        """Tools that have runs of their own."""
        return sorted(name for name, runs in self._runs.items() if runs.ended)

    def relatives(self, tool: str) -> list[str]:
        """Other tools of the same family."""
        family = self._families.get(tool)
        return sorted(name for name, other in self._families.items() if other == family and name != tool)

    def branch(self) -> LearnedSizer:
        """A sizer that knows the same and goes on apart; it costs next to nothing."""
        self._borrowed.update(self._runs)
        result = LearnedSizer()
        result._families, result._given = dict(self._families), self._given
        result._runs, result._borrowed = dict(self._runs), set(self._runs)
        result._experience, result._until = self._experience, self._until
        result._known, result._base = dict(self._known), self
        return result

    # --- learning -------------------------------------------------------------------------------------------

    def update(self, record: ExecutionRecord) -> None:
        """Learn from a try that ended; one that failed, was killed or still runs teaches nothing.

        The tries of a step are one run: what broke for memory says only "more than that", until the step ends.
        """
        run = run_of_record(record)
        if run is not None:
            self.observe(record.tool, run, step=step_name(record))

    def learn(self, records: Iterable[ExecutionRecord]) -> None:
        """Learn from tries in the order of their ends."""
        for record, run in runs_of_records(records):
            self.observe(record.tool, run, step=step_name(record))

    def observe(self, tool: str, run: Run, *, step: str | None = None) -> None:
        """Learn from one run.

        :param step: whose it is; what broke of the same step before then counts no more.
        """
        kept = self._runs.get(tool, KeptRuns())
        if tool in self._borrowed:
            self._borrowed.discard(tool)
            kept = kept.copy()
            self._forget(tool)
        self._runs[tool] = kept
        epoch, count = kept.epoch, len(kept)
        kept.add(run, step=step)
        known = self._known.get((tool, run.gpu_sm > 0))
        if known is None or known.basis != "tool" or kept.epoch != epoch or len(kept.tenants) > 1:
            self._forget(tool)
        elif len(kept) > count:
            known.learn(run)
        # What stands in for the runs of other tools may rest on this tool's.
        if self._known:
            self._known = {key: item for key, item in self._known.items() if item.basis == "tool"}

    def _forget(self, tool: str) -> None:
        for gpu in (False, True):
            self._known.pop((tool, gpu), None)

    def _add_rows(self, profiles: Iterable[ProfileRow]) -> None:
        """Given rows stand aside; measured ones are runs, unless this sizer was fitted when they were known."""
        known = {name for name, runs in self._runs.items() if runs.ended}
        given, fresh = [], []
        for row in profiles:
            if row.source is not ProfileSource.MEASURED:
                given.append(row)
            elif row.tool not in known or (
                self._until is not None and row.measured_at is not None and row.measured_at >= self._until
            ):
                fresh.append(row)
        for row in rounds(given):
            self._given.setdefault(row.tool, []).append(run_of_row(row))
        for row in rounds(fresh):
            self.observe(row.tool, run_of_row(row))

    # --- answers --------------------------------------------------------------------------------------------

    def modes(
        self, tool: Tool, input_bytes: float, bins: Sequence[Bin], *, fractions: Sequence[float] = ()
    ) -> list[Mode]:
        """Allocations of ``tool`` on an input of ``input_bytes`` bytes that fit a bin, whole cores first.

        Memory is what costs least under the ladder, capped at the largest bin that has the device; where even that
        would sooner break than not, there is no mode. Whether a GPU is used, and which share, is as in the runs.
        Latency never rises with cores.

        :param fractions: shares of a core to offer besides whole cores.
        """
        self._families.setdefault(tool.name, tool.family)
        result: list[Mode] = []
        for gpu_sm in self._kinds(tool.name):
            places = [place for place in bins if place.capacity.gpu_sm >= gpu_sm]
            if not places:
                continue
            cap = max(place.capacity.cpu_mem_gb for place in places)
            choice = self.choice(tool.name, input_bytes, cap_gb=cap, gpu=gpu_sm > 0)
            if choice.median_gb > cap:
                continue
            result += self._modes(tool, input_bytes, places, gpu_sm, choice, fractions)
        return result

    def _modes(
        self, tool: Tool, input_bytes: float, places: Sequence[Bin], gpu_sm: float, choice: MemoryChoice,
        fractions: Sequence[float],
    ) -> list[Mode]:  # fmt: skip
        by_place = {place.name: _core_choices(tool, place, fractions) for place in places}
        cores = sorted({count for counts in by_place.values() for count in counts})
        if not cores:
            return []
        times = dict(zip(cores, self.times_ms(tool.name, input_bytes, cores, gpu_sm=gpu_sm).tolist(), strict=True))
        known = self.known(tool.name, gpu_sm > 0)
        doubted_runs = known.planned if known.doubt else None
        uses = {count: self.usage(tool.name, input_bytes, count, gpu_sm=gpu_sm) for count in cores}
        cap = max(place.capacity.cpu_mem_gb for place in places)
        result: list[Mode] = []
        for place in places:
            fastest = math.inf
            for count in by_place[place.name]:
                p50, p90 = times[count]
                gpu_mem_gb = _memory_gb(uses[count].gpu_mem_gb.p95 * _GPU_MARGIN) if gpu_sm > 0 else 0.0
                allocation = Resources(
                    cpu_cores=count, cpu_mem_gb=min(_memory_gb(choice.gb), cap), gpu_sm=gpu_sm,
                    gpu_mem_gb=gpu_mem_gb,
                )  # fmt: skip
                if not allocation.fits(place.capacity) or p50 > fastest * (1.0 - _LEAST_GAIN):
                    continue
                fastest = p50
                result.append(
                    Mode(
                        bin=place.name,
                        allocation=allocation,
                        floor=allocation.model_copy(update={"cpu_cores": min(count, 1.0)}),
                        slots=pool_slots(allocation, place.capacity),
                        p50_ms=max(1.0, p50),
                        p90_ms=max(1.0, p90),
                        basis=choice.basis,
                        runs=choice.runs,
                        peak_gb=choice.p95_gb,
                        usage=uses[count],
                        why=why(tool, input_bytes, allocation, choice, p50, p90, doubted_runs),
                    )
                )
        return result

    def output_bytes(self, tool: Tool, input_bytes: float) -> float:
        """Expected bytes of all outputs together; the input's size where no run tells."""
        self._families.setdefault(tool.name, tool.family)
        return self.output(tool.name, input_bytes).p50

    def output(self, tool: str, input_bytes: float) -> Quantiles:
        """Quantiles of the bytes of all outputs together; the input's size where no run tells."""
        known = self.known(tool, self._kinds(tool)[0] > 0)
        found = usage(known.sources, input_bytes, 1.0, 0.0).output_bytes
        return found if found.p95 > 0 else Quantiles(max(0.0, input_bytes), max(0.0, input_bytes))

    def peak_gb(self, tool: Tool, input_bytes: float) -> float:
        """The least memory in GB that a run is given, over all kinds of device, were no bin too small."""
        self._families.setdefault(tool.name, tool.family)
        kinds = {gpu_sm > 0 for gpu_sm in self._kinds(tool.name)}
        return min(_memory_gb(self.choice(tool.name, input_bytes, gpu=gpu).gb) for gpu in kinds)

    def choice(
        self, tool: str, input_bytes: float, *, cap_gb: float | None = None, gpu: bool = False
    ) -> MemoryChoice:
        """The memory of a first try, before rounding, and what it rests on."""
        known = self.known(tool, gpu)
        if known.basis == "prior":
            return Stranger(self._runs).choice(input_bytes, cap_gb, known.broke_at_gb)
        found = known.choice(input_bytes, cap_gb)
        gb = found.gb * (1.0 + known.doubt * _MARGIN) + known.doubt * _MARGIN_GB
        return replace(found, gb=gb if cap_gb is None else min(gb, cap_gb))

    def times_ms(self, tool: str, input_bytes: float, cores: Sequence[float], *, gpu_sm: float = 0.0) -> Array:
        """Median and 90 % quantile of run time in ms, shape (cores, 2), never rising with cores or GPU share."""
        found = self.known(tool, gpu_sm > 0).times_ms(input_bytes, cores, gpu_sm)
        if found is None:
            found = Stranger(self._runs).times_ms(input_bytes, cores)
        result: Array = np.maximum.accumulate(found, axis=1)
        return result

    def usage(self, tool: str, input_bytes: float, cores: float, *, gpu_sm: float = 0.0) -> Usage:
        """What a run is foretold to use of its allocation."""
        return usage(self.known(tool, gpu_sm > 0).sources, input_bytes, cores, gpu_sm)

    def _kinds(self, tool: str) -> list[float]:
        """Shares of a GPU that runs of the tool (or what stands for them) had, 0 for none, commonest first."""
        for runs in (self._runs.get(tool, KeptRuns()), self._family_runs(tool), self._given.get(tool, ())):
            shares = Counter(run.gpu_sm for run in runs if run.broken_step is None)
            if shares:
                ordered = sorted(shares, key=lambda share: (-shares[share], share))
                gpus = [share for share in ordered if share > 0][:_GPU_SHARES]
                return [share for share in ordered if share in gpus or share == 0]
        return [0.0]

    def _family_runs(self, tool: str) -> list[Run]:
        members = [name for name in self.relatives(tool) if name in self._runs and self._runs[name].ended]
        return [run for name in members for run in self._runs[name]] if len(members) > 1 else []

    def _fair(self, tool: str) -> list[Run]:
        return self._runs[tool].fair() if tool in self._runs else []

    def known(self, tool: str, gpu: bool) -> Known:
        """What sizes a tool on one kind of device."""
        known = self._known.get((tool, gpu))
        if known is None and self._base is not None and tool in self._borrowed:
            # What this tool's runs taught is the same there, and stays for others that build on it.
            known = self._base.known(tool, gpu)
            known = known if known.basis == "tool" else None
        if known is None:

            def of_kind(runs: Iterable[Run]) -> list[Run]:
                return [run for run in runs if (run.gpu_sm > 0) == gpu]

            own = of_kind(self._fair(tool))
            others: dict[str, list[Run]] = {}
            if not own:
                found = {name: of_kind(self._fair(name)) for name in self.relatives(tool)}
                counts = {name: sum(run.broken_step is None for run in runs) for name, runs in found.items()}
                most = sorted((name for name in found if counts[name]), key=lambda name: (-counts[name], name))
                others = {name: found[name] for name in most[:_MEMBERS]}
            known = Known(tool, own, others, of_kind(self._given.get(tool, ())), self._experience)
        self._known[tool, gpu] = known
        return known

    # --- payload --------------------------------------------------------------------------------------------

    def to_payload(self) -> dict[str, Any]:
        """Plain JSON data, for the model registry: the runs themselves. Given profile rows are not in it."""
        return {
            "version": PAYLOAD_VERSION,
            "until": None if self._until is None else self._until.isoformat(),
            "tools": {name: [run.to_row() for run in runs] for name, runs in sorted(self._runs.items())},
            "experience": self._experience.to_payload(),
        }

    @classmethod
    def from_payload(
        cls, payload: Mapping[str, Any], *, tools: Iterable[Tool] = (), profiles: Iterable[ProfileRow] = ()
    ) -> LearnedSizer:
        """The inverse of :meth:`to_payload`.

        :param profiles: as they are now; of measured rows those are learned that came after the fit.
        :raises ValueError: the payload is of another version or malformed.
        """
        if payload.get("version") != PAYLOAD_VERSION:
            raise ValueError(f"sizing payload of version {payload.get('version')}, not {PAYLOAD_VERSION}")
        result = cls(tools)
        try:
            for name, rows in payload["tools"].items():
                result._runs[name] = KeptRuns(Run.from_row(row) for row in rows)
            result._experience = Experience.from_payload(payload["experience"])
            result._until = None if payload["until"] is None else datetime.fromisoformat(payload["until"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"malformed sizing payload: {error!r}") from error
        result._add_rows(profiles)
        return result


def _core_choices(tool: Tool, place: Bin, fractions: Sequence[float]) -> list[float]:
    """Shares of a core, then 1, 2, 4, … up to what the tool can use and the bin has."""
    most = min(float(tool.max_cores), place.capacity.cpu_cores)
    if most < 1.0:
        return [most] if most > 0 else []
    choices = {share for share in fractions if 0 < share < 1}
    cores = 1
    while cores <= most:
        choices.add(float(cores))
        cores *= 2
    choices.add(float(math.floor(most)))
    return sorted(choices)


def _memory_gb(gb: float) -> float:
    return max(1, math.ceil(gb / MEMORY_STEP_GB - 1e-6)) * MEMORY_STEP_GB
