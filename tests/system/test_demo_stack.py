"""The stack itself: its workers consume, its secrets stay secret, its home admits one stack."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from tomas.demo.processes import MARKER
from tomas.demo.stack import Stack


def stack_processes(stack: Stack) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == stack.secrets.stack_id:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def test_every_worker_consumes_its_queue(stack: Stack) -> None:
    run_id = stack.trigger("system_probe")
    assert stack.wait_run("system_probe", run_id, 180) == "success"
    routes = {
        row.task_id: (row.queue, row.pool, row.pool_slots) for row in stack.task_instances("system_probe", run_id)
    }
    assert routes == {
        "on_planner": ("tomas_planner", "default_pool", 1),
        "on_small": ("tomas_small_1", "tomas_small_1", 30),
        "on_large": ("tomas_large_1", "tomas_large_1", 70),
    }
    for worker in ("worker-planner", "worker-small_1", "worker-large_1"):
        assert "Executing workload" in stack.logs(worker)


def test_each_bin_has_a_pool_of_a_hundred_slots(stack: Stack) -> None:
    pools = {row["name"]: row["slots"] for row in stack.api.get("/api/v2/pools").json()["pools"]}
    assert {item.pool: 100 for item in stack.bins}.items() <= pools.items()
    assert pools["tomas_unrouted"] == 1


def test_the_sampler_writes_what_the_bins_have_free(stack: Stack) -> None:
    samples = stack.store.recent_samples(stack.started_at)
    assert {sample.bin for sample in samples} == {item.name for item in stack.bins}


def test_a_login_is_asked_for_and_a_viewer_cannot_trigger(stack: Stack) -> None:
    assert httpx.get(f"{stack.url}/api/v2/dags", trust_env=False).status_code == 401
    assert stack.viewer.get("/api/v2/dags").status_code == 200
    answer = stack.viewer.post("/api/v2/dags/system_probe/dagRuns", json={"logical_date": None})
    assert answer.status_code == 403


def test_no_secret_stands_in_an_argument_or_a_log(stack: Stack) -> None:
    secrets = [value for name, value in stack.secrets.__dict__.items() if name != "stack_id"]
    processes = stack_processes(stack)
    assert len(processes) >= 8
    for process in processes:
        words = " ".join(process.cmdline()) if process.is_running() else ""
        assert not any(secret in words for secret in secrets), process
    for log in stack.home.logs.rglob("*.log"):
        text = log.read_text(errors="replace")
        assert not any(secret in text for secret in secrets), log


def test_files_with_secrets_are_readable_by_their_owner_alone(stack: Stack) -> None:
    holders = [
        path
        for path in stack.home.root.glob("*.json*")
        if any(secret in path.read_text() for secret in stack.secrets.__dict__.values())
    ]
    assert {path.name for path in holders} >= {"secrets.json", "airflow_passwords.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}


def test_a_second_demo_on_the_same_home_refuses(stack: Stack) -> None:
    command = [str(Path(sys.executable).with_name("tomas")), "demo", "--ci", "--home", str(stack.home.root)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "Another TOMAS stack" in result.stdout
    assert stack.airflow_api.health()["scheduler"]["status"] == "healthy"


def test_the_airflow_command_line_sees_this_stack(stack: Stack) -> None:
    result = stack.airflow("pools", "list", "--output", "json")
    names = {row["pool"] for row in json.loads(result.stdout[result.stdout.index("[") :])}
    assert "tomas_large_1" in names
