"""The quantile sizer: allocations from the quantiles of history, with fallbacks that name themselves."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tomas.schema import Bin, ExecutionRecord, ProfileRow, Resources, Tool, pool_slots
from tomas.sizing.base import Basis, Mode
from tomas.sizing.curve import SizeCurve
from tomas.sizing.estimate import Estimate
from tomas.sizing.observation import Observation, observations

__all__ = ["QuantileSizer"]

PAYLOAD_VERSION = 1
MEMORY_STEP_GB = 0.25
_MEMORY_MARGIN = 1.15
_MEMORY_EXTRA_GB = 0.05
_LEAST_GAIN = 0.05
"""A mode with more cores is offered only if it is faster by this share."""
_PRIOR = Estimate(
    runs=0,
    parallel=0.5,
    latency=SizeCurve(((math.log(1e6), math.log(5000.0)),), 0.6),
    p50=0.0,
    p90=math.log(4.0),
    memory=SizeCurve(((math.log(1e6), math.log(0.5)),), 0.3),
    p95=math.log(1.5),
    output=None,
)
"""A guess for a tool of which nothing at all is known: 5 s and 0.5 GB for 1 MB."""


class QuantileSizer:
    """Sizes tools by quantiles of their runs; of their family's, or of all tools', where they have none."""

    def __init__(self, tools: Mapping[str, list[Estimate]], families: Mapping[str, list[Estimate]],
                 everything: Sequence[Estimate]) -> None:  # fmt: skip
        self._tools = dict(tools)
        self._families = dict(families)
        self._everything = list(everything)

    @classmethod
    def fit(
        cls, profiles: Iterable[ProfileRow], records: Iterable[ExecutionRecord], *, tools: Iterable[Tool] = ()
    ) -> QuantileSizer:
        """Fit profile rows and execution records.

        :param tools: of the registry; they tell which tools are of one family.
        """
        runs = observations(profiles, records)
        family_of = {tool.name: tool.family for tool in tools}
        by_tool: dict[str, list[Observation]] = {}
        by_family: dict[str, list[Observation]] = {}
        for run in runs:
            by_tool.setdefault(run.tool, []).append(run)
            if run.tool in family_of:
                by_family.setdefault(family_of[run.tool], []).append(run)
        return cls(
            {name: estimates for name, items in sorted(by_tool.items()) if (estimates := _by_device(items))},
            {name: estimates for name, items in sorted(by_family.items()) if (estimates := _by_device(items))},
            _by_device(runs),
        )

    @property
    def known_tools(self) -> list[str]:
        """Tools that have an estimate of their own."""
        return sorted(self._tools)

    def with_base(self, base: QuantileSizer, *, least_runs: int = 3) -> QuantileSizer:
        """This sizer, with ``base`` for tools of which it saw fewer than ``least_runs`` runs."""
        own = {name: items for name, items in self._tools.items() if sum(item.runs for item in items) >= least_runs}
        return QuantileSizer(
            {**self._tools, **base._tools, **own},
            {**base._families, **self._families},
            self._everything or base._everything,
        )

    def refreshed(self, base: QuantileSizer, fresh: Collection[str]) -> QuantileSizer:
        """``base``, with this sizer's estimates for the tools in ``fresh`` and those that ``base`` lacks."""
        own = {name: items for name, items in self._tools.items() if name in fresh or name not in base._tools}
        if not fresh:
            return QuantileSizer({**base._tools, **own}, {**self._families, **base._families}, base._everything)
        return QuantileSizer({**base._tools, **own}, {**base._families, **self._families}, self._everything)

    def modes(
        self, tool: Tool, input_bytes: float, bins: Sequence[Bin], *, fractions: Sequence[float] = ()
    ) -> list[Mode]:
        """Allocations of ``tool`` on an input of ``input_bytes`` bytes that fit a bin, whole cores first.

        Latency never rises with cores. Memory is the 95 % quantile of the peak plus a margin, rounded up to
        a quarter GB.

        :param fractions: shares of a core to offer besides whole cores.
        """
        estimates, basis = self._lookup(tool)
        result: list[Mode] = []
        for place in bins:
            for estimate in estimates:
                fastest = math.inf
                for cores in _core_choices(tool, place, fractions):
                    mode = _mode(tool, input_bytes, place, estimate, basis, cores)
                    if mode is not None and mode.p50_ms <= fastest * (1.0 - _LEAST_GAIN):
                        fastest = mode.p50_ms
                        result.append(mode)
        return result

    def output_bytes(self, tool: Tool, input_bytes: float) -> float:
        """Expected bytes of all outputs together; the input's size where no run tells."""
        estimates, basis = self._lookup(tool)
        curve = next((item.output for item in estimates if item.output is not None), None)
        if curve is None or basis in ("any", "prior"):
            return max(0.0, input_bytes)
        return curve.at(input_bytes)

    def peak_gb(self, tool: Tool, input_bytes: float) -> float:
        """The least memory in GB that a run is given, over all kinds of device."""
        return min(_memory_gb(estimate.peak_gb(input_bytes)) for estimate in self._lookup(tool)[0])

    def latency_ms(self, tool: Tool, input_bytes: float, cores: float) -> tuple[float, float]:
        """Median and 90 % quantile of latency without a GPU (with one where the tool always uses one)."""
        return self._lookup(tool)[0][0].latency_ms(input_bytes, cores)

    def to_payload(self) -> dict[str, Any]:
        """Plain JSON data, for the model registry."""
        return {
            "version": PAYLOAD_VERSION,
            "tools": {name: [item.to_payload() for item in items] for name, items in self._tools.items()},
            "families": {name: [item.to_payload() for item in items] for name, items in self._families.items()},
            "any": [item.to_payload() for item in self._everything],
        }

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> QuantileSizer:
        """The inverse of :meth:`to_payload`.

        :raises ValueError: the payload is of another version or malformed.
        """
        if payload.get("version") != PAYLOAD_VERSION:
            raise ValueError(f"sizing payload of version {payload.get('version')}, not {PAYLOAD_VERSION}")
        try:
            return cls(
                {name: [Estimate.from_payload(item) for item in items] for name, items in payload["tools"].items()},
                {
                    name: [Estimate.from_payload(item) for item in items]
                    for name, items in payload["families"].items()
                },
                [Estimate.from_payload(item) for item in payload["any"]],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"malformed sizing payload: {error!r}") from error

    def _lookup(self, tool: Tool) -> tuple[list[Estimate], Basis]:
        if tool.name in self._tools:
            return self._tools[tool.name], "tool"
        if tool.family in self._families:
            return self._families[tool.family], "family"
        if self._everything:
            return self._everything, "any"
        return [_PRIOR], "prior"


def _by_device(runs: Sequence[Observation]) -> list[Estimate]:
    """One estimate for runs without a GPU, and one per share of a GPU; without a GPU first."""
    devices: dict[float, list[Observation]] = {}
    for run in runs:
        devices.setdefault(round(run.gpu_sm, 1), []).append(run)
    fitted = [Estimate.fit(items) for _, items in sorted(devices.items())]
    return [item for item in fitted if item is not None]


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


def _memory_gb(peak_gb: float) -> float:
    steps = math.ceil((peak_gb * _MEMORY_MARGIN + _MEMORY_EXTRA_GB) / MEMORY_STEP_GB - 1e-9)
    return max(1, steps) * MEMORY_STEP_GB


def _mode(
    tool: Tool, input_bytes: float, place: Bin, estimate: Estimate, basis: Basis, cores: float
) -> Mode | None:
    peak = estimate.peak_gb(input_bytes)
    allocation = Resources(
        cpu_cores=cores, cpu_mem_gb=_memory_gb(peak), gpu_sm=estimate.gpu_sm, gpu_mem_gb=estimate.gpu_mem_gb
    )
    if not allocation.fits(place.capacity):
        return None
    p50, p90 = estimate.latency_ms(input_bytes, cores)
    floor = allocation.model_copy(update={"cpu_cores": min(cores, 1.0)})
    sources = {
        "tool": f"{estimate.runs} runs of {tool.name}",
        "family": f"{estimate.runs} runs of its family {tool.family}, for it has none of its own",
        "any": f"{estimate.runs} runs of other tools, for its family has none",
        "prior": "a guess, for there is no history at all",
    }
    why = (
        f"From {sources[basis]}: peak memory {peak:.2f} GB at the 95 % quantile for {input_bytes / 1e6:.2f} MB, "
        f"with margin {allocation.cpu_mem_gb:g} GB; on {cores:g} core(s) {p50 / 1000:.1f} s, "
        f"in nine of ten runs at most {p90 / 1000:.1f} s."
    )
    return Mode(
        bin=place.name,
        allocation=allocation,
        floor=floor,
        slots=pool_slots(allocation, place.capacity),
        p50_ms=max(1.0, p50),
        p90_ms=max(1.0, p90),
        basis=basis,
        runs=estimate.runs,
        peak_gb=peak,
        why=why,
    )
