"""A picture of a tool's sizes: peaks and latencies of its runs under what is chosen by input size.

Needs matplotlib (``pip install 'airflow-provider-tomas[plots]'``), which is imported only when a picture is drawn.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tomas.errors import ConfigError, DataError
from tomas.sizing.replay import Foretold, Replay

__all__ = ["draw_sizes"]

_FORMATS = (".pdf", ".png", ".svg")
_COLOURS = ("#4C78A8", "#F58518", "#54A24B", "#B279A2", "#72B7B2", "#9D755D")
_INK, _GRID, _RED = "#222222", "#E6E6E6", "#C62828"
_POINTS = 80
_WIDE = 20.0
"""A scale is logarithmic where its values span more than this factor."""


def draw_sizes(tool: str, history: Replay, path: Path) -> None:
    """Draw the tool's runs, and the sizer's answers as lines.

    :param path: the format follows its ending.
    :raises DataError: the file's ending is unknown, it cannot be written, or the tool has no run.
    :raises ConfigError: matplotlib is not installed.
    """
    if path.suffix.lower() not in _FORMATS:
        raise DataError(
            f"{path} ends in none of {', '.join(_FORMATS)}.", remedy="Name a picture such as sizes.png."
        )
    runs = [run for run in history.runs if run.tool == tool]
    if not runs:
        raise DataError(f"{tool} has no run to draw.", remedy="Run or profile it first.")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "Pictures need matplotlib, which is not installed.",
            remedy="Run pip install 'airflow-provider-tomas[plots]'.",
        ) from error
    figure = Figure(figsize=(11.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = np.array([max(run.input_bytes, 1.0) for run in runs])
    ends = (math.log10(sizes.min()) - 0.15, math.log10(sizes.max()) + 0.3)
    grid = np.logspace(*ends, _POINTS)
    _memory(left, tool, history, runs, grid)
    left.legend(frameon=False, fontsize=8)
    _latency(right, tool, history, runs, grid)
    for axes in (left, right):
        axes.set_xscale("log")
        low, high = axes.dataLim.y0, axes.dataLim.y1
        if high > _WIDE * max(low, 1e-9):
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter("{x:g}")
        else:
            axes.set_ylim(0.0, 1.15 * high)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("input, MB")
        axes.grid(color=_GRID, which="major")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{tool}: {len(runs)} runs", x=0.01, ha="left", color=_INK, fontweight="bold")
    try:
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error}.", remedy="Name another file.") from error


def _memory(axes: object, tool: str, history: Replay, runs: list[Foretold], grid: np.ndarray) -> None:
    gpu = all(run.gpu_sm > 0 for run in runs)
    choices = [history.sizer.choice(tool, float(size), gpu=gpu) for size in grid]
    peaks = [run.peak_gb for run in runs]
    axes.scatter([run.input_bytes / 1e6 for run in runs], peaks, s=14, alpha=0.55, color=_COLOURS[0], label="peaks")  # type: ignore[attr-defined]
    broken = [run for name, run in history.broken if name == tool]
    if broken:
        axes.scatter(  # type: ignore[attr-defined]
            [max(item.input_bytes, 1.0) / 1e6 for item in broken], [item.peak_gb for item in broken],
            marker="^", s=26, color=_RED, label="ran out of memory here",
        )  # fmt: skip
    axes.plot(grid / 1e6, [choice.gb for choice in choices], color=_INK, label="enough for the next run")  # type: ignore[attr-defined]
    axes.plot(  # type: ignore[attr-defined]
        grid / 1e6,
        [choice.median_gb for choice in choices],
        color=_COLOURS[0],
        linewidth=1,
        label="median foretold",
    )
    axes.set_ylabel("memory, GB")  # type: ignore[attr-defined]


def _latency(axes: object, tool: str, history: Replay, runs: list[Foretold], grid: np.ndarray) -> None:
    kinds = sorted({(run.cores, run.gpu_sm) for run in runs})[: len(_COLOURS)]
    for colour, (cores, gpu_sm) in zip(_COLOURS, kinds, strict=False):
        own = [run for run in runs if (run.cores, run.gpu_sm) == (cores, gpu_sm)]
        label = f"{cores:g} core{'' if cores == 1 else 's'}" + (f", GPU {gpu_sm:g} %" if gpu_sm else "")
        axes.scatter(  # type: ignore[attr-defined]
            [run.input_bytes / 1e6 for run in own], [run.latency_ms / 1000 for run in own],
            s=14, alpha=0.55, color=colour, label=label,
        )  # fmt: skip
        lines = np.array([history.sizer.times_ms(tool, float(size), [cores], gpu_sm=gpu_sm)[0] for size in grid])
        for line, style in zip(lines.T, ("-", "--"), strict=True):
            axes.plot(grid / 1e6, line / 1000, style, color=colour, linewidth=1)  # type: ignore[attr-defined]
    axes.set_ylabel("run time, s (median; dashed: nine of ten)")  # type: ignore[attr-defined]
    axes.legend(frameon=False, fontsize=8)  # type: ignore[attr-defined]
