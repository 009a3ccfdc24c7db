"""What TOMAS costs inside Airflow: ``python -m benchmarks.airflow``.

On a real stack (Postgres, Airflow, Celery workers, as the demo starts them) it measures

* **routing**: time the cluster policy takes per mapped instance of a plan of ``--steps`` steps, in a real
  session on Airflow's metadata base, the one read of the plan apart; nothing of it is kept;
* **plan to queue**: end of the plan task until the first step is queued, over ``--runs`` runs;
* **hop**: end of a step's last predecessor until the step is queued, over the same runs.

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from tomas.demo.interrupts import Interrupts
from tomas.demo.progress import Progress
from tomas.demo.stack import Stack

DAG_ID = "tomas_quickstart"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.airflow", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="counted runs of the quick start, after one to warm up")
    parser.add_argument("--steps", type=int, default=500, help="steps of the plan whose routing is timed")
    parser.add_argument("--home", type=Path, help="folder that keeps the stack's state; default: a temporary one")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tomas-bench-", ignore_cleanup_errors=True) as temporary:
        home = options.home or Path(temporary)
        with Interrupts() as interrupts, Stack(home, progress=Progress(Console()), interrupts=interrupts) as stack:
            figures = _runs(stack, options.runs)
            figures = {"routing": _routing(stack, options.steps, figures.pop("last_run_id")), **figures}
    print(json.dumps(figures))
    return 0


def _routing(stack: Stack, steps: int, run_id: str) -> dict[str, Any]:
    task_id = next(row.task_id for row in stack.task_instances(DAG_ID, run_id) if row.map_index >= 0)
    print(f"routing {steps} mapped instances …", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.routing_cost", DAG_ID, run_id, task_id, str(steps)],
        env=stack.environment(),
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"benchmarks.routing_cost failed:\n{done.stderr[-4000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"  read of the plan {figures['read_ms']:.1f} ms once, {figures['per_instance_us']:.0f} µs per instance")
    return figures


def _runs(stack: Stack, runs: int) -> dict[str, Any]:
    first: list[float] = []
    hops: list[float] = []
    whole: list[float] = []
    run_id = ""
    for number in range(runs + 1):
        run_id = stack.trigger(DAG_ID)
        state = stack.wait_run(DAG_ID, run_id)
        if state != "success":
            raise SystemExit(f"run {run_id} ended as {state}; see {stack.home.logs}")
        rows = stack.task_instances(DAG_ID, run_id)
        plan = stack.store.latest_plan(DAG_ID, run_id)
        if plan is None:
            raise SystemExit(f"run {run_id} left no plan")
        index = {step.id: i for i, step in enumerate(plan.steps)}
        tools = {row.map_index: row for row in rows if row.map_index >= 0}
        plan_end = _instant(next(row.end_date for row in rows if row.task_id == "plan"))
        to_first = min(_instant(row.queued_dttm) for row in tools.values()) - plan_end
        own_hops = [
            _instant(tools[index[step.id]].queued_dttm)
            - max(_instant(tools[index[parent]].end_date) for parent in step.depends_on)
            for step in plan.steps
            if step.depends_on
        ]
        warm_up = number == 0
        print(
            f"  {'warm-up' if warm_up else f'run {number} of {runs}'}: plan to queue {to_first:.2f} s, "
            f"hops {', '.join(f'{hop:.2f}' for hop in own_hops)} s",
            flush=True,
        )
        if not warm_up:
            first.append(to_first)
            hops.extend(own_hops)
            whole.append(max(_instant(row.end_date) for row in rows) - plan_end)
    return {
        "last_run_id": run_id,
        "plan_to_first_queued_s": _summary(first),
        "hop_s": _summary(hops),
        "plan_end_to_run_end_s": _summary(whole),
    }


def _instant(value: datetime | None) -> float:
    if value is None:
        raise SystemExit("a task instance has no time where one was expected")
    return value.timestamp()


def _summary(values: list[float]) -> dict[str, float]:
    return {
        "min": round(min(values), 3),
        "median": round(statistics.median(values), 3),
        "max": round(max(values), 3),
        "n": len(values),
    }


if __name__ == "__main__":
    sys.exit(main())
