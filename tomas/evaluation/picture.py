"""Figures that are better looked at: confidence against truth, makespans, and what each panel is worth.

Needs matplotlib (``pip install 'airflow-provider-tomas[plots]'``), which is imported only when a picture is drawn.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tomas.errors import ConfigError, DataError
from tomas.evaluation.plans import Bin, Metrics
from tomas.evaluation.report import Report

__all__ = ["check_picture", "draw_report"]

_FORMATS = (".pdf", ".png", ".svg")
_COLOURS = ("#4C78A8", "#F58518", "#54A24B", "#B279A2")
_INK, _GRID = "#222222", "#E6E6E6"
_SHOWN = {
    "node_f1": "tools (node F1)",
    "edge_f1": "edges (F1)",
    "exact_plan": "whole plan right",
    "mode_accuracy": "mode near the optimum",
}


def check_picture(path: Path) -> None:
    """Refuse early what :func:`draw_report` could not write.

    :raises DataError: another ending than .png, .svg or .pdf, or no such folder.
    :raises ConfigError: matplotlib is not installed.
    """
    if path.suffix.lower() not in _FORMATS:
        raise DataError(f"{path} ends in none of {', '.join(_FORMATS)}.", remedy="Name one such as figures.png.")
    if not path.absolute().parent.is_dir():
        raise DataError(f"The folder of {path} does not exist.", remedy="Create it first.")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "Pictures need matplotlib, which is not installed.",
            remedy="pip install 'airflow-provider-tomas[plots]'.",
        )


def draw_report(report: Report, path: Path) -> None:
    """Draw calibration, makespans, and the ablation as far as they were measured."""
    check_picture(path)
    from matplotlib.figure import Figure

    above = bool(report.calibration) + bool(report.makespan_given)
    tall = 0.42 * len(report.ablation) + 1.2 if report.ablation else 0.0
    figure = Figure(figsize=(10.0, 3.8 * bool(above) + tall), layout="constrained")
    heights = [height for height in (3.8 * bool(above), tall) if height]
    parts = iter(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if above:
        panels = iter(next(parts).subplots(1, above, squeeze=False)[0])
        if report.calibration:
            _calibration(next(panels), report.calibration)
        if report.makespan_given:
            _makespans(next(panels), report.makespan_given)
    if report.ablation:
        _ablation(next(parts).subplots(1, len(_SHOWN), sharey=True), report.ablation)
    figure.savefig(path, dpi=120)


def _calibration(axes: Any, curves: Mapping[str, Sequence[Bin]]) -> None:
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":", label="as sure as right")
    for colour, (name, bins) in zip(_COLOURS, curves.items(), strict=False):
        x, y = [item.confidence for item in bins], [item.right for item in bins]
        most = max((item.count for item in bins), default=1)
        axes.plot(x, y, color=colour, linewidth=1, label=name)
        axes.scatter(x, y, s=[12 + 140 * item.count / most for item in bins], color=colour, alpha=0.7)
    axes.set_title("Confidence of a chosen tool against truth (size: how many)", loc="left", fontsize=9)
    axes.set_xlabel("confidence", fontsize=8)
    axes.set_ylabel("share that is right", fontsize=8)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.05)
    axes.legend(fontsize=8, frameon=False)
    _plain(axes)


def _makespans(axes: Any, table: Mapping[str, Metrics]) -> None:
    names = [name for name in table if table[name]["geometric"] is not None]
    values = [float(table[name]["geometric"] or 0.0) for name in names]
    axes.bar(range(len(names)), [value - 1.0 for value in values], bottom=1.0, color=_colours(names))
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        lost = table[name]["infeasible"] or 0.0
        axes.text(place, value, f"{value:.2f}\n{lost:.1%} without", ha="center", va="bottom", fontsize=7)
    axes.axhline(1.10, color=_INK, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names], fontsize=8)
    axes.set_ylim(1.0, 1.0 + 1.25 * (max(values, default=1.2) - 1.0))
    axes.set_title("Makespan ÷ the least, geometric mean; share without one", loc="left", fontsize=9)
    _plain(axes)


def _ablation(panels: Sequence[Any], table: Mapping[str, Metrics]) -> None:
    names = list(table)[::-1]
    for axes, (column, title) in zip(panels, _SHOWN.items(), strict=True):
        values = [table[name][column] or 0.0 for name in names]
        axes.barh(range(len(names)), values, color=[_COLOURS[name != "full"] for name in names])
        for place, value in enumerate(values):
            axes.text(value + 0.01, place, f"{value:.2f}", va="center", fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_xlim(0, 1.12)
        axes.set_title(title, loc="left", fontsize=9)
        _plain(axes)


def _colours(names: Sequence[str]) -> list[str]:
    return [_COLOURS[0] if name in ("model", "projected") else _COLOURS[1] for name in names]


def _plain(axes: Any) -> None:
    axes.grid(color=_GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
