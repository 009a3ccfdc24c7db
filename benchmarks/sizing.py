"""Memory sizing against published methods, on traces of real workflows.

    python -m benchmarks.sizing --traces DIR

DIR holds CSV files of executions, one a workflow, with the columns process, memory, peak_rss, realtime, rchar,
submit and complete. Headline: prequential in time, the input size known (dispatch). GB are 10^9 bytes. All methods
are given the same records and share one ladder: double, capped at the user's request; a failed try costs its
allocation for the full run time. The last line is one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.sizing_baselines import BASELINES
from benchmarks.sizing_protocol import Chosen, Method, PerProcess, Tomas, prequential, shuffled, totals
from benchmarks.sizing_traces import Task, read_traces
from tomas.errors import TomasError

_LEAST_RUN_MS = 1000.0
_MOST_FAILED_PCT = 3.0
_console = Console(stderr=True)


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status is 2 if the traces cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=Path, required=True, help="folder of CSV files")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the shuffled protocol; 0: leave it out")
    options = parser.parse_args(arguments)
    try:
        traces = read_traces(options.traces)
    except TomasError as error:
        _console.print(f"[red]{error}[/]")
        return 2
    line: dict[str, object] = {}
    pairs: list[float] = []
    for features in ("planning", "dispatch"):
        results = {
            name: _prequential(tasks, inputs=features == "dispatch", pairs=pairs)
            for name, tasks in track(traces.items(), f"prequential, {features}", console=_console)
        }
        _show(f"Prequential in time, features known at {features}", results)
        line["workflows" if features == "dispatch" else "planning"] = results
    if options.seeds:
        line["shuffled"] = {
            name: _shuffled(tasks, options.seeds)
            for name, tasks in track(traces.items(), "shuffled", console=_console)
        }
        _show(f"Shuffled 30/70, mean of {options.seeds} seeds", line["shuffled"])
    line["update_ms_p99"] = round(max(pairs), 3)
    print(json.dumps(line))
    return 0


def _prequential(tasks: list[Task], *, inputs: bool, pairs: list[float]) -> dict[str, object]:
    ours = Tomas(inputs=inputs)
    chosen = list(prequential(tasks, ours))
    pairs.append(ours.pair_ms_p99())
    # Without inputs, a regression over their size is no method.
    names = [name for name in BASELINES if inputs or name != "witt_lr"]
    others = {name: list(prequential(tasks, PerProcess(BASELINES[name]))) for name in names}
    warm = _rounded(totals([item for item in chosen if item.warm]))
    baselines = {name: _rounded(totals([item for item in items if item.warm])) for name, items in others.items()}
    cold = [item for item in chosen if not item.warm]
    return {
        **warm,
        "best_baseline_gbh": min(item["waste_gbh"] for item in baselines.values()),
        "latency_wape_pct": _wape(chosen),
        "baselines": baselines,
        "baselines_raised": {
            name: _raised([item for item in items if item.warm])
            for name, items in others.items()
            if name != "request"
        },
        "cold": {**_rounded(totals(cold)), "request_gbh": _rounded(totals(_asked(cold)))["waste_gbh"]},
        "all": {
            **_rounded(totals(chosen)),
            "best_baseline_gbh": min(_rounded(totals(items))["waste_gbh"] for items in others.values()),
        },
    }


def _shuffled(tasks: list[Task], seeds: int) -> dict[str, object]:
    methods: dict[str, list[dict[str, float]]] = {}
    for seed in range(seeds):
        made: dict[str, Method] = {name: PerProcess(make) for name, make in BASELINES.items()}
        made["tomas"] = Tomas(inputs=True)
        for name, method in made.items():
            methods.setdefault(name, []).append(totals(list(shuffled(tasks, method, seed))))
    means = {
        name: _rounded({key: statistics.fmean(run[key] for run in runs) for key in runs[0]})
        for name, runs in methods.items()
    }
    ours = means.pop("tomas")
    return {**ours, "best_baseline_gbh": min(item["waste_gbh"] for item in means.values()), "baselines": means}


def _asked(chosen: list[Chosen]) -> list[Chosen]:
    return [Chosen(item.task, item.task.request_gb, item.warm) for item in chosen]


def _raised(chosen: list[Chosen]) -> dict[str, float]:
    """The same first allocations times the least factor with which at most 3 % of the tries fail."""
    factor = 1.0
    while (result := totals(chosen, raised=factor))["failed_pct"] > _MOST_FAILED_PCT and factor < 1000.0:
        factor *= 1.03
    return {**_rounded(result), "factor": round(factor, 2)}


def _wape(chosen: list[Chosen]) -> float:
    """Weighted absolute percentage error of the foretold median, over warm runs of at least a second."""
    pairs = [
        (item.latency_ms, item.task.runtime_ms)
        for item in chosen
        if item.latency_ms is not None and item.task.runtime_ms >= _LEAST_RUN_MS
    ]
    total = sum(actual for _, actual in pairs)
    return round(100.0 * sum(abs(guess - actual) for guess, actual in pairs) / total, 2) if total else math.nan


def _rounded(result: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 3) if key != "tasks" else int(value) for key, value in result.items()}


def _show(title: str, results: object) -> None:
    table = Table(title=title)
    for heading in ("workflow", "method", "waste GB·h", "failed tries %", "raised to 3 %: GB·h", "factor"):
        table.add_column(heading, justify="left" if heading in ("workflow", "method") else "right")
    assert isinstance(results, dict)  # noqa: S101
    for workflow, result in results.items():
        rows = {"tomas": result, **result["baselines"]}
        for name, row in rows.items():
            raised = result.get("baselines_raised", {}).get(name)
            table.add_row(
                workflow if name == "tomas" else "",
                name,
                f"{row['waste_gbh']:.2f}",
                f"{row['failed_pct']:.2f}",
                f"{raised['waste_gbh']:.2f}" if raised else "",
                f"{raised['factor']:.2f}" if raised else "",
            )
        if "cold" in result:
            cold = result["cold"]
            label = f"tomas, cold (request {cold['request_gbh']:.2f})"
            table.add_row("", label, f"{cold['waste_gbh']:.2f}", f"{cold['failed_pct']:.2f}", "", "")
        table.add_section()
    _console.print(table)


if __name__ == "__main__":
    sys.exit(main())
