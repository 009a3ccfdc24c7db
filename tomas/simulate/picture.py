"""A picture of one run: a Gantt chart by bin, above what is used of each resource under what there is.

Needs matplotlib (``pip install 'airflow-provider-tomas[plots]'``), which is imported only when a picture is drawn.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tomas.errors import ConfigError, DataError
from tomas.schema import RESOURCE_NAMES
from tomas.simulate.result import BinRun, SimulationResult, StepState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_picture", "draw"]

_FORMATS = (".pdf", ".png", ".svg")
_PLAN_COLOURS = (
    "#4C78A8", "#F58518", "#54A24B", "#B279A2", "#E45756", "#72B7B2", "#EECA3B", "#9D755D", "#FF9DA6", "#79706E",
)  # fmt: skip
_INK, _SOFT, _GRID, _RED = "#222222", "#666666", "#E6E6E6", "#C62828"
_CJK = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "Noto Sans CJK JP", "Noto Serif CJK SC",
)  # fmt: skip
"""Fonts with Chinese, the first that is installed stands in for signs that the main font lacks."""
_UNITS = {"cpu_cores": "cores", "cpu_mem_gb": "GB", "gpu_sm": "GPU %", "gpu_mem_gb": "GPU GB"}
_MOST_PANELS = 8
"""With more bins times resources than this, a panel adds up the bins of a class."""
_MOST_LABELS = 120
_MOST_EDGES = 1000
_KEY = (
    "black line: what there is · blue: what running steps need · red: needed beyond it · "
    "pale red: worker lost · hatched: failed"
)
_WIDTH_IN = 11.0
_Lane = tuple["list[_Bar]", "list[int]"]
"""The bars of a bin, and the row of each."""


def check_picture(path: Path) -> None:
    """Refuse early what :func:`draw` could not write.

    :raises DataError: the name has another ending than .png, .svg or .pdf, or its folder does not exist.
    :raises ConfigError: matplotlib is not installed.
    """
    if path.suffix.lower() not in _FORMATS:
        raise DataError(
            f"{path} ends in none of {', '.join(_FORMATS)}.", remedy="Name a picture such as simulation.png."
        )
    if not path.parent.is_dir():
        raise DataError(f"The folder {path.parent} does not exist.", remedy="Make it, or name another.")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "Pictures need matplotlib, which is not installed.",
            remedy="Run pip install 'airflow-provider-tomas[plots]'.",
        )


def draw(result: SimulationResult, path: Path, *, title: str = "") -> None:
    """Draw one run that was simulated with its curves of use.

    :param path: the format follows its ending.
    :raises DataError: the file cannot be written.
    """
    check_picture(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # A sign that no installed font has becomes a box; that needs no line on the terminal.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    with mpl.rc_context({"font.family": _fonts(), "svg.fonttype": "path", "axes.unicode_minus": False}):
        bars = _bars_of(result)
        of_bins: dict[int, list[_Bar]] = {}
        for bar in bars:
            of_bins.setdefault(bar.bin, []).append(bar)
        shown = [n for n, run in enumerate(result.bins) if n in of_bins or _lost(run, result.end_at_ms)]
        shown = shown or list(range(len(result.bins)))
        lanes = [(of_bins.get(number, []), _rows(of_bins.get(number, []))) for number in shown]
        rows = sum(_height(lane) for lane in lanes)
        panels = _panels(result)
        gantt_in = min(14.0, max(1.6, 0.28 * rows + 0.6))
        heights = [gantt_in, *[0.85] * len(panels)]
        figure = Figure(figsize=(_WIDTH_IN, sum(heights) + 1.3), layout="constrained", facecolor="white")
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        scale, unit = _time_unit(result.end_at_ms)
        _gantt(axes[0], result, shown, lanes, scale)
        for axis, (name, column, runs) in zip(axes[1:], panels, strict=True):
            _usage(axis, name, column, runs, result, scale)
        axes[-1].set_xlabel(f"{unit} from the start of the simulation", color=_SOFT)
        axes[0].set_xlim(0, max(result.end_at_ms / scale, 1e-9) * 1.005)
        figure.text(0.01, -0.005, _KEY, fontsize=8, color=_SOFT, va="top")
        if title:
            figure.suptitle(title, fontsize=11, color=_INK, x=0.01, ha="left", parse_math=False)
        _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(path, dpi=130, bbox_inches="tight", pad_inches=0.12)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.", remedy="Name another file.") from None


def _fonts() -> list[str]:
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *[name for name in _CJK if name in installed][:1]]


def _time_unit(last_ms: float) -> tuple[float, str]:
    for scale, unit, most in ((1.0, "ms", 2e3), (1e3, "s", 6e5), (6e4, "min", 1.5e7)):
        if last_ms <= most:
            return scale, unit
    return 3.6e6, "h"


@dataclass(frozen=True)
class _Bar:
    """A try of a step in the Gantt chart."""

    job: int
    step: int
    bin: int
    start_ms: float
    end_ms: float
    bad: bool
    """It failed, or never ended."""


def _bars_of(result: SimulationResult) -> list[_Bar]:
    """All tries by start; one that never ended goes on to the right edge."""
    bars = [_Bar(one.job, one.step, one.bin, one.start_ms, one.end_ms, True) for one in result.failed_tries]
    for index in np.flatnonzero(np.isin(result.state, (StepState.DONE, StepState.RUNNING))).tolist():
        start, end = float(result.start_ms[index]), float(result.end_ms[index])
        running = not math.isfinite(end)
        where = int(result.job[index]), int(result.step[index]), int(result.bin[index])
        bars.append(_Bar(*where, start, max(start, result.end_at_ms) if running else end, running))
    return sorted(bars, key=lambda bar: (bar.start_ms, bar.job, bar.step))


def _rows(bars: Sequence[_Bar]) -> list[int]:
    """The row of each bar of one bin, so that no two overlap."""
    free_at: list[float] = []
    rows = []
    for bar in bars:
        row = next((i for i, until in enumerate(free_at) if until <= bar.start_ms + 1e-6), len(free_at))
        if row == len(free_at):
            free_at.append(0.0)
        free_at[row] = bar.end_ms
        rows.append(row)
    return rows


def _gantt(
    axis: Axes, result: SimulationResult, shown: Sequence[int], lanes: Sequence[_Lane], scale: float
) -> None:
    colours = _colours(result)
    label_all = sum(len(bars) for bars, _ in lanes) <= _MOST_LABELS
    total = sum(_height(lane) for lane in lanes)
    top = 0
    ticks: list[tuple[float, str]] = []
    for number, (bars, rows) in zip(shown, lanes, strict=True):
        height = _height((bars, rows))
        ticks.append((top + height / 2, result.bins[number].bin.name))
        for start, end in _lost(result.bins[number], result.end_at_ms):
            # In shares of the axis, which counts from its lower edge.
            within = (1 - (top + height) / total, 1 - top / total)
            axis.axvspan(start / scale, end / scale, *within, color=_RED, alpha=0.12, lw=0)
        placed = [(bar, top + row) for bar, row in zip(bars, rows, strict=True)]
        _draw_bars(axis, placed, scale, colours)
        for bar, row in placed if label_all else ():
            _label(axis, result, bar, row, scale, colours)
        top += height
        axis.axhline(top, color=_GRID if top < total else _SOFT, lw=0.8, zorder=0)
    axis.set_ylim(top, 0)
    axis.set_yticks([position for position, _ in ticks], [name for _, name in ticks], parse_math=False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelbottom=False, length=0)
    _plain(axis)
    axis.grid(axis="x", color=_GRID, lw=0.6, zorder=0)
    _legend(axis, result)


def _height(lane: _Lane) -> int:
    """Rows of a bin."""
    return max(lane[1], default=0) + 1


def _draw_bars(axis: Axes, placed: Sequence[tuple[_Bar, int]], scale: float, colours: Sequence[str]) -> None:
    """All bars of a bin in two collections, as thousands of single patches would take long."""
    from matplotlib.collections import PolyCollection

    # White edges tell few bars apart; of many they would be all that is seen.
    edge = 0.4 if len(placed) <= _MOST_EDGES else 0.0
    for bad in (False, True):
        corners, faces = [], []
        for bar, row in placed:
            if bar.bad is bad:
                left, right, top, bottom = bar.start_ms / scale, bar.end_ms / scale, row + 0.11, row + 0.89
                corners.append([(left, top), (right, top), (right, bottom), (left, bottom)])
                faces.append(colours[bar.job])
        if corners:
            axis.add_collection(
                PolyCollection(
                    corners, facecolors=faces, edgecolors=_RED if bad else "white", hatch="////" if bad else None,
                    linewidths=1.0 if bad else edge, zorder=2,
                )
            )  # fmt: skip


def _label(
    axis: Axes, result: SimulationResult, bar: _Bar, row: float, scale: float, colours: Sequence[str]
) -> None:
    step = result.given[bar.job].workload.steps[bar.step]
    # About 150 signs of this size fill the axis; a label that does not fit its bar is shortened, then left out.
    room = int((bar.end_ms - bar.start_ms) / max(result.end_at_ms, 1e-9) * 150) - 1
    text = next((text for text in (f"{step.id} {step.tool}".strip(), step.id) if len(text) <= room), "")
    if text:
        axis.text(
            bar.start_ms / scale, row + 0.52, f" {text}", va="center", ha="left", fontsize=7.5, zorder=3,
            clip_on=True, color=_ink_on(colours[bar.job]), parse_math=False,
        )  # fmt: skip


def _colours(result: SimulationResult) -> list[str]:
    """One per job: by plan where there are several, else by job."""
    names = _names(result)
    numbers = [names[job.workload] for job in result.jobs] if len(names) > 1 else range(len(result.jobs))
    return [_PLAN_COLOURS[number % len(_PLAN_COLOURS)] for number in numbers]


def _names(result: SimulationResult) -> dict[str, int]:
    """The plans that arrive, numbered by first arrival."""
    names: dict[str, int] = {}
    for job in result.jobs:
        names.setdefault(job.workload, len(names))
    return names


def _ink_on(colour: str) -> str:
    """Dark on light colours, white on dark ones (relative luminance of WCAG 2, without its gamma)."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return _INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.6 else "white"


def _legend(axis: Axes, result: SimulationResult) -> None:
    from matplotlib.patches import Patch

    names = _names(result)
    if len(names) < 2:
        return
    handles: list[Any] = [
        Patch(color=colour, label=name) for colour, name in zip(_PLAN_COLOURS, names, strict=False)
    ]
    axis.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False, fontsize=8)


def _panels(result: SimulationResult) -> list[tuple[str, int, list[BinRun]]]:
    """What the lower panels show: title, resource, the bins that are added up."""
    wanted = [column for column in range(4) if any(run.used[column] > 0 for run in result.bins)]
    single = [
        (f"{run.bin.name}\n{_UNITS[RESOURCE_NAMES[column]]}", column, [run])
        for column in wanted
        for run in result.bins
        if run.used[column] > 0
    ]
    if len(single) <= _MOST_PANELS:
        return single
    classes: dict[str, list[BinRun]] = {}
    for run in result.bins:
        classes.setdefault(run.bin.worker_class, []).append(run)
    grouped = [
        (f"{name} ({len(runs)})\n{_UNITS[RESOURCE_NAMES[column]]}", column, runs)
        for column in wanted
        for name, runs in classes.items()
        if any(run.used[column] > 0 for run in runs)
    ]
    if len(grouped) <= _MOST_PANELS:
        return grouped
    return [(f"all bins\n{_UNITS[RESOURCE_NAMES[column]]}", column, list(result.bins)) for column in wanted]


def _usage(
    axis: Axes, name: str, column: int, runs: Sequence[BinRun], result: SimulationResult, scale: float
) -> None:
    """What is needed, filled; what there is, a line; what is needed beyond it, red."""
    last = result.end_at_ms
    marks = {0.0, last}
    for run in runs:
        marks.update(stretch.start_ms for stretch in run.bin.stretches if stretch.start_ms < last)
        if run.usage is not None:
            marks.update(run.usage.times_ms[run.usage.times_ms < last].tolist())
    times = np.array(sorted(marks))
    needed, there, over = np.zeros(len(times)), np.zeros(len(times)), np.zeros(len(times))
    for run in runs:
        free = np.array([0.0 if one.lost else one.free[column] for one in run.bin.stretches])
        own = free[np.searchsorted([one.start_ms for one in run.bin.stretches], times, side="right") - 1]
        need = np.zeros(len(times))
        if run.usage is not None:
            need = run.usage.amounts[np.searchsorted(run.usage.times_ms, times, side="right") - 1, column]
        needed, there, over = needed + need, there + own, over + np.maximum(0.0, need - own)
    seconds = times / scale
    axis.fill_between(seconds, needed, step="post", color="#9ECAE9", lw=0, zorder=2)
    if (over > 1e-9).any():
        axis.fill_between(seconds, needed - over, needed, step="post", color=_RED, alpha=0.55, lw=0, zorder=3)
    axis.step(seconds, there, where="post", color=_INK, lw=1.2, zorder=4)
    axis.set_ylim(0, max(float(there.max()), float(needed.max()), 1e-9) * 1.15)
    axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8, color=_INK, parse_math=False)
    axis.tick_params(labelsize=8, colors=_SOFT)
    # Nothing, and the most there is: what lies between can be read off well enough.
    axis.set_yticks([0.0, float(there.max())] if there.max() > 0 else [0.0])
    axis.yaxis.set_major_formatter("{x:g}")
    _plain(axis)
    axis.grid(axis="x", color=_GRID, lw=0.6, zorder=0)


def _lost(run: BinRun, last: float) -> list[tuple[float, float]]:
    spans = []
    stretches = run.bin.stretches
    for number, stretch in enumerate(stretches):
        end = stretches[number + 1].start_ms if number + 1 < len(stretches) else math.inf
        if stretch.lost and stretch.start_ms < last:
            spans.append((stretch.start_ms, min(end, last)))
    return spans


def _plain(axis: Axes) -> None:
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(_SOFT)
