"""Tables and pictures in the terminal. Text of users is never read as markup."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tomas.schema import ExecutionRecord, Outcome, Plan, PlanStep, ProfileRow, Resources, Sample, Tool, WorkerClass

__all__ = [
    "actual_table",
    "bins_table",
    "note",
    "outputs_table",
    "plan_tables",
    "print_event",
    "registry_table",
    "samples_table",
]

_PIPE_COLUMNS = 132
console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
_BAR_CELLS = 18


class _Availability(Protocol):
    @property
    def ok(self) -> bool: ...
    @property
    def reason(self) -> str: ...


def new_table(title: str, *columns: str, right: Iterable[str] = (), whole: Iterable[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, title_style="bold")
    aligned, unbroken = set(right), set(whole)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in aligned else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column in unbroken)
    return table


def amount(need: Resources) -> str:
    """An allocation in words, zero resources left out: ``2 cores, 1.5 GB``."""
    parts = [f"{need.cpu_cores:g} core{'' if need.cpu_cores == 1 else 's'}", f"{need.cpu_mem_gb:g} GB"]
    if need.gpu_sm or need.gpu_mem_gb:
        parts.append(f"GPU {need.gpu_sm:g} % {need.gpu_mem_gb:g} GB")
    return ", ".join(parts)


def seconds(milliseconds: float) -> str:
    """Milliseconds as seconds with a unit."""
    return f"{milliseconds / 1000:.2f} s"


def _bar(start: float, end: float, whole: float) -> Text:
    """A Gantt bar over ``whole``, one row of text."""
    scale = _BAR_CELLS / whole if whole > 0 else 0.0
    left = min(_BAR_CELLS - 1, int(start * scale))
    width = max(1, min(_BAR_CELLS - left, round((end - start) * scale)))
    return Text.assemble(("·" * left, "dim"), ("█" * width, "cyan"), ("·" * (_BAR_CELLS - left - width), "dim"))


def _distance(plan: Plan) -> str:
    if plan.scheduling is None:
        return ""
    gap = plan.scheduling.gap_pct
    return f" (at most {gap:.1f} % could be saved)" if gap > 0 else " (proven shortest)"


def plan_tables(plan: Plan) -> None:
    """The plan: what it does, where, with how much, when, and why."""
    planner = f"{plan.planner.kind} {plan.planner.version}"
    if plan.planner.model_version:
        planner += f" ({plan.planner.model_version})"
    if plan.planner.fallback_from:
        planner += f", instead of {plan.planner.fallback_from}: {plan.planner.fallback_reason}"
    console.print(Text.assemble(("Plan ", "bold"), plan.id, ("  task ", "dim"), plan.request.task))
    console.print(
        f"{len(plan.steps)} steps, makespan {seconds(plan.makespan_ms)}{_distance(plan)}, "
        f"planned by {escape(planner)}, T_inf {plan.t_inf_predicted_ms:.0f} ms predicted"
        + (f", {plan.t_inf_actual_ms:.0f} ms actual" if plan.t_inf_actual_ms is not None else "")
    )
    table = new_table(
        "",
        "step",
        "tool",
        "after",
        "queue / pool",
        "slots",
        "allocation",
        "p90",
        "from release",
        right=("slots", "p90"),
    )
    for step in plan.steps:
        route = step.queue if step.queue == step.pool else f"{step.queue} / {step.pool}"
        table.add_row(
            step.id,
            step.tool,
            ", ".join(step.depends_on) or "–",
            route,
            str(step.pool_slots),
            amount(step.allocation.final),
            seconds(step.latency_p90_ms),
            _bar(step.start_ms, step.end_ms, plan.makespan_ms),
        )
    console.print(table)
    for name, binding in plan.outputs.items():
        console.print(Text.assemble(("Result ", "bold"), name, f" = {binding.output} of {binding.step}"))
    if plan.explanation:
        console.print(Text(plan.explanation))
    if plan.narrative:
        console.print(Text.assemble(("In the model's own words: ", "bold"), plan.narrative))
    for warning in plan.warnings:
        console.print(Text.assemble(("Warning: ", "yellow"), warning))


def note(text: str) -> None:
    """An aside."""
    console.print(Text(text, "dim"))


def _last_tries(records: Sequence[ExecutionRecord]) -> dict[str, ExecutionRecord]:
    last: dict[str, ExecutionRecord] = {}
    for record in sorted(records, key=lambda item: item.try_number):
        last[record.step_id] = record
    return last


def actual_table(plan: Plan, records: Sequence[ExecutionRecord]) -> None:
    """Plan against actual, step by step; times count from the first step's start."""
    last = _last_tries(records)
    first = min((record.started_at for record in last.values()), default=plan.release_at)
    right = ("start plan", "start", "end plan", "end", "peak / limit", "CPU")
    table = new_table("Plan against actual", "step", "tool", "outcome", *right, right=right)
    for step in plan.steps:
        table.add_row(*_actual_row(step, last.get(step.id), first.timestamp() * 1000))
    console.print(table)


def _actual_row(step: PlanStep, record: ExecutionRecord | None, first_ms: float) -> list[str | Text]:
    planned_start, planned_end = seconds(step.start_ms), seconds(step.end_ms)
    if record is None:
        return [step.id, step.tool, Text("not run", "yellow"), planned_start, "–", planned_end, "–", "–", "–"]
    started = record.started_at.timestamp() * 1000 - first_ms
    usage = record.usage
    style = "green" if usage.outcome is Outcome.SUCCESS else "red"
    return [
        step.id,
        step.tool,
        Text(usage.outcome.value, style),
        planned_start,
        seconds(started),
        planned_end,
        seconds(started + usage.wall_ms),
        f"{usage.peak_mem_gb:.2f} / {record.requested.cpu_mem_gb:g} GB",
        f"{usage.cpu_seconds:.2f} s",
    ]


def outputs_table(plan: Plan, records: Sequence[ExecutionRecord]) -> None:
    """Where the results lie: the declared ones, or those of the last steps."""
    last = _last_tries(records)
    consumed = {parent for step in plan.steps for parent in step.depends_on}
    wanted = {(b.step, b.output): name for name, b in plan.outputs.items()}
    for step_id, record in last.items():
        for artifact in record.outputs:
            name = wanted.get((step_id, artifact.name))
            if name is None and (wanted or step_id in consumed):
                continue
            console.print(Text.assemble(("Result ", "bold green"), f"{name or artifact.name}: ", artifact.uri))
        if record.error:
            console.print(Text.assemble((f"{step_id}: ", "bold red"), record.error))


def print_event(event: object) -> None:
    """One line per event of a local run."""
    console.print(Text(str(event)))


def registry_table(rows: Sequence[tuple[Tool, _Availability]], profiles: Sequence[ProfileRow]) -> None:
    """Every tool with its ports, its profile rows, and whether it runs here."""
    counts = Counter((row.tool, row.source.value) for row in profiles)
    table = new_table("Tools", "tool", "takes", "gives", "cores", "profile rows", "runs here", right=("cores",))
    for tool, state in rows:
        measured, given = counts[tool.name, "measured"], counts[tool.name, "given"]
        table.add_row(
            tool.name,
            ", ".join(f"{port.name}{'' if port.required else '?'}: {port.type}" for port in tool.inputs),
            ", ".join(f"{port.name}: {port.type}" for port in tool.outputs),
            f"≤ {tool.max_cores}",
            f"{measured} measured" if measured else f"{given} given",
            Text("yes", "green") if state.ok else Text(f"no: {state.reason}", "yellow"),
        )
    console.print(table)


def bins_table(classes: Sequence[WorkerClass]) -> None:
    """Every bin with its route and capacity."""
    table = new_table("Bins", "bin", "class", "queue", "pool", "capacity")
    for item in classes:
        for worker in item.bins:
            table.add_row(worker.name, item.name, worker.queue, worker.pool, amount(worker.capacity))
    console.print(table)


def samples_table(samples: Sequence[Sample]) -> None:
    """One reading of the bins."""
    table = new_table("Free now", "bin", "at", "free", "background", "reserved")
    for sample in samples:
        table.add_row(
            sample.bin,
            sample.at.isoformat(timespec="seconds"),
            amount(sample.free),
            amount(sample.background),
            amount(sample.reserved),
        )
    console.print(table)
