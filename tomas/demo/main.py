"""``tomas demo``: start everything, plan and run a task, show plan against actual, end everything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from rich.console import Console

from tomas.airflow.ui import PLAN_ROUTE
from tomas.demo import report
from tomas.demo.interrupts import Interrupted, Interrupts
from tomas.demo.metadata import TaskInstanceRow
from tomas.demo.progress import Progress
from tomas.demo.stack import Stack
from tomas.errors import TomasError
from tomas.schema import Plan, PlanStatus

__all__ = ["DAG_ID", "PLANNER", "run_demo"]

DAG_ID = "tomas_quickstart"
PLANNER = "neural"
"""What plans in the demo: the shipped model, or where it cannot the retrieval planner, and the plan says why."""
_RUN_TIMEOUT_S = 900.0
_PLAIN_WIDTH = 132
_INTERRUPTED = 130


def run_demo(task: str | None, home: Path, ci: bool, *, console: Console | None = None) -> int:
    """The whole demo.

    :param task: a task in plain language; None takes the one written in the DAG.
    :param home: where databases, logs and results stay.
    :param ci: end everything after the run; else stay until Ctrl-C.
    :return: exit code: 0 if the run succeeded and every step ran in its planned queue and pool, 1 if not,
        130 if it was interrupted before its end.
    """
    out = console or Console()
    if console is None and not out.is_terminal:
        out = Console(width=_PLAIN_WIDTH)
    progress = Progress(out)
    with Interrupts() as interrupts:
        stack = Stack(home, progress=progress, interrupts=interrupts, planner=PLANNER)
        result: int | None = None
        try:
            with stack:
                result = _run_and_show(stack, progress, task)
                if not ci:
                    _stay(stack, progress)
        except TomasError as error:
            progress.line(f"Error: {error.what}", style="bold red")
            if error.remedy:
                progress.line(f"What to do: {error.remedy}")
            result = 1
        except Interrupted as signal:
            if result is None:
                progress.line(f"Interrupted by {signal}.")
                result = _INTERRUPTED
        finally:
            stack.stop()
            progress.line(f"Logs: {stack.home.logs}")
    return result


def _run_and_show(stack: Stack, progress: Progress, task: str | None) -> int:
    with progress.phase(f"DAG {DAG_ID} parsed"):
        stack.wait_dag(DAG_ID)
    stack.airflow_api.unpause(DAG_ID)
    for leftover in stack.airflow_api.running(DAG_ID):
        # A run that a killed demo left behind would take this one's slots.
        progress.line(f"Ending the unfinished run {leftover} of an earlier demo.")
        stack.airflow_api.fail_run(DAG_ID, leftover)
        for unfinished in stack.store.plans_of_run(DAG_ID, leftover):
            stack.store.release_plan_reservations(unfinished.id)
            stack.store.set_plan_status(unfinished.id, PlanStatus.FAILED)
    run_id = stack.airflow_api.trigger(DAG_ID, {"task": task} if task is not None else {})
    progress.line(f"Started run {run_id}. Its page: {_page(stack, run_id)}")
    with progress.phase("Task planned and run"):
        state = _follow(stack, progress, run_id)
    instances = stack.task_instances(DAG_ID, run_id)
    plan = stack.store.latest_plan(DAG_ID, run_id)
    kept = False
    if plan is not None:
        kept = _show_plan(stack, progress, plan, instances)
    if state == "success":
        _show_result(stack, progress, run_id, instances)
    else:
        _show_failures(stack, progress, run_id, instances)
    name, password = stack.login
    progress.line()
    progress.line(f"Run page:  {_page(stack, run_id)}")
    progress.line(f"Plan tab:  {_page(stack, run_id)}/plugin/{PLAN_ROUTE}")
    progress.line(f"Login:     {name} / {password}")
    progress.line(f"Logs:      {stack.home.logs}")
    progress.line("Took:      " + ", ".join(f"{title} {seconds:.1f} s" for title, seconds in progress.phases))
    return 0 if state == "success" and kept else 1


def _page(stack: Stack, run_id: str) -> str:
    return f"{stack.url}/dags/{DAG_ID}/runs/{quote(run_id, safe=':')}"


def _follow(stack: Stack, progress: Progress, run_id: str) -> str:
    """Show each task instance as it changes state, until the run has ended."""
    shown: dict[tuple[str, int], str | None] = {}
    plan: Plan | None = None
    deadline = time.monotonic() + _RUN_TIMEOUT_S
    while True:
        state = str(stack.airflow_api.run(DAG_ID, run_id)["state"])
        plan = plan or stack.store.latest_plan(DAG_ID, run_id)
        rows = stack.task_instances(DAG_ID, run_id)
        for row in rows:
            key = (row.task_id, row.map_index)
            if row.state != shown.get(key):
                shown[key] = row.state
                if row.state in ("running", "success", "failed", "upstream_failed", "up_for_retry", "skipped"):
                    progress.line(f"[{progress.elapsed_s:6.1f} s]   {_describe(row, plan)}")
        if state in ("success", "failed"):
            return state
        if time.monotonic() > deadline:
            progress.line(f"The run is still {state} after {_RUN_TIMEOUT_S:g} s; giving up.", style="bold red")
            return state
        busy = [_name(row, plan) for row in rows if row.state in ("queued", "running")]
        progress.waiting(", ".join(busy) or "the scheduler")
        stack.check()
        time.sleep(0.5)


def _name(row: TaskInstanceRow, plan: Plan | None) -> str:
    """Task id, and for a mapped tool task its step and tool: the map index is the step's place in the plan."""
    if row.map_index < 0:
        return row.task_id
    if plan is not None and row.map_index < len(plan.steps):
        step = plan.steps[row.map_index]
        return f"{step.id} {step.tool}"
    return f"{row.task_id}[{row.map_index}]"


def _describe(row: TaskInstanceRow, plan: Plan | None) -> str:
    slots = f"{row.pool_slots} slot{'s' if row.pool_slots != 1 else ''}"
    return f"{row.state or 'waiting':<15} {_name(row, plan):<34} queue {row.queue}, pool {row.pool} ({slots})"


def _show_plan(stack: Stack, progress: Progress, plan: Plan, instances: Sequence[TaskInstanceRow]) -> bool:
    """Both tables and the verdict; whether every step kept its planned queue and pool."""
    records = stack.store.records(plan.id)
    progress.line()
    progress.show(report.plan_table(plan))
    style = "yellow" if plan.planner.fallback_from else "bold"
    progress.line(f"Planned by: {report.planned_by(plan)}", style=style)
    progress.line(plan.explanation)
    if plan.narrative:
        progress.line(f"In the model's own words: {plan.narrative}")
    for warning in plan.warnings:
        progress.line(f"Warning: {warning}", style="yellow")
    progress.line()
    progress.show(report.actual_table(plan, records))
    deviations = report.route_deviations(plan, records, instances)
    for line in deviations:
        progress.line(f"Off plan: {line}", style="bold red")
    if not deviations:
        progress.line(
            f"All {len(plan.steps)} steps ran in their planned queues and pools, says Airflow's metadata base.",
            style="green",
        )
    return not deviations


def _show_result(stack: Stack, progress: Progress, run_id: str, instances: Sequence[TaskInstanceRow]) -> None:
    """What the task after the plan's steps received and returned."""
    ended = [row for row in instances if row.map_index < 0 and row.state == "success" and row.end_date]
    for row in sorted(ended, key=lambda item: str(item.end_date), reverse=True):
        value = stack.airflow_api.xcom(DAG_ID, run_id, row.task_id)
        if value is not None:
            progress.line()
            progress.line(f"Declared result, as the downstream task {row.task_id} received it:", style="bold")
            progress.line(report.result_text(value))
            return


def _show_failures(stack: Stack, progress: Progress, run_id: str, instances: Sequence[TaskInstanceRow]) -> None:
    for row in instances:
        if row.state != "failed":
            continue
        log = stack.airflow_api.task_log(DAG_ID, run_id, row.task_id, row.try_number, row.map_index)
        progress.line()
        where = row.task_id if row.map_index < 0 else f"{row.task_id}[{row.map_index}]"
        progress.line(f"Failed: {where} on queue {row.queue}", style="bold red")
        progress.line(report.failure_text(log))


def _stay(stack: Stack, progress: Progress) -> None:
    """Until Ctrl-C; says so if a process ends by itself."""
    progress.line()
    progress.line("Everything stays up. Press Ctrl-C to end it all.", style="bold")
    while True:
        time.sleep(1.0)
        stack.check()
