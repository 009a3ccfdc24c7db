"""``tomas evaluate``: how good a checkpoint of the neural planner is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tomas.cli.model_info import model_side
from tomas.cli.render import console, new_table
from tomas.config import get_settings, shared_file
from tomas.errors import ConfigError, DataError, ModelUnavailable

__all__ = ["evaluate"]

SHIPPED = "data/models/tiny"
_REQUESTS = ("data/evaluation/requests_en.jsonl", "data/evaluation/requests_zh.jsonl")
_EXTRA = "data/evaluation/extra_tools.json"
_ABLATED = 100
_EVERY_S = 20.0
_progress = Console(stderr=True, highlight=False)
_HEADINGS = {
    "requests": "requests", "node_f1": "node F1", "edge_f1": "edge F1", "exact_set": "exact set",
    "exact_plan": "exact plan", "tool_accuracy": "tool accuracy", "refusal_precision": "refusal precision",
    "refusal_recall": "recall", "confidence_error": "confidence error",
    "labelled_plans": "labelled plans", "with_right_tools": "right tools", "mode_accuracy": "mode accuracy",
    "mode_accuracy_right_tools": "with right tools", "mode_own": "scheduler's own", "mode_chance": "by chance",
    "mape": "MAPE", "mae_cpu_cores": "MAE cores", "mae_cpu_mem_gb": "MAE GB", "mae_gpu_sm": "MAE GPU %",
    "mae_gpu_mem_gb": "MAE GPU GB",
    "plans": "plans", "infeasible": "infeasible", "mean": "mean", "geometric": "geometric mean", "median": "median",
    "within_10pct": "within 10 %", "common_mean": "mean, common", "common_geometric": "geometric, common",
    "tools": "needed tools", "shown": "shown", "planned": "planned", "top_n": "top n", "top_1": "top 1",
    "top_3": "top 3", "top_5": "top 5", "cases": "cases", "right": "right direction", "moved": "moved by",
    "makespan": "makespan", "written_node_f1": "node F1, hand-written",
    "wrong": "wrong tools", "needed": "named ones needed",
}  # fmt: skip
_MODES = (
    "labelled_plans",
    "with_right_tools",
    "mode_accuracy",
    "mode_accuracy_right_tools",
    "mode_own",
    "mode_chance",
)
_AMOUNTS = ("mape", "mae_cpu_cores", "mae_cpu_mem_gb", "mae_gpu_sm", "mae_gpu_mem_gb")
_DIFFERENCES = ("zh − en", "difference")
_Rows = Mapping[str, Mapping[str, float | None]]
_COUNTS = {"requests", "labelled_plans", "with_right_tools", "plans", "tools", "cases"}


def evaluate(
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder; default: TOMAS__NEURAL__CHECKPOINT, else the shipped one.")
    ] = None,
    requests: Annotated[
        list[Path] | None, typer.Option(help="Hand-written requests; default: data/evaluation, both languages.")
    ] = None,
    extra_tools: Annotated[
        Path | None, typer.Option(help="Tools besides the registry for --requests; default: data/evaluation's.")
    ] = None,
    generated: Annotated[int, typer.Option(min=0, help="Examples of the generator; 0: none.")] = 400,
    split: Annotated[Literal["train", "valid", "test"], typer.Option(help="Of the generator.")] = "test",
    written: Annotated[bool, typer.Option("--written/--no-written", help="Hand-written requests.")] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many of either kind and file.")] = None,
    ablate: Annotated[
        bool, typer.Option("--ablate", help="What each panel is worth; takes some minutes more.")
    ] = False,
    ablated: Annotated[int, typer.Option(min=1, help="Requests of either kind for --ablate.")] = _ABLATED,
    labels: Annotated[
        Path | None, typer.Option(help="Folder that keeps the exact scheduler's labels between runs.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw calibration, makespans, ablation to this .png, .svg or .pdf.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file as Markdown.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Measure the neural planner: plans, refusals, confidence, allocations, makespans.

    On requests of the generator's test split, whose phrasings or tools training never shows, and on hand-written
    ones. Plans are made by the planner's own step decoding; allocations are the model's proposals, before any floor
    and scheduler.
    """
    settings = get_settings()
    side = model_side("tomas.evaluation.report")
    painter = model_side("tomas.evaluation.picture")
    if picture is not None:
        painter.check_picture(picture)
    files = tuple(requests or [shared_file(name) for name in _REQUESTS]) if written else ()
    wanted = side.Wanted(
        requests=files,
        extra_tools=(extra_tools or (None if requests else shared_file(_EXTRA))) if written else None,
        generated=generated,
        split=split,
        limit=limit,
        ablate=ablated if ablate else 0,
        labels=labels,
    )
    folder = checkpoint or settings.neural.checkpoint or _shipped()
    with _bar() as told:
        report = side.evaluate(folder, wanted, settings, told=told)
    _show(report, folder)
    if markdown is not None:
        _write(report, folder, markdown)
    if picture is not None:
        painter.draw_report(report, picture)
        _progress.print(f"drawn to {picture}")
    if as_json:
        typer.echo(json.dumps(report.to_json(), ensure_ascii=False))


def _shipped() -> Path:
    try:
        return shared_file(SHIPPED)
    except ConfigError:
        raise ModelUnavailable(
            f"The neural planner has no weights: {SHIPPED} is not there.",
            remedy="Restore it, train one (tomas train), or name a folder (--checkpoint).",
        ) from None


def _show(report: Any, folder: Path) -> None:
    console.print(f"checkpoint {folder.name}@{report.version}", markup=False)
    for title, rows in _tables(report):
        columns = _columns(rows)
        table = new_table(title, "", *map(_heading, columns), right=map(_heading, columns), whole=("",))
        for name, row in rows.items():
            table.add_row(name, *(_cell(column, row.get(column), name) for column in columns))
        console.print(table)
    for line in _remarks(report):
        console.print(line)


def _write(report: Any, folder: Path, path: Path) -> None:
    lines = [f"Checkpoint `{folder.name}@{report.version}`.", ""]
    for title, rows in _tables(report):
        columns = _columns(rows)
        lines += [f"{title}:", "", f"| | {' | '.join(map(_heading, columns))} |", "|---" * (len(columns) + 1) + "|"]
        for name, row in rows.items():
            lines.append(f"| {name} | {' | '.join(_cell(column, row.get(column), name) for column in columns)} |")
        lines.append("")
    lines += [f"{line}." for line in _remarks(report)]
    try:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.", remedy="Name another file.") from None


def _tables(report: Any) -> list[tuple[str, _Rows]]:
    """Titles and rows of what was measured; families of phrasing stand in the JSON alone."""
    plans = {name: row for name, row in report.generated.items() if not name.startswith("phrasing")}
    found = [
        ("Plans on generated requests", plans),
        ("Proposed modes on generated requests", _part(report.allocation, _MODES)),
        ("Proposed amounts on generated requests", _part(report.allocation, _AMOUNTS)),
        ("Makespan ÷ the least, list-scheduled in these modes; plans with the right tools", report.makespan),
        ("Makespan ÷ the least, all plans, the right tools given", report.makespan_given),
        ("Same task and modes under other curves", report.sensitivity),
        ("Plans on hand-written requests", report.written),
        ("Needed tools of hand-written requests, by whether training showed them", report.recall),
        ("Plans with a warning that a tool may be missing, and others", report.warned),
        ("Ablation: raw drafts and proposals", report.ablation),
    ]
    return [(title, rows) for title, rows in found if rows]


def _part(rows: _Rows, columns: tuple[str, ...]) -> _Rows:
    return {name: {column: row[column] for column in columns} for name, row in rows.items()}


def _remarks(report: Any) -> list[str]:
    found = []
    if report.parse_success is not None:
        found.append(f"{report.parse_success:.1%} of the hand-written requests' drafts are bound and valid")
    if report.ms_per_request is not None:
        found.append(f"{report.ms_per_request:.0f} ms of a processor per plan, median")
    return [*found, f"{report.seconds:.0f} s of a processor in all"]


def _columns(rows: _Rows) -> list[str]:
    return [name for name in next(iter(rows.values())) if name in _HEADINGS]


def _heading(column: str) -> str:
    return _HEADINGS[column]


def _cell(column: str, value: float | None, row: str) -> str:
    if value is None:
        return "–"
    if column in _COUNTS:
        return f"{value:.0f}"
    return f"{value:+.3f}" if row.endswith(_DIFFERENCES) else f"{value:.3f}"


@contextmanager
def _bar() -> Iterator[Any]:
    """Bars on a terminal, else a line now and then."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    with Progress(*columns, TimeElapsedColumn(), console=_progress, transient=True) as progress:
        parts: dict[str, Any] = {}
        last = time.monotonic()

        def told(part: str, done: int, total: int) -> None:
            nonlocal last
            if part not in parts:
                parts[part] = progress.add_task(part, total=total)
            progress.update(parts[part], completed=done, total=total)
            if not _progress.is_terminal and time.monotonic() - last > _EVERY_S:
                last = time.monotonic()
                _progress.print(f"{part}: {done} of {total}", markup=False)

        yield told
