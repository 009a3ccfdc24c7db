"""The home keeps secrets private, admits one stack at a time, and finds free ports."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from tomas.demo.environment import build_environment
from tomas.demo.home import Home, Secrets, choose_port
from tomas.demo.seed import fit_to_host
from tomas.errors import ConfigError
from tomas.schema import Bin, Resources, WorkerClass


def test_secrets_are_made_once_and_only_the_owner_can_read_them(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    made = Secrets.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Secrets.load(path) == made
    assert len(set(made.__dict__.values())) == len(made.__dict__)


def test_a_damaged_secrets_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text("{}")
    with pytest.raises(ConfigError, match="does not hold the secrets"):
        Secrets.load(path)


def test_a_second_stack_on_the_same_home_is_refused(tmp_path: Path) -> None:
    first, second = Home(tmp_path / "home"), Home(tmp_path / "home")
    first.lock()
    with pytest.raises(ConfigError, match=f"process {os.getpid()}"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert choose_port(port) != port


def test_settings_of_another_installation_do_not_leak_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "True")
    monkeypatch.setenv("AIRFLOW__WEBSERVER__OLD", "1")
    monkeypatch.setenv("TOMAS__PLANNER__KIND", "other")
    monkeypatch.setenv("TOMAS__INSTRUCT__MODEL", "some/model")
    made = build_environment(
        Home(tmp_path),
        Secrets.load(tmp_path / "secrets.json"),
        postgres_port=1,
        api_port=2,
        dags=[("tomas", tmp_path)],
        planner="neural",
    )
    assert made["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert made["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    assert made["TOMAS__PLANNER__KIND"] == "neural"
    assert not {"AIRFLOW__WEBSERVER__OLD", "TOMAS__INSTRUCT__MODEL"} & set(made)


def test_bins_shrink_on_a_small_host_and_stay_on_a_large_one() -> None:
    capacity = Resources(cpu_cores=1, cpu_mem_gb=6)
    one = Bin(name="a", worker_class="large", queue="a", pool="a", capacity=capacity)
    classes = [WorkerClass(name="large", capacity=capacity, bins=[one])]
    assert fit_to_host(classes, 64) == classes
    (small,) = fit_to_host(classes, 4)
    assert small.capacity.cpu_mem_gb == 3.0
    assert small.bins[0].capacity == small.capacity
