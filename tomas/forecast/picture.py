"""A fan chart of what a bin has free: the past, an earlier forecast of it, and the time ahead.

Needs matplotlib (``pip install 'airflow-provider-tomas[plots]'``), which is imported only when a picture is drawn.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tomas.errors import ConfigError, DataError
from tomas.forecast.fan import FAN_LEVELS, Fan, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_fan_picture", "draw_fan"]

_FORMATS = (".pdf", ".png", ".svg")
_UNITS = ("cores", "memory, GB", "GPU, % of SMs", "GPU memory, GB")
_NOW, _BEFORE, _INK = "#4C78A8", "#F58518", "#222222"


def check_fan_picture(path: Path) -> None:
    """Refuse early what :func:`draw_fan` could not write.

    :raises DataError: another ending than .png, .svg or .pdf, or no such folder.
    :raises ConfigError: matplotlib is not installed.
    """
    if path.suffix.lower() not in _FORMATS:
        raise DataError(
            f"{path} ends in none of {', '.join(_FORMATS)}.", remedy="Name a picture such as forecast.png."
        )
    if not path.absolute().parent.is_dir():
        raise DataError(f"The folder of {path} does not exist.", remedy="Create it first.")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "Pictures need matplotlib, which is not installed.",
            remedy="pip install 'airflow-provider-tomas[plots]'.",
        )


def draw_fan(shown: Fan, capacity: FloatArray, title: str, path: Path) -> None:
    """Draw every channel with a capacity, one panel each."""
    check_fan_picture(path)
    from matplotlib.figure import Figure

    channels = [i for i in range(len(capacity)) if capacity[i] > 0]
    figure = Figure(figsize=(9.0, 1.2 + 2.2 * len(channels)), layout="constrained")
    panels = figure.subplots(len(channels), 1, sharex=True, squeeze=False)[:, 0]
    # As much past as makes the fans legible.
    begin = shown.history_s[-1] - 4 * (shown.ahead_s[-1] - shown.history_s[-1])
    for panel, channel in zip(panels, channels, strict=True):
        seen = shown.history_s >= begin
        _fan(panel, shown.past_s, shown.past[channel], _BEFORE, "said before")
        _fan(panel, shown.ahead_s, shown.ahead[channel], _NOW, "said now")
        panel.plot(
            _times(shown.history_s[seen]), shown.history[channel, seen], color=_INK, linewidth=1, label="seen"
        )
        panel.set_ylim(0, capacity[channel] * 1.05)
        panel.set_ylabel(_UNITS[channel])
        panel.grid(color="#E6E6E6")
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(loc="lower left", ncols=3, fontsize=8, framealpha=0.8)
    panels[0].set_title(f"{title}\nbands: 50, 80 and 90 % of forecasts; line: median", loc="left", fontsize=9)
    panels[-1].tick_params(axis="x", rotation=20, labelsize=8)
    figure.savefig(path, dpi=110)


def _fan(panel: Axes, at_s: FloatArray, quantiles: FloatArray, colour: str, label: str) -> None:
    times = _times(at_s)
    for inner in range(len(FAN_LEVELS) // 2):
        panel.fill_between(
            times, quantiles[:, inner], quantiles[:, -1 - inner], color=colour, alpha=0.2, linewidth=0
        )
    panel.plot(times, quantiles[:, len(FAN_LEVELS) // 2], color=colour, linewidth=1.2, label=label)


def _times(at_s: FloatArray) -> npt.NDArray[np.datetime64]:
    return (at_s * 1e6).astype("datetime64[us]")
