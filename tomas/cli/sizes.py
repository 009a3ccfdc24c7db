"""``tomas sizes``: what the runs of a tool needed, what its next one will, and how far that can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tomas.cli.render import console, new_table
from tomas.config import get_settings
from tomas.errors import UnknownToolError
from tomas.schema import utc_now

if TYPE_CHECKING:
    from tomas.schema import ExecutionRecord, ProfileRow, Tool
    from tomas.sizing.replay import Foretold, Replay

_HISTORY = timedelta(days=3650)
_MOST_RUNS = 1000
_RELATIVES_RUNS = 64
_MOST_ROWS = 24
_MOST_KINDS = 4
_BASIS = {
    "tool": "its own runs",
    "family": "the runs of its family, for it has none",
    "profile": "given profile rows, for nothing was measured",
    "any": "what other tools needed, for its family has no history",
    "prior": "a guess, for there is no history",
}


def sizes(
    tool: Annotated[str, typer.Argument(help="Name of a tool of the registry.")],
    use_store: Annotated[
        bool, typer.Option("--store/--no-store", help="History from Postgres; default: the profile table.")
    ] = False,
    input_bytes: Annotated[
        float | None, typer.Option("--input-bytes", min=0, help="Also size one input of so many bytes.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw peaks and run times to this .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Show peaks and run times of a tool by input size and cores, and what its next run is foretold to need."""
    from tomas.sizing.replay import replay

    tools, profiles, records = _history(tool, use_store)
    known = {item.name: item for item in tools}
    if tool not in known:
        near = ", ".join(sorted(known)) or "(none)"
        raise UnknownToolError(f"There is no tool {tool}.", remedy=f"Name one of: {near}.")
    history = replay(profiles, records, tools, only=tool)
    runs = [run for run in history.runs if run.tool == tool]
    if runs:
        _runs_table(tool, runs)
        _trust(runs, sum(name == tool for name, _ in history.broken))
    else:
        typer.echo(f"{tool} has no run yet.")
    _next(known[tool], history, runs, input_bytes)
    if picture is not None:
        from tomas.sizing.picture import draw_sizes

        draw_sizes(tool, history, picture)
        typer.echo(f"Drawn to {picture}.")


def _history(tool: str, use_store: bool) -> tuple[Sequence[Tool], list[ProfileRow], list[ExecutionRecord]]:
    """Tools, profile rows, and the newest records of the tool and its family."""
    if use_store:
        from tomas.store import Store

        with Store.from_settings() as store:
            store.check_schema()
            tools = store.tools()
            family = next((item.family for item in tools if item.name == tool), None)
            related = [item.name for item in tools if item.family == family and item.name != tool]
            now = utc_now()
            records = store.recent_records([tool], now - _HISTORY, now, per_tool=_MOST_RUNS)
            records += store.recent_records(related, now - _HISTORY, now, per_tool=_RELATIVES_RUNS)
            return tools, store.profiles(), records
    from tomas.tools.data import load_profiles
    from tomas.tools.registry import Registry

    data = get_settings().data
    return list(Registry.load(data.tools_path)), load_profiles(data.profiles_path), []


def _runs_table(tool: str, runs: Sequence[Foretold]) -> None:
    groups: dict[tuple[int, float, float], list[Foretold]] = {}
    for run in runs:
        decade = math.floor(2.0 * math.log10(max(run.input_bytes, 1.0)))
        groups.setdefault((decade, run.cores, run.gpu_sm), []).append(run)
    columns = ("input", "cores", "GPU %", "runs", "peak p50", "peak p95", "time p50", "time p90")
    table = new_table(f"Runs of {tool}", *columns, right=columns)
    for (_, cores, gpu_sm), group in sorted(groups.items())[:_MOST_ROWS]:
        peaks = [run.peak_gb for run in group]
        times = [run.latency_ms for run in group]
        least, most = min(run.input_bytes for run in group), max(run.input_bytes for run in group)
        table.add_row(
            _bytes(least) if least == most else f"{_bytes(least)} to {_bytes(most)}",
            f"{cores:g}",
            f"{gpu_sm:g}" if gpu_sm else "",
            str(len(group)),
            f"{_quantile(peaks, 0.5):.3g} GB",
            f"{_quantile(peaks, 0.95):.3g} GB",
            _time(_quantile(times, 0.5)),
            _time(_quantile(times, 0.9)),
        )
    console.print(table)
    if len(groups) > _MOST_ROWS:
        typer.echo(f"{len(groups) - _MOST_ROWS} more groups are not shown.")


def _trust(runs: Sequence[Foretold], broken: int) -> None:
    """How well the runs were foretold, each from those that had ended before it started."""
    sized = [run for run in runs if run.given_gb is not None]
    if sized:
        enough = sum(run.peak_gb <= (run.given_gb or 0.0) for run in sized)
        unused = sum(max((run.given_gb or 0.0) - run.peak_gb, 0.0) for run in sized)
        share = 100.0 * unused / sum(run.given_gb or 0.0 for run in sized)
        typer.echo(
            f"Memory, each run sized from those before it: enough in {enough} of {len(sized)} "
            f"({100.0 * enough / len(sized):.0f} %), {share:.0f} % of it unused."
        )
    timed = [run for run in runs if run.p50_ms is not None and run.p90_ms is not None]
    if timed:
        inside = sum(run.latency_ms <= (run.p90_ms or 0.0) for run in timed)
        off = sum(abs(run.latency_ms - (run.p50_ms or 0.0)) for run in timed)
        typer.echo(
            f"Run time: within the 90 % quantile in {inside} of {len(timed)} "
            f"({100.0 * inside / len(timed):.0f} %), off the median by "
            f"{100.0 * off / sum(run.latency_ms for run in timed):.0f} % on the whole."
        )
    if broken:
        typer.echo(f"{broken} {'try' if broken == 1 else 'tries'} ran out of memory.")


def _next(tool: Tool, history: Replay, runs: Sequence[Foretold], input_bytes: float | None) -> None:
    sizer = history.sizer
    seen = sorted(run.input_bytes for run in runs)
    wanted = [input_bytes] if input_bytes is not None else [seen[0], seen[len(seen) // 2], seen[-1]] if seen else []
    wanted = list(dict.fromkeys(wanted)) or [float(tool.input_size.small_max_bytes)]
    kinds = sorted({(run.gpu_sm, run.cores) for run in runs})[:_MOST_KINDS] or [(0.0, 1.0)]
    columns = ("input", "on", "memory", "peak p50", "peak p95", "fails", "time p50", "time p90", "cores", "output")
    table = new_table("The next run", *columns, right=columns)
    for size in wanted:
        for gpu_sm, cores in kinds:
            choice = sizer.choice(tool.name, size, gpu=gpu_sm > 0)
            p50, p90 = sizer.times_ms(tool.name, size, [cores], gpu_sm=gpu_sm)[0]
            used = sizer.usage(tool.name, size, cores, gpu_sm=gpu_sm)
            output = sizer.output(tool.name, size)
            table.add_row(
                _bytes(size),
                f"{cores:g}" + (f", GPU {gpu_sm:g} %" if gpu_sm else ""),
                f"{choice.gb:.3g} GB",
                f"{choice.median_gb:.3g} GB",
                f"{choice.p95_gb:.3g} GB",
                f"{100.0 * choice.failing:.1f} %",
                _time(p50),
                _time(p90),
                f"{used.cpu_cores.p50:.2g} to {used.cpu_cores.p95:.2g}",
                f"{_bytes(output.p50)} to {_bytes(output.p95)}",
            )
    console.print(table)
    choice = sizer.choice(tool.name, wanted[-1], gpu=kinds[-1][0] > 0)
    rests = f"{_BASIS[choice.basis]} ({choice.runs})" if choice.runs else _BASIS[choice.basis]
    typer.echo(f"It rests on {rests}. After an out-of-memory, a try gets twice the memory.")
    typer.echo(
        "Plans round memory up to sixteenths of a GB; cores are those really used: half and 95 % of the runs."
    )


def _quantile(values: Sequence[float], level: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(level * len(ordered)) - 1)]


def _bytes(size: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:.0f} B"


def _time(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3g} s"
