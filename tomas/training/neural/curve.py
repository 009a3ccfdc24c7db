"""The loss curve of a training run as a picture.

Needs matplotlib (``pip install 'airflow-provider-tomas[plots]'``), which is imported only when a picture is drawn.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tomas.errors import ConfigError, DataError
from tomas.training.neural.state import History

__all__ = ["check_curve_picture", "draw_curve"]

_FORMATS = (".pdf", ".png", ".svg")
_TRAIN, _VALID = "#4C78A8", "#F58518"


def check_curve_picture(path: Path) -> None:
    """Refuse early what :func:`draw_curve` could not write.

    :raises DataError: another ending than .png, .svg or .pdf, or no such folder.
    :raises ConfigError: matplotlib is not installed.
    """
    if path.suffix.lower() not in _FORMATS:
        raise DataError(f"{path} ends in none of {', '.join(_FORMATS)}.", remedy="Name a picture such as loss.png.")
    if not path.absolute().parent.is_dir():
        raise DataError(f"The folder of {path} does not exist.", remedy="Create it first.")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "Pictures need matplotlib, which is not installed.",
            remedy="pip install 'airflow-provider-tomas[plots]'.",
        )


def draw_curve(history: History, path: Path) -> None:
    """Draw every segment's mean loss per epoch, on what is trained on and on what is held out."""
    check_curve_picture(path)
    from matplotlib.figure import Figure

    names = [name for name in history.train[-1] if any(epoch.get(name) for epoch in history.train)]
    names.sort(key=lambda name: (name != "total", name))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel, name in zip(panels, names, strict=False):
        for epochs, colour, label in ((history.train, _TRAIN, "trained on"), (history.valid, _VALID, "held out")):
            values = [epoch.get(name, float("nan")) for epoch in epochs]
            if values:
                marker = "o" if len(values) < 30 else None
                numbers = range(1, len(values) + 1)
                panel.plot(numbers, values, color=colour, label=label, marker=marker, markersize=3)
        panel.set_title(name, loc="left", fontsize=9)
        panel.set_ylim(bottom=0)
        panel.grid(color="#E6E6E6")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    panels[0].legend(fontsize=8, framealpha=0.8)
    panels[0].set_xlabel("epoch", fontsize=8)
    figure.savefig(path, dpi=110)
