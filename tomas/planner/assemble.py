"""From a draft to sized, placed and timed steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tomas.config import Settings
from tomas.errors import FitsNoBin, Infeasible
from tomas.planner import explain
from tomas.planner.base import Draft, DraftStep
from tomas.planner.context import Context
from tomas.planner.placing import place_steps, scheduling_info
from tomas.schedule import Schedule
from tomas.schema import (
    RESOURCE_NAMES,
    AllocationDecision,
    CapacityCurve,
    PlannerInfo,
    PlanStep,
    RequestBinding,
    RequestInput,
    Reservation,
    SchedulingInfo,
    Tool,
)
from tomas.sizing import Mode
from tomas.sizing.base import Basis

__all__ = ["Assembly", "assemble"]

_FRACTIONS = (0.25, 0.5, 0.75)
"""Shares of a core that are offered where no whole one is forecast free."""


@dataclass(frozen=True)
class Assembly:
    """Steps with sizes, places and times, and the curves they were scheduled under."""

    steps: list[PlanStep]
    curves: list[CapacityCurve]
    makespan_ms: float
    warnings: list[str]
    modes: Mapping[str, Mode]
    language: Literal["en", "zh"]
    wait_ms: float
    scheduling: SchedulingInfo

    def explanation(self, info: PlannerInfo, hand_over_ms: float) -> str:
        """The explanation in the language of the task."""
        return explain.explain(
            self.language,
            info,
            self.steps,
            self.modes,
            self.makespan_ms,
            self.wait_ms,
            hand_over_ms,
            self.scheduling,
        )


def assemble(
    drafted: Draft,
    context: Context,
    reservations: Sequence[Reservation],
    tools: Mapping[str, Tool],
    settings: Settings,
) -> Assembly:
    """Size every step from history and schedule all of them under the forecast.

    :raises FitsNoBin: a step is larger than every bin.
    :raises Infeasible: no schedule exists within capacity or deadline.
    """
    curves = context.curves(reservations, settings)
    warnings: list[str] = []
    sizes = _input_sizes(drafted, context, tools, warnings)
    modes = {step.id: _modes(step, sizes[step.id], context, tools) for step in drafted.steps}
    wait_ms = context.t_inf_ms + context.dispatch_lag_ms
    deadline_s = drafted.request.deadline_s
    deadline_ms = None if deadline_s is None else deadline_s * 1000.0 - wait_ms
    if deadline_ms is not None and deadline_ms <= 0:
        raise Infeasible(
            f"The deadline of {deadline_s:g} s is over before the first step can be queued, "
            f"after {wait_ms / 1000:.1f} s.",
            remedy="Allow more time.",
        )
    try:
        schedule = place_steps(drafted, modes, curves, reservations, context, settings, deadline_ms)
    except Infeasible:
        # Whole cores may all be taken by other work; a share of one is slower, but runs.
        shares = {
            step.id: _modes(step, sizes[step.id], context, tools, fractions=_FRACTIONS) for step in drafted.steps
        }
        if shares == modes:
            raise
        modes = shares
        schedule = place_steps(drafted, modes, curves, reservations, context, settings, deadline_ms)
        warnings.append("The workers are busy: some steps are planned with a share of a core, and take longer.")
    chosen = {item.activity: modes[item.activity][item.mode_index] for item in schedule.assignments}
    warnings += [
        f"{step.id}: {step.tool} has no runs yet; it is sized by {_BASIS[chosen[step.id].basis]}."
        for step in drafted.steps
        if chosen[step.id].basis != "tool"
    ]
    steps = _steps(drafted, schedule, chosen, sizes, context)
    return Assembly(
        steps=steps,
        curves=curves,
        makespan_ms=max(step.end_ms for step in steps),
        warnings=warnings,
        modes=chosen,
        language=drafted.language,
        wait_ms=wait_ms,
        scheduling=scheduling_info(schedule, max(step.end_ms for step in steps), settings.planner.schedule_limit_s),
    )


_BASIS: dict[Basis, str] = {
    "family": "those of its family",
    "profile": "given profile rows",
    "any": "those of other tools",
    "prior": "a guess",
}


def _input_sizes(
    drafted: Draft, context: Context, tools: Mapping[str, Tool], warnings: list[str]
) -> dict[str, float]:
    """Bytes that each step reads, along the graph; what later steps read is predicted."""
    produced: dict[tuple[str, str], float] = {}
    sizes: dict[str, float] = {}
    unknown: set[str] = set()
    for step in _in_order(drafted):
        tool = tools[step.tool]
        total = 0.0
        for bindings in step.inputs.values():
            for binding in bindings:
                if isinstance(binding, RequestBinding):
                    size = _given_bytes(drafted.request.inputs[binding.name])
                    if size is None:
                        size = float(tool.input_size.small_max_bytes)
                        unknown.add(binding.name)
                    total += size
                else:
                    total += produced.get((binding.step, binding.output), 0.0)
        sizes[step.id] = total
        share = context.sizer.output_bytes(tool, total) / len(tool.outputs)
        for port in tool.outputs:
            produced[step.id, port.name] = share
    warnings += [f"The size of the input {name} is not known; a small one is assumed." for name in sorted(unknown)]
    return sizes


def _in_order(drafted: Draft) -> list[DraftStep]:
    """Steps after those they depend on; a cyclic draft keeps its order and is refused by the scheduler."""
    done: set[str] = set()
    waiting = list(drafted.steps)
    ordered: list[DraftStep] = []
    while waiting:
        ready = [step for step in waiting if set(step.depends_on) <= done]
        if not ready:
            return [*ordered, *waiting]
        ordered += ready
        done |= {step.id for step in ready}
        waiting = [step for step in waiting if step.id not in done]
    return ordered


def _given_bytes(item: RequestInput) -> float | None:
    """The size of a request input: as given, else that of its local files; None where it cannot be known."""
    if item.bytes is not None:
        return float(item.bytes)
    total = 0
    for uri in item.uris:
        path = Path(uri.removeprefix("file://"))
        if "://" in str(uri).removeprefix("file://") or not path.is_file():
            return None
        total += path.stat().st_size
    return float(total) if item.uris else None


def _modes(
    step: DraftStep,
    input_bytes: float,
    context: Context,
    tools: Mapping[str, Tool],
    *,
    fractions: Sequence[float] = (),
) -> list[Mode]:
    tool = tools[step.tool]
    modes = context.sizer.modes(tool, input_bytes, context.bins, fractions=fractions)
    if modes:
        return modes
    need = context.sizer.peak_gb(tool, input_bytes)
    rooms = "; ".join(
        f"{place.name}: "
        + ", ".join(
            f"{getattr(place.capacity, name):g} {name}" for name in RESOURCE_NAMES if getattr(place.capacity, name)
        )
        for place in list(context.bins)[:6]
    )
    raise FitsNoBin(
        f"Step {step.id} ({tool.name}) on {input_bytes / 1e6:.2f} MB needs about {need:g} GB of memory or a device "
        f"that no worker has ({rooms}).",
        remedy="Add a larger worker (tomas worker classes), split the input, or choose a lighter tool.",
    )


def _steps(
    drafted: Draft, schedule: Schedule, chosen: Mapping[str, Mode], sizes: Mapping[str, float], context: Context
) -> list[PlanStep]:
    places = {place.name: place for place in context.bins}
    times = {item.activity: item for item in schedule.assignments}
    result = []
    for step in drafted.steps:
        mode, time = chosen[step.id], times[step.id]
        place = places[mode.bin]
        result.append(
            PlanStep(
                id=step.id,
                tool=step.tool,
                arguments=step.arguments,
                inputs=step.inputs,
                depends_on=step.depends_on,
                predicted_input_bytes=sizes[step.id],
                allocation=AllocationDecision(
                    proposed=step.proposed, floor=mode.floor, final=mode.allocation, why=mode.why
                ),
                latency_p50_ms=mode.p50_ms,
                latency_p90_ms=mode.p90_ms,
                start_ms=time.start_ms,
                end_ms=time.start_ms + mode.p90_ms,
                bin=place.name,
                worker_class=place.worker_class,
                queue=place.queue,
                pool=place.pool,
                pool_slots=mode.slots,
                confidence=step.confidence,
            )
        )
    return result
