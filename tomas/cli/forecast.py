"""``tomas forecast BIN``: what a bin will have free, how it is known, and how well that went before."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.text import Text

from tomas.cli.render import amount, console, new_table
from tomas.config import get_settings
from tomas.errors import DataError
from tomas.schema import RESOURCE_NAMES, Bin, CapacityCurve, Reservation, Resources, utc_now

if TYPE_CHECKING:
    from tomas.forecast.fan import Fan

FloatArray = npt.NDArray[np.float64]

_SHORT = {"cpu_cores": "cores", "cpu_mem_gb": "memory GB", "gpu_sm": "GPU %", "gpu_mem_gb": "GPU GB"}
_CHART_ROWS = 9
_CHART_PAST = 48


def forecast(
    bin_name: Annotated[str, typer.Argument(metavar="BIN", help="Name of the bin.")],
    hours: Annotated[float, typer.Option(min=0.001, help="How far ahead, at most a third of the past.")] = 0.25,
    back: Annotated[float, typer.Option(min=0.01, help="Hours of samples to learn from.")] = 3.0,
    picture: Annotated[Path | None, typer.Option(help="Draw the fan chart: FILE.png, .svg or .pdf.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write all quantiles to this file.")] = None,
) -> None:
    """Forecast what a bin of the store has free, from its samples and reservations."""
    from tomas.forecast import forecast as capacity_curves
    from tomas.forecast.background import bin_series
    from tomas.forecast.fan import fan
    from tomas.forecast.picture import check_fan_picture, draw_fan
    from tomas.store import Store

    if picture is not None:
        check_fan_picture(picture)
    settings, now = get_settings(), utc_now()
    with Store.from_settings() as store:
        store.check_schema()
        place = _bin(store.bins(), bin_name)
        samples = store.recent_samples(now - timedelta(hours=back), bins=[bin_name])
        end = now + timedelta(hours=hours)
        held = [item for item in store.reservations(now, end) if item.bin == bin_name]
    since = now - timedelta(seconds=settings.sampler.recent_s)
    (curve,) = capacity_curves(
        [place],
        samples=[sample for sample in samples if sample.at >= since],
        reservations=held,
        start_at=now,
        horizon_ms=hours * 3_600_000,
        step_ms=settings.planner.grid_ms,
        naive=settings.runtime.naive_mode.enabled,
    )
    _planner_view(place, curve, len(held))
    series = bin_series(samples, now)
    console.print(Text.assemble(("Samples ", "bold"), f"{series.report}, one every {series.step_s:g} s."))
    shown = fan(series, np.array(list(place.capacity)), hours * 3600)
    age_s = now.timestamp() - series.last_s
    if age_s > 12 * series.step_s:
        console.print(
            Text.assemble(("Note: ", "yellow"), f"the newest sample is {age_s:.0f} s old; does the sampler run?")
        )
    _methods(place, shown)
    _table(place, shown, held)
    _chart(place, shown)
    if csv_file is not None:
        _write(csv_file, place, shown)
    if picture is not None:
        draw_fan(
            shown, np.array(list(place.capacity)), f"Free capacity of {bin_name}, reservations not counted", picture
        )


def _bin(bins: list[Bin], name: str) -> Bin:
    for item in bins:
        if item.name == name:
            return item
    known = ", ".join(sorted(item.name for item in bins)) or "(none)"
    raise DataError(f"The store holds no bin {name}.", remedy=f"Name one of: {known}.")


def _planner_view(place: Bin, curve: CapacityCurve, held: int) -> None:
    how = {
        "learned": "forecast from recent samples",
        "samples": "the quantile of few samples",
        "declared": "the declared capacity, for want of recent samples",
        "naive": "the fixed curves of naive mode",
    }[curve.source]
    console.print(
        Text.assemble(
            (f"{place.name} ", "bold"),
            f"has {amount(place.capacity)}. A plan made now reckons with {amount(_rounded(curve.at_index(0)))}: "
            f"{how}, at {curve.quantile:.0%}, less {held} reservation{'' if held == 1 else 's'}; "
            f"spread {curve.spread:.0%} of the capacity.",
        )
    )


def _rounded(value: Resources) -> Resources:
    return Resources(**{name: round(getattr(value, name), 2) for name in RESOURCE_NAMES})


def _channels(place: Bin) -> list[int]:
    return [i for i, amount_ in enumerate(place.capacity) if amount_ > 0]


def _methods(place: Bin, shown: Fan) -> None:
    right = ("weight", "its loss", "loss of the mixture", "90 % held")
    table = new_table(f"Choice by {shown.found.origins} back-tests", "resource", "method", *right, right=right)
    for i in _channels(place):
        loss, best = shown.found.loss[i], int(shown.found.weights[i].argmax())
        row = [f"{shown.found.weights[i, best]:.0%}"]
        row += [f"{value:.3g}" for value in (shown.found.expert_loss[i, best], loss)]
        table.add_row(_SHORT[RESOURCE_NAMES[i]], shown.found.chosen(i), *row, f"{shown.found.coverage[i]:.0%}")
    console.print(table)


def _table(place: Bin, shown: Fan, held: list[Reservation]) -> None:
    channels = _channels(place)
    names = [_SHORT[RESOURCE_NAMES[i]] for i in channels]
    title = "Free at 10 % / 50 % / 90 %, other work subtracted"
    table = new_table(title, "at (UTC)", *names, "reserved", right=names)
    for column, at_s in enumerate(shown.ahead_s.tolist()):
        at = datetime.fromtimestamp(at_s, UTC)
        cells = [" / ".join(f"{value:.1f}" for value in shown.ahead[i, column, [1, 3, 5]]) for i in channels]
        taken = sum((item.need for item in held if item.start_at <= at < item.end_at), Resources())
        table.add_row(f"{at:%H:%M:%S}", *cells, amount(_rounded(taken)) if any(taken) else "–")
    console.print(table)


def _chart(place: Bin, shown: Fan) -> None:
    """Of the resource whose forecast is widest: the past as points, the fan as shades."""
    capacity = np.array(list(place.capacity))
    channels = _channels(place)
    widths = [(shown.ahead[i, :, -1] - shown.ahead[i, :, 0]).max() / capacity[i] for i in channels]
    i = channels[int(np.argmax(widths))]
    past = shown.history[i, -_CHART_PAST:]
    drawn = np.append(past, shown.ahead[i])
    bottom, top = float(drawn.min()), float(drawn.max())
    if top - bottom < 1e-9:
        bottom, top = 0.0, float(capacity[i])
    height = (top - bottom) / _CHART_ROWS
    console.print(
        f"{_SHORT[RESOURCE_NAMES[i]]} free: past •, median ━, half ▓, 90 % ░; each column of the fan is a row above"
    )
    for row in range(_CHART_ROWS, 0, -1):
        low, high = bottom + height * (row - 1), bottom + height * row

        def inside(value: float, low: float = low, high: float = high, lowest: bool = row == 1) -> bool:
            return low < value <= high + 1e-9 or (lowest and value <= low)

        line = Text(f"{high:8.1f} │")
        line.append("".join("•" if inside(value) else " " for value in past))
        for quantiles in shown.ahead[i]:
            if inside(quantiles[3]):
                cell = "━━"
            elif quantiles[2] <= high and quantiles[4] > low:
                cell = "▓▓"
            elif quantiles[0] <= high and quantiles[-1] > low:
                cell = "░░"
            else:
                cell = "  "
            line.append(cell, "cyan")
        console.print(line)


def _write(path: Path, place: Bin, shown: Fan) -> None:
    from tomas.forecast.fan import FAN_LEVELS

    try:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["bin", "at", "resource", *(f"free_q{round(100 * level):02d}" for level in FAN_LEVELS)])
            for i in _channels(place):
                for at_s, row in zip(shown.ahead_s.tolist(), shown.ahead[i].tolist(), strict=True):
                    at = datetime.fromtimestamp(at_s, UTC).isoformat()
                    writer.writerow([place.name, at, RESOURCE_NAMES[i], *(round(value, 6) for value in row)])
    except OSError as error:
        raise DataError(
            f"{path} could not be written: {error}.", remedy="Name a file in a folder that exists."
        ) from error
