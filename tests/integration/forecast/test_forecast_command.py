"""``tomas forecast`` over a real store."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np

from tomas.schema import Bin, Resources, Sample, WorkerClass, utc_now
from tomas.store import Store

CAPACITY = Resources(cpu_cores=8, cpu_mem_gb=32)


def tomas(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOMAS__")}
    return subprocess.run(
        [sys.executable, "-c", "from tomas.cli import main; main()", "forecast", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**clean, "COLUMNS": "160", "TOMAS__STORE__DSN": dsn},
    )


def test_table_chart_csv_and_picture(dsn: str, store: Store, tmp_path: Path) -> None:
    bins = [Bin(name="b1", worker_class="c", queue="q", pool="p", capacity=CAPACITY)]
    store.upsert_worker_classes([WorkerClass(name="c", capacity=CAPACITY, bins=bins)])
    unknown = tomas(dsn, "nothing")
    assert unknown.returncode == 1
    assert "The store holds no bin nothing.\nRemedy: Name one of: b1." in unknown.stderr
    few = tomas(dsn, "b1")
    assert few.returncode == 1
    assert "the declared capacity" in " ".join(few.stdout.split())
    assert "too few for a forecast" in few.stderr
    now, draw = utc_now(), np.random.default_rng(0)
    used = 10 + np.cumsum(draw.normal(size=240)) * 0.2
    store.add_samples(
        Sample(
            bin="b1", at=now - timedelta(seconds=5 * (240 - i)), free=CAPACITY,
            background=Resources(cpu_cores=2, cpu_mem_gb=float(used[i])), reserved=Resources(),
        )
        for i in range(240)
    )  # fmt: skip
    table, picture = tmp_path / "f.csv", tmp_path / "f.png"
    done = tomas(dsn, "b1", "--hours", "0.05", "--csv", str(table), "--picture", str(picture))
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "forecast from recent samples" in said
    assert "240 of 240 readings used, one every 5 s." in said
    assert "Choice by" in said
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    memory = [row for row in rows if row["resource"] == "cpu_mem_gb"]
    assert {row["resource"] for row in rows} == {"cpu_cores", "cpu_mem_gb"}
    assert all(float(row["free_q05"]) <= float(row["free_q50"]) <= float(row["free_q95"]) for row in rows)
    assert abs(float(memory[0]["free_q50"]) - (32 - used[-1])) < 1
    assert all(float(row["free_q50"]) == 6 for row in rows if row["resource"] == "cpu_cores")
    assert picture.read_bytes().startswith(b"\x89PNG")
