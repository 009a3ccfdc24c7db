"""Quality of schedules: against known optima of public instances, or on plans of TOMAS's own kind.

    python -m benchmarks.schedule --instances psplib_j30.zip --time-limit 1
    python -m benchmarks.schedule --own 100 --time-limit 1

Time is processor time of this process, model building included. Every schedule, baselines too, is checked instant
by instant by code of the benchmark. The last line is one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.schedule_instances import Instance, own_kind, read_archive
from benchmarks.schedule_rules import RULES, Times, check, parallel_rule, plain_cp_sat
from tomas.errors import PlanError, TomasError
from tomas.schedule import Problem, Schedule, list_schedule, schedule

_WIDTHS = (0.1, 0.3, 0.5, 0.7, 1.0)
_console = Console(stderr=True)


class _Column:
    """Results of one method over all instances."""

    def __init__(self) -> None:
        self.makespans: list[float | None] = []
        self.cpu_s: list[float] = []
        self.violations = 0
        self.proven: list[bool] = []

    def run(self, problem: Problem, method: Callable[[], Times | None]) -> None:
        started = time.process_time()
        times = method()
        self.cpu_s.append(time.process_time() - started)
        if times is None:
            self.makespans.append(None)
            return
        wrong = check(problem, times)
        if wrong:
            self.violations += 1
            _console.print(f"[red]violation[/]: {'; '.join(wrong[:3])}")
        self.makespans.append(max((start + mode.p90_ms for start, mode in times.values()), default=0.0))

    def gaps(self, references: list[float]) -> list[float]:
        """Percent above the reference; an instance without a schedule counts as twice the reference."""
        return [
            100.0 if makespan is None else 100.0 * (makespan - best) / best if best else 0.0
            for makespan, best in zip(self.makespans, references, strict=True)
        ]

    def summary(self, references: list[float]) -> dict[str, float | int]:
        gaps = self.gaps(references)
        return {
            "mean_gap_pct": round(statistics.fmean(gaps), 4),
            "at_optimum_pct": round(100.0 * sum(gap < 1e-6 for gap in gaps) / len(gaps), 2),
            "unsolved": sum(makespan is None for makespan in self.makespans),
            "violations": self.violations,
            "cpu_s_p50": round(statistics.median(self.cpu_s), 4),
            "cpu_s_max": round(max(self.cpu_s), 4),
        }


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status is 1 if a schedule violated its problem, or was called optimal and was not."""
    options = _options(arguments)
    try:
        instances = _instances(options)
    except TomasError as error:
        _console.print(f"[red]{error}[/]")
        return 2
    columns = {name: _Column() for name in ("tomas", "cp_sat", *RULES)}
    bounds: list[float] = []
    # Loading the solver's library is paid once per process and belongs to no instance.
    plain_cp_sat(own_kind(3), 1.0)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=_console
    ) as progress:
        task = progress.add_task("instances", total=len(instances))
        for instance in instances:
            _run_all(instance, columns, bounds, options)
            gaps = f"{instance.name}: {_shown(columns['tomas'].makespans[-1])}"
            progress.update(task, advance=1, description=f"{gaps:<28}")
    references = [
        instance.optimum_ms if instance.optimum_ms is not None else bound
        for instance, bound in zip(instances, bounds, strict=True)
    ]
    return _report(instances, columns, references, options)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedule", description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--instances", type=Path, help="zip of PSPLIB .sm or .mm files with their optima")
    source.add_argument("--own", type=int, metavar="STEPS", help="generated plans of TOMAS's own kind, this large")
    parser.add_argument("--time-limit", type=float, default=1.0, help="processor seconds per instance")
    parser.add_argument("--limit-instances", type=int, help="only every n-th, so that this many are left")
    parser.add_argument("--count", type=int, default=20, help="generated plans (with --own)")
    parser.add_argument("--modes", type=int, default=5, help="modes per step (with --own)")
    parser.add_argument("--bins", type=int, default=4, help="bins (with --own)")
    parser.add_argument("--seed", type=int, default=100, help="first seed of the generated plans")
    parser.add_argument(
        "--bound-time", type=float, default=30.0, help="seconds for the bound of a long run (with --own); 0: none"
    )
    parser.add_argument("--list-only", action="store_true", help="list scheduling alone, without CP-SAT")
    options = parser.parse_args(arguments)
    if options.time_limit <= 0 or (options.own is not None and options.own < 1) or options.count < 1:
        parser.error("time limit, steps and count must be positive")
    return options


def _instances(options: argparse.Namespace) -> list[Instance]:
    if options.instances is not None:
        found = read_archive(options.instances)
        wanted = min(options.limit_instances or len(found), len(found))
        return [found[i * len(found) // wanted] for i in range(wanted)]
    return [
        Instance(
            f"own{options.own}_{seed}",
            own_kind(
                options.own, modes=options.modes, bins=options.bins, width=_WIDTHS[seed % len(_WIDTHS)], seed=seed
            ),
            None,
        )
        for seed in range(options.seed, options.seed + options.count)
    ]


def _run_all(
    instance: Instance, columns: dict[str, _Column], bounds: list[float], options: argparse.Namespace
) -> None:
    problem = instance.problem
    made: list[Schedule] = []

    def ours() -> Times | None:
        try:
            if options.list_only:
                made.append(list_schedule(problem))
            else:
                made.append(schedule(problem, limit_s=options.time_limit, cpu_limit_s=options.time_limit))
        except PlanError:
            return None
        return {item.activity: (item.start_ms, item.mode) for item in made[0].assignments}

    columns["tomas"].run(problem, ours)
    columns["cp_sat"].run(problem, lambda: plain_cp_sat(problem, options.time_limit))
    for rule in RULES:
        columns[rule].run(problem, lambda rule=rule: parallel_rule(problem, rule))  # type: ignore[misc]
    columns["tomas"].proven.append(bool(made) and made[0].gap_pct < 1e-9)
    bounds.append(_bound(instance, made[0] if made else None, options))


def _bound(instance: Instance, found: Schedule | None, options: argparse.Namespace) -> float:
    """The best bound of a long run, where no optimum is known."""
    if instance.optimum_ms is not None or found is None:
        return instance.optimum_ms or math.nan
    if found.gap_pct < 1e-9 or not options.bound_time:
        return found.bound_ms
    longer = schedule(instance.problem, limit_s=options.bound_time, cpu_limit_s=options.bound_time)
    return max(found.bound_ms, longer.bound_ms)


def _report(
    instances: list[Instance], columns: dict[str, _Column], references: list[float], options: argparse.Namespace
) -> int:
    known = all(instance.optimum_ms is not None for instance in instances)
    summaries = {name: column.summary(references) for name, column in columns.items()}
    table = Table(title=f"{len(instances)} instances, {options.time_limit:g} s of a processor each")
    for heading in (
        "method",
        "mean gap %",
        "at the optimum %" if known else "at the bound %",
        "unsolved",
        "violations",
    ):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for heading in ("CPU s p50", "CPU s max"):
        table.add_column(heading, justify="right")
    for name, row in summaries.items():
        table.add_row(name, *(f"{value:g}" for value in row.values()))
    _console.print(table)
    ours = summaries.pop("tomas")
    proven = columns["tomas"].proven
    above = [gap > 1e-6 for gap in columns["tomas"].gaps(references)]
    line = {
        **ours,
        "instances": len(instances),
        "proven_pct": round(100.0 * sum(proven) / len(instances), 2),
        "false_proofs": sum(claimed and worse for claimed, worse in zip(proven, above, strict=True)),
        "reference": "optimum" if known else "bound of a long run",
        "baselines": summaries,
    }
    print(json.dumps(line))
    return 1 if ours["violations"] or line["false_proofs"] else 0


def _shown(makespan: float | None) -> str:
    return "none" if makespan is None else f"{makespan:g}"


if __name__ == "__main__":
    sys.exit(main())
