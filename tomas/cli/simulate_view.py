"""What ``tomas simulate`` prints: tables, a Gantt chart in text, JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tomas.cli.render import console, new_table
from tomas.simulate import SimulationResult, StepState
from tomas.simulate.scenario import Scenario
from tomas.simulate.summary import Summary

__all__ = ["as_json", "comparison", "comparison_json", "progress", "tables", "title"]

_GANTT_ROWS = 40
_GANTT_CELLS = 60
_SHORT = {"cpu_cores": "cores", "cpu_mem_gb": "memory", "gpu_sm": "GPU", "gpu_mem_gb": "GPU mem"}
_MOST = 20
"""More bins or plans than this are counted, not listed."""


@contextmanager
def progress(*, show: bool) -> Iterator[Callable[[float], None] | None]:
    """A bar on a terminal's standard error, for what takes long; nothing elsewhere."""
    if not show or not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("Simulating"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share: bar.update(task, completed=share)


def title(scenario: Scenario, run: int, runs: int) -> str:
    """What a picture shows."""
    names = ", ".join(one.name for one in scenario.workloads[:4])
    more = len(scenario.workloads) - 4
    text = names + (f" and {more} more" if more > 0 else "")
    if len(scenario.workloads) == 1 and scenario.workloads[0].title:
        task = " ".join(scenario.workloads[0].title.split())
        text += f": {task if len(task) <= 80 else task[:79] + '…'}"
    return text + (f" (run {run} of {runs}, the median)" if runs > 1 else "")


def tables(scenario: Scenario, summary: Summary, shown: SimulationResult, run: int) -> None:
    """Makespans against the plan, bins, the bottleneck, and one run step by step."""
    _plans(summary)
    _bins(summary)
    for name in unused(scenario, summary):
        console.print(Text.assemble(("Note: ", "yellow"), name))
    console.print(Text.assemble(("Bottleneck: ", "bold"), summary.bottleneck))
    if shown.overloads:
        console.print(_overloads(shown))
    if len(shown.start_ms) <= _GANTT_ROWS:
        _gantt(shown, run, summary.runs)


def unused(scenario: Scenario, summary: Summary) -> list[str]:
    """What a user may wonder about: bins without work, steps larger than their bin."""
    notes = []
    idle = [one.name for one in summary.bins if not one.steps]
    if idle:
        why = (
            "nothing was placed there" if scenario.replan else "plans keep the bins they name; --replan places anew"
        )
        notes.append(f"Nothing ran on {', '.join(idle[:6])}{' …' if len(idle) > 6 else ''}: {why}.")
    places = {place.name: place for place in scenario.bins}
    for workload in scenario.workloads:
        large = [one.id for one in workload.steps if one.need[0] > places[one.bin].capacity.cpu_cores + 1e-9]
        if large and not scenario.replan:
            notes.append(
                f"{workload.name} gives {', '.join(large[:6])} more cores than the bin has: always slowed."
            )
    return notes


def _plans(summary: Summary) -> None:
    numbers = ("jobs", "ended", "planned", "p10", "p50", "p90", "max", "missed")
    table = new_table(f"Makespan over {_count(summary.runs, 'run')}", "plan", *numbers, right=numbers)
    for one in summary.workloads[:_MOST]:
        spread = one.makespan_ms
        table.add_row(
            Text(one.name),
            str(one.jobs),
            str(one.done) if one.done == one.jobs else Text(str(one.done), "red"),
            _seconds(one.planned_ms),
            *(_seconds(value) for value in (spread.p10, spread.p50, spread.p90, spread.max)),
            "–" if one.missed is None else _share(one.missed),
        )
    _rest(table, len(summary.workloads))
    console.print(table)
    for one in summary.workloads[:_MOST]:
        for reason, number in list(one.reasons.items())[:3]:
            console.print(Text.assemble((f"{one.name}: ", "red"), f"{number} of {one.jobs} did not end: {reason}."))


def _bins(summary: Summary) -> None:
    names = [name for name in _SHORT if any(name in one.utilisation for one in summary.bins)]
    shown = [_SHORT[name] for name in names]
    numbers = ("steps/run", "wait mean", "wait p90", "wait max", "slots", *shown, "slowed", "overloads")
    table = new_table(
        "Waits, and mean utilisation", "bin", "class", *numbers, right=numbers, whole=("bin", "class", *numbers)
    )
    for one in summary.bins[:_MOST]:
        wait = one.wait_ms
        table.add_row(
            one.name,
            one.worker_class,
            f"{one.steps:.1f}".removesuffix(".0"),
            *(_seconds(value) for value in (wait.mean, wait.p90, wait.max)),
            *(_share(one.utilisation[name]) if name in one.utilisation else "–" for name in ("slots", *names)),
            _share(one.slowed_share),
            f"{one.overloads:.1f}".removesuffix(".0"),
        )
    _rest(table, len(summary.bins))
    console.print(table)


def _rest(table: Table, length: int) -> None:
    if length > _MOST:
        table.caption = f"and {length - _MOST} more; --json lists all"


def _overloads(shown: SimulationResult) -> Text:
    first = shown.overloads[0]
    ranks = {job.job: rank for rank, job in enumerate(shown.jobs)}
    steps = ", ".join(shown.given[ranks[job]].workload.steps[number].id for job, number in first.steps[:6])
    return Text.assemble(
        ("Overload: ", "red"),
        f"{_count(len(shown.overloads), 'stretch', 'stretches')} in this run; the first on {first.bin} at "
        f"{first.start_ms / 1000:.1f} s: {steps} hold {first.used:g} of {first.free:g} {first.resource}.",
    )


def _gantt(shown: SimulationResult, run: int, runs: int) -> None:
    """Waiting is dotted, work is solid; what never ran has no bar."""
    last = float(np.nanmax(shown.end_ms)) if np.isfinite(shown.end_ms).any() else 0.0
    last = max(last, shown.end_at_ms)
    scale = _GANTT_CELLS / last if last > 0 else 0.0
    head = "One run" if runs == 1 else f"Run {run}, the median"
    table = new_table(
        f"{head}: 0 to {last / 1000:.1f} s",
        "bin",
        "plan",
        "step",
        "tool",
        "start",
        "end",
        "",
        right=("start", "end"),
    )
    order = sorted(
        range(len(shown.start_ms)), key=lambda i: (int(shown.bin[i]), _late(float(shown.start_ms[i])), i)
    )
    for row in order:
        rank, number = int(shown.job[row]), int(shown.step[row])
        step = shown.given[rank].workload.steps[number]
        start, end, ready = (float(column[row]) for column in (shown.start_ms, shown.end_ms, shown.ready_ms))
        table.add_row(
            shown.bins[int(shown.bin[row])].bin.name,
            Text(shown.jobs[rank].workload + (f" #{rank}" if len(shown.jobs) > 1 else "")),
            step.id,
            step.tool,
            _seconds(start),
            _seconds(end),
            _bar(ready, start, end, int(shown.state[row]), scale),
        )
    console.print(table)


def _bar(ready: float, start: float, end: float, state: int, scale: float) -> Text:
    if not math.isfinite(start):
        return Text("never ran", "red")
    left, begin = min(_GANTT_CELLS - 1, int(ready * scale)), min(_GANTT_CELLS - 1, int(start * scale))
    until = _GANTT_CELLS if not math.isfinite(end) else min(_GANTT_CELLS, max(begin + 1, round(end * scale)))
    style = "red" if state in (StepState.FAILED, StepState.RUNNING) else "cyan"
    return Text.assemble(
        " " * min(left, begin), ("·" * max(0, begin - left), "yellow"), ("█" * (until - begin), style)
    )


def comparison(found: Sequence[tuple[Mapping[str, int], Summary]]) -> None:
    """One row per number of added workers."""
    numbers = ("p10", "p50", "p90", "max", "missed", "ended", "wait mean", "slots")
    table = new_table(
        f"Makespan of all plans over {_count(found[0][1].runs, 'run')}, by workers added",
        "added",
        *numbers,
        right=numbers,
    )
    for added, summary in found:
        spread = summary.makespan_ms
        steps = sum(one.steps for one in summary.bins)
        wait = sum(one.wait_ms.mean * one.steps for one in summary.bins if one.steps) / steps if steps else math.nan
        slots = [one.utilisation.get("slots", 0.0) for one in summary.bins]
        table.add_row(
            ", ".join(f"{number} {name}" for name, number in added.items()),
            *(_seconds(value) for value in (spread.p10, spread.p50, spread.p90, spread.max)),
            "–" if summary.missed is None else _share(summary.missed),
            _share(sum(one.done for one in summary.workloads) / max(1, sum(one.jobs for one in summary.workloads))),
            _seconds(wait),
            _share(sum(slots) / len(slots)),
        )
    console.print(table)
    for added, summary in (found[0], found[-1]):
        with_ = ", ".join(f"{number} {name}" for name, number in added.items())
        console.print(Text.assemble((f"With {with_} added: ", "bold"), summary.bottleneck))


def comparison_json(found: Sequence[tuple[Mapping[str, int], Summary]]) -> str:
    """The summaries by number of added workers."""
    variants = [{"added": dict(added)} | _summary(summary) for added, summary in found]
    return json.dumps(_plain({"variants": variants}), ensure_ascii=False, indent=2, allow_nan=False)


def as_json(scenario: Scenario, summary: Summary, shown: SimulationResult, run: int) -> str:
    """Everything as one JSON object; numbers that do not exist are null."""
    document = {
        "seed": scenario.seed,
        "latency": scenario.latency,
        "replan": scenario.replan,
        **_summary(summary),
        "notes": unused(scenario, summary),
        "run": {
            "number": run,
            "jobs": [asdict(job) for job in shown.jobs],
            "overloads": [asdict(one) for one in shown.overloads],
            "failed_tries": [
                {**asdict(one), "job": shown.jobs[one.job].job, "bin": shown.bins[one.bin].bin.name}
                for one in shown.failed_tries
            ],
            "steps": _steps(shown),
        },
    }
    return json.dumps(_plain(document), ensure_ascii=False, indent=2, allow_nan=False)


def _summary(summary: Summary) -> dict[str, Any]:
    chain = summary.chain
    return {
        "runs": summary.runs,
        "makespan_ms": asdict(summary.makespan_ms),
        "missed": summary.missed,
        "plans": [asdict(one) for one in summary.workloads],
        "bins": [asdict(one) for one in summary.bins],
        "bottleneck": summary.bottleneck,
        "critical_chain_ms": {
            "work": sum(chain.work.values()),
            "wait": dict(chain.wait),
            "slow": dict(chain.slow),
            "hand_over": chain.hand_over,
            "lost": chain.lost,
        },
    }


def _steps(shown: SimulationResult) -> list[dict[str, Any]]:
    waits, slowdowns = shown.wait_ms, shown.slowdown
    return [
        {
            "job": shown.jobs[int(shown.job[row])].job,
            "step": shown.given[int(shown.job[row])].workload.steps[int(shown.step[row])].id,
            "bin": shown.bins[int(shown.bin[row])].bin.name,
            "slots": int(shown.slots[row]),
            "state": StepState(int(shown.state[row])).name.lower(),
            "ready_ms": float(shown.ready_ms[row]),
            "start_ms": float(shown.start_ms[row]),
            "end_ms": float(shown.end_ms[row]),
            "wait_ms": float(waits[row]),
            "slowdown": float(slowdowns[row]),
        }
        for row in range(len(shown.start_ms))
    ]


def _plain(value: Any) -> Any:
    """The same without NaN and infinity, which JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _late(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _seconds(milliseconds: float | None) -> str:
    if milliseconds is None or not math.isfinite(milliseconds):
        return "–"
    seconds = milliseconds / 1000
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 60:.1f} min"


def _share(value: float) -> str:
    return f"{value:.0%}" if value == 0 or value >= 0.0095 else f"{value:.1%}"
