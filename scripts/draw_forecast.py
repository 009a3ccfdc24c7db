#!/usr/bin/env python3
"""Draws docs/pictures/forecast.png: ``.venv/bin/python scripts/draw_forecast.py --output docs/pictures``.

The use is made up, with a fixed seed: a server whose load wanders, and jobs that come at random and hold memory.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tomas.forecast import clean_series
from tomas.forecast.fan import fan
from tomas.forecast.picture import draw_fan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the pictures")
    folder = parser.parse_args().output
    draw = np.random.default_rng(7)
    points = 1440
    load, cores, memory = 0.0, [], []
    jobs: list[tuple[int, float]] = []
    for at in range(points):
        load = 0.97 * load + draw.normal(scale=0.25)
        if draw.random() < 0.02:
            jobs.append((at + int(draw.exponential(60)), float(draw.uniform(3, 9))))
        jobs = [job for job in jobs if job[0] > at]
        cores.append(np.clip(5 + load + 0.8 * len(jobs) + draw.normal(scale=0.2), 0, 16))
        memory.append(min(18 + sum(size for _, size in jobs), 64))
    series = clean_series(1_767_225_600.0 + 10.0 * np.arange(points), np.array([cores, memory]))
    capacity = np.array([16.0, 64.0])
    draw_fan(
        fan(series, capacity, 1200),
        capacity,
        "Free capacity of a bin of 16 cores and 64 GB (made-up use)",
        folder / "forecast.png",
    )


if __name__ == "__main__":
    main()
