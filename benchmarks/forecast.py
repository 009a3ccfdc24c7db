"""Forecasts of machines' use against simple methods and AutoETS, on any file of series.

    python -m benchmarks.forecast --series FILE.csv.gz

The first column names the series, the second holds time or step, the others are channels. Twelve steps are forecast
from origins every 12 points over the last third; a forecast sees its own series before the origin, nothing else.
Judged by quantile loss (levels 0.05 to 0.95, pooled over everything in a channel) and by the share of truths
between the outermost levels (randomised PIT). Series that are mostly zero are pooled apart. The last line is one
line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.forecast_baselines import BASELINES, auto_ets, baseline_quantiles
from tomas.errors import DataError, TomasError
from tomas.forecast.mixture import LEVELS, FloatArray, forecast_quantiles
from tomas.forecast.pool import misses, pinball, pit_bounds

HORIZON = 12
LEAST = 100
"""Shorter series have too few origins."""
OURS = "mixture"
ETS = "AutoETS"
_console = Console(stderr=True)


@dataclass
class Pool:
    """Losses of every method over the same series."""

    series: int = 0
    forecasts: int = 0
    loss: dict[str, float] = field(default_factory=dict)
    halves: dict[str, list[float]] = field(default_factory=dict)
    """Losses over the series whose checksum is even, and over the others: how far two halves differ."""
    ets: dict[str, float] = field(default_factory=dict)
    """Losses where AutoETS was run."""
    ets_forecasts: int = 0
    covered: float = 0.0
    points: int = 0
    brier: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    """Losses at points that are not zero."""

    def best(self) -> str:
        return min(BASELINES, key=lambda name: self.loss.get(name, float("inf")))

    def ratio(self) -> float | None:
        """Against the best baseline; AutoETS is one of them where it made every forecast."""
        best = self.loss[self.best()]
        if self.ets and self.ets_forecasts == self.forecasts:
            best = min(best, self.ets[ETS])
        return self.loss[OURS] / best if best > 0 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=Path, required=True, help="a CSV, gzipped or not")
    parser.add_argument("--ets-series", default="10", help="series for AutoETS, spread over all; a number, or all")
    parser.add_argument("--ets-origins", type=int, default=3, help="origins of each of those")
    options = parser.parse_args()
    try:
        result = run(options.series, options.ets_series, options.ets_origins)
    except TomasError as error:
        _console.print(f"[red]{error}[/]")
        return 1
    print(json.dumps(result))
    return 0


def read(path: Path) -> tuple[list[str], list[tuple[str, FloatArray]], float]:
    """Channels, series of at least :data:`LEAST` points as (points, channels), and the usual step in time."""
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} could not be read: {error}.", remedy="Pass a CSV with a header.") from error
    if table.shape[1] < 3:
        raise DataError(f"{path} has no channel.", remedy="Its columns are series, time, and at least one channel.")
    name, at, *channels = map(str, table.columns)
    table = table.replace([np.inf, -np.inf], np.nan).dropna().sort_values([name, at], kind="stable")
    series = [(str(key), part[channels].to_numpy(float)) for key, part in table.groupby(name)]
    step = float(table.groupby(name)[at].diff().median())
    return channels, [item for item in series if len(item[1]) >= LEAST], step


def run(path: Path, ets_series: str, ets_origins: int) -> dict[str, object]:
    channels, series, step = read(path)
    if not series:
        raise DataError(f"{path} has no series of {LEAST} points.", remedy="Pass longer series.")
    # A day, where the times are seconds; a step count says nothing about the day.
    season = round(86_400 / step) if step > 1.5 else None
    wanted = len(series) if ets_series == "all" else min(int(ets_series), len(series))
    chosen = {round(i * len(series) / wanted) for i in range(wanted)} if wanted else set()
    figures: dict[str, object] = {}
    spent, calls = 0.0, 0
    for column, channel in enumerate(channels):
        usual, sparse = Pool(), Pool()
        for number, (name, values) in enumerate(
            track(series, description=channel, console=_console, disable=not sys.stderr.isatty())
        ):
            one = values[:, column]
            pool = sparse if (one == 0).mean() > 0.5 else usual
            spent_here, calls_here = _series(pool, name, one, season, ets_origins if number in chosen else 0)
            spent, calls = spent + spent_here, calls + calls_here
        _show(channel, usual, sparse)
        figures[channel] = _figures(usual, sparse)
    return {
        "channels": figures,
        "ms_per_series": round(1000 * spent / calls, 2),
        "series": len(series),
        "ets_series": len(chosen),
        "ets_origins": ets_origins,
    }


def _series(pool: Pool, name: str, values: FloatArray, season: int | None, ets_origins: int) -> tuple[float, int]:
    first = -(-len(values) * 2 // 3)
    origins = np.arange(first, len(values) - HORIZON + 1, HORIZON)
    truth = values[origins[:, None] + np.arange(HORIZON)]
    began = time.thread_time()
    steps = np.arange(1, HORIZON + 1)
    ours = np.array([forecast_quantiles(values[None, :origin], steps).quantiles[0] for origin in origins])
    spent = time.thread_time() - began
    found = {OURS: ours, **baseline_quantiles(values, origins, HORIZON, season)}
    pool.series += 1
    pool.forecasts += len(origins)
    half = zlib.crc32(name.encode()) % 2
    busy = truth > 0
    for method, quantiles in found.items():
        loss = pinball(quantiles, LEVELS, truth).mean(axis=-1)
        _add(pool.loss, method, loss.sum())
        pool.halves.setdefault(method, [0.0, 0.0])[half] += float(loss.sum())
        _add(pool.busy, method, loss[busy].sum())
        idle = pit_bounds(quantiles, LEVELS, np.zeros_like(truth))[1]
        _add(pool.brier, method, ((1 - idle - busy) ** 2).sum())
    below, above = misses(*pit_bounds(ours, LEVELS, truth), LEVELS)
    pool.covered += float((1 - below - above).sum())
    pool.points += truth.size
    if ets_origins:
        some = np.unique(np.linspace(0, len(origins) - 1, ets_origins).round().astype(int))
        pool.ets_forecasts += len(some)
        fitted = auto_ets(values, origins[some], HORIZON)
        for method, quantiles in {ETS: fitted, **{key: item[some] for key, item in found.items()}}.items():
            _add(pool.ets, method, pinball(quantiles, LEVELS, truth[some]).mean(axis=-1).sum())
    return spent, len(origins)


def _add(sums: dict[str, float], name: str, amount: float) -> None:
    sums[name] = sums.get(name, 0.0) + float(amount)


def _figures(usual: Pool, sparse: Pool) -> dict[str, object]:
    """Of the channel without the series that are mostly zero, unless there are only those."""
    main = usual if usual.series else sparse
    figures: dict[str, object] = _pool_figures(main)
    if sparse.series and usual.series:
        figures["mostly_zero"] = _pool_figures(sparse)
    if sparse.series:
        busy = {name: sparse.busy[name] for name in BASELINES if name in sparse.busy}
        figures["brier_busy"] = round(sparse.brier[OURS] / sparse.points, 4)
        figures["brier_busy_best_baseline"] = round(min(sparse.brier[name] for name in busy) / sparse.points, 4)
        # Who says "busy" more often loses less when it is so, and more at all other times: of the baselines, the
        # one with the least loss overall is the fair one to compare with, the least of all is shown beside it.
        figures["loss_when_busy_ratio_best_baseline"] = _share(sparse.busy[OURS], busy[sparse.best()])
        figures["loss_when_busy_ratio_least_of_any"] = _share(sparse.busy[OURS], min(busy.values()))
    return figures


def _pool_figures(pool: Pool) -> dict[str, object]:
    ratio, best = pool.ratio(), pool.best()
    figures: dict[str, object] = {
        "ql_ratio_best_baseline": None if ratio is None else round(ratio, 3),
        "ql_ratio_last_value": _share(pool.loss[OURS], pool.loss["last value"]),
        "coverage_90_pct": round(100 * pool.covered / pool.points, 1),
        "best_baseline": best,
        "halves_ratio_best_baseline": [
            _share(*pair) for pair in zip(pool.halves[OURS], pool.halves[best], strict=True)
        ],
        "series": pool.series,
    }
    if pool.ets:
        figures["ets_forecasts"] = pool.ets_forecasts
        figures["ets_ratio_best_baseline_where_run"] = _share(pool.ets[ETS], pool.ets[best])
        figures["ql_ratio_ets_where_run"] = _share(pool.ets[OURS], pool.ets[ETS])
    return figures


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 3) if whole > 0 else None


def _show(channel: str, usual: Pool, sparse: Pool) -> None:
    table = Table(title=f"{channel}: quantile loss relative to the last value")
    table.add_column("method")
    pools = [(pool, text) for pool, text in ((usual, "series"), (sparse, "mostly zero")) if pool.series]
    for pool, text in pools:
        table.add_column(f"{pool.series} {text}", justify="right")
    for method in (OURS, *BASELINES):
        shares = [_share(pool.loss[method], pool.loss["last value"]) for pool, _ in pools if method in pool.loss]
        if shares:
            table.add_row(method, *(f"{share:.3f}" if share is not None else "–" for share in shares))
    _console.print(table)


if __name__ == "__main__":
    raise SystemExit(main())
