"""``tomas simulate`` over plans and bins of a real store."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.unit.simulate.small import a_plan, plan_step
from tomas.schema import Bin, Resources, WorkerClass
from tomas.store import Store


def tomas(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOMAS__")}
    return subprocess.run(
        [sys.executable, "-c", "from tomas.cli import main; main()", "simulate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**clean, "COLUMNS": "160", "TOMAS__STORE__DSN": dsn},
    )


def test_plans_and_bins_come_from_the_store(dsn: str, store: Store) -> None:
    capacity = Resources(cpu_cores=4, cpu_mem_gb=8)
    bins = [Bin(name="b1", worker_class="c", queue="q", pool="p", capacity=capacity)]
    store.upsert_worker_classes([WorkerClass(name="c", capacity=capacity, bins=bins)])
    none = tomas(dsn, "--recent", "1")
    assert none.returncode == 1
    assert "The store holds no plan." in none.stderr
    plan = a_plan([plan_step("s1", []), plan_step("s2", ["s1"], start_ms=200)])
    store.release_plan(plan, [], lambda _: None)
    for arguments in (("--plan", plan.id), ("--recent", "5")):
        done = tomas(dsn, *arguments, "--latency", "p90", "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert [one["name"] for one in found["plans"]] == [plan.id[:8]]
        assert found["plans"][0]["makespan_ms"]["max"] == 400
        assert [one["name"] for one in found["bins"]] == ["b1"]
    unknown = tomas(dsn, "--plan", "nothing")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("StoreError: There is no plan nothing")
