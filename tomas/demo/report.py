"""What the demo shows of a run: its plan, plan against actual, and whether every step kept its route."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from tomas.demo.metadata import TaskInstanceRow
from tomas.schema import ExecutionRecord, Outcome, Plan, PlanStep, Resources

__all__ = ["actual_table", "failure_text", "plan_table", "planned_by", "result_text", "route_deviations"]


def planned_by(plan: Plan) -> str:
    """Planner and version (of a model: its folder and the hash of its files), and for whom it stood in, and why."""
    planner = plan.planner
    name = f"{planner.kind} {planner.version}"
    if planner.fallback_from is None:
        return name
    return f"{name}, in place of {planner.fallback_from}: {planner.fallback_reason}"


def plan_table(plan: Plan) -> Table:
    """Steps with tool, predecessors, route and allocation."""
    table = _table(
        f"Plan {plan.id[:8]}: {len(plan.steps)} steps by {plan.planner.kind} {plan.planner.version}",
        ["Step", "Tool", "After", "Queue", "Pool"],
    )
    table.add_column("Slots", justify="right")
    table.add_column("Allocation")
    table.add_column("p50 / p90", justify="right")
    for step in plan.steps:
        table.add_row(
            Text(step.id),
            Text(step.tool),
            Text(", ".join(step.depends_on) or "-"),
            Text(step.queue),
            Text(step.pool),
            str(step.pool_slots),
            _allocation(step.allocation.final),
            f"{step.latency_p50_ms / 1000:.1f} / {step.latency_p90_ms / 1000:.1f} s",
        )
    return table


def actual_table(plan: Plan, records: Sequence[ExecutionRecord]) -> Table:
    """Planned and measured times and use; seconds from the plan's release, the last try of each step."""
    table = _table("Plan against actual (seconds from the plan's release)", ["Step", "Tool"])
    for name in ("Planned", "Actual", "Work p90", "Work", "Memory given", "Peak", "CPU s", "Cores peak"):
        table.add_column(name, justify="right")
    last = _last_tries(records)
    for step in plan.steps:
        record = last.get(step.id)
        planned = f"{step.start_ms / 1000:.1f} - {step.end_ms / 1000:.1f}"
        given = f"{step.allocation.final.cpu_mem_gb:.2f} GB"
        row = [step.id, step.tool, planned]
        if record is None:
            row += ["never ran", _seconds(step), "", given, "", "", ""]
        else:
            row += [
                f"{_offset(plan, record.started_at)} - {_offset(plan, record.ended_at)}",
                _seconds(step),
                f"{record.usage.wall_ms / 1000:.1f}",
                given,
                f"{record.usage.peak_mem_gb:.2f} GB",
                f"{record.usage.cpu_seconds:.1f}",
                f"{record.usage.peak_cpu_cores:.1f}",
            ]
        table.add_row(*map(Text, row))
    return table


def route_deviations(
    plan: Plan, records: Sequence[ExecutionRecord], instances: Sequence[TaskInstanceRow]
) -> list[str]:
    """Where the run left its plan, one line each; empty if every step ran in its planned queue and pool.

    The task instances are the scheduler's own rows; the records say which of them ran which step.
    """
    rows = {(row.task_id, row.map_index): row for row in instances}
    last = _last_tries(records)
    lines = []
    for step in plan.steps:
        record = last.get(step.id)
        if record is None or record.task_id is None or record.map_index is None:
            lines.append(f"{step.id} ({step.tool}) has no execution record")
            continue
        row = rows.get((record.task_id, record.map_index))
        if row is None:
            lines.append(f"{step.id}: Airflow has no task instance {record.task_id}[{record.map_index}]")
            continue
        planned = (step.queue, step.pool, step.pool_slots, "success")
        actual = (row.queue, row.pool, row.pool_slots, row.state)
        for what, wanted, seen in zip(("queue", "pool", "slots", "state"), planned, actual, strict=True):
            if wanted != seen:
                lines.append(f"{step.id} ({step.tool}): {what} {seen}, planned {wanted}")
        if record.usage.outcome is not Outcome.SUCCESS:
            lines.append(f"{step.id} ({step.tool}): its record says {record.usage.outcome.value}")
    return lines


def result_text(value: Any, limit: int = 2000) -> str:
    """A task's return value, readable; long ones are cut."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text)} characters)"


def failure_text(log: Sequence[Any], limit: int = 12) -> str:
    """The error of a task's log: what was raised, else its last error lines, else its last lines."""
    raised: list[str] = []
    errors: list[str] = []
    plain: list[str] = []
    for entry in log:
        if not isinstance(entry, dict):
            plain.append(str(entry))
            continue
        event = str(entry.get("event", ""))
        plain.append(event)
        if entry.get("level") in ("error", "critical"):
            errors.append(event)
            details = entry.get("error_detail") or []
            raised.extend(f"{detail.get('exc_type')}: {detail.get('exc_value')}" for detail in details)
    told: list[str] = []
    for line in raised or errors or plain:
        # An error that was wrapped in another appears in both messages.
        if not any(line in earlier for earlier in told):
            told.append(line)
    return "\n".join(told[-limit:]) or "Its log is empty."


def _last_tries(records: Sequence[ExecutionRecord]) -> dict[str, ExecutionRecord]:
    return {record.step_id: record for record in sorted(records, key=lambda item: item.try_number)}


def _offset(plan: Plan, instant: datetime | None) -> str:
    return "…" if instant is None else f"{(instant - plan.release_at).total_seconds():.1f}"


def _seconds(step: PlanStep) -> str:
    return f"{step.latency_p90_ms / 1000:.1f}"


def _allocation(amount: Resources) -> str:
    unit = "core" if amount.cpu_cores == 1 else "cores"
    text = f"{amount.cpu_cores:g} {unit}, {amount.cpu_mem_gb:.2f} GB"
    if amount.gpu_sm or amount.gpu_mem_gb:
        text += f", GPU {amount.gpu_sm:g} %, {amount.gpu_mem_gb:.2f} GB"
    return text


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in columns:
        table.add_column(name)
    return table
