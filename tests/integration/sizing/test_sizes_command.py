"""``tomas sizes TOOL --store`` over a real store."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

from tomas.schema import ExecutionRecord, Outcome, Resources, StepUsage, utc_now
from tomas.store import Store
from tomas.tools.registry import Registry

REGISTRY = Registry.load(Path(__file__).parents[3] / "data/tool_registry/tools.json")


def sizes(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOMAS__")}
    return subprocess.run(
        [sys.executable, "-c", "from tomas.cli import main; main()", "sizes", *arguments, "--store"],
        capture_output=True,
        text=True,
        check=False,
        env={**clean, "COLUMNS": "180", "TOMAS__STORE__DSN": dsn},
    )


def record(number: int, at: datetime, *, tool: str, size: int, peak: float, broke: bool = False) -> ExecutionRecord:
    wall_ms = 500 + size / 1000
    return ExecutionRecord(
        plan_id="imported", step_id=f"{tool}{number}", tool=tool, try_number=1, bin="b1", host="h", dag_id="d",
        requested=Resources(cpu_cores=2, cpu_mem_gb=peak if broke else 4), input_bytes=size, output_bytes=2 * size,
        started_at=at, ended_at=at + timedelta(milliseconds=wall_ms),
        usage=StepUsage(
            wall_ms=wall_ms, peak_mem_gb=peak, cpu_seconds=wall_ms / 1000 * 1.5, peak_cpu_cores=2,
            outcome=Outcome.OUT_OF_MEMORY if broke else Outcome.SUCCESS,
        ),
    )  # fmt: skip


def test_records_of_the_store_are_replayed_and_the_next_run_is_foretold(
    dsn: str, store: Store, tmp_path: Path
) -> None:
    store.upsert_tools(REGISTRY)
    empty = sizes(dsn, "object_detection")
    assert empty.returncode == 0, empty.stderr
    assert "object_detection has no run yet." in empty.stdout
    assert "It rests on a guess, for there is no history." in empty.stdout

    dice, begun = random.Random(3), utc_now() - timedelta(days=400)  # noqa: S311
    history = []
    for number in range(60):
        size = int(10 ** dice.uniform(5, 7))
        peak = (0.3 + size / 1e7) * dice.lognormvariate(0, 0.03)
        at = begun + timedelta(days=6 * number)
        history.append(record(number, at, tool="object_detection", size=size, peak=peak))
    history.append(
        record(99, utc_now() - timedelta(hours=1), tool="object_detection", size=10**6, peak=0.2, broke=True)
    )
    stored = store.copy_records(history)
    assert (stored.stored, stored.rejected) == (61, {})

    picture = tmp_path / "sizes.png"
    done = sizes(dsn, "object_detection", "--input-bytes", "5e6", "--picture", str(picture))
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "Memory, each run sized from those before it: enough in" in said
    assert "1 try ran out of memory." in said
    assert "It rests on its own runs (" in said
    (line,) = [line for line in done.stdout.splitlines() if line.strip().startswith("5 MB")]
    memory_gb = float(line.split("GB")[0].split()[-1])
    assert 0.8 < memory_gb < 1.1, "0.8 GB is its median"
    assert "1.5 to 1.5" in line, "of two cores one and a half are used"
    assert "10 MB to" in line, "twice the input comes out"
    assert picture.stat().st_size > 10_000


def test_a_tool_without_runs_is_sized_by_its_family(dsn: str, store: Store) -> None:
    store.upsert_tools(REGISTRY)
    family = REGISTRY.get("object_detection").family
    cold, *relatives = [tool.name for tool in REGISTRY if tool.family == family]
    at = utc_now() - timedelta(days=1)
    store.copy_records(
        record(number, at + timedelta(minutes=number), tool=name, size=10**6, peak=0.5)
        for name in relatives
        for number in range(6)
    )
    done = sizes(dsn, cold)
    assert done.returncode == 0, done.stderr
    assert f"{cold} has no run yet." in done.stdout
    assert "It rests on the runs of its family, for it has none (" in done.stdout
