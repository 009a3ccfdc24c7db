"""What the repository promises about itself: the wheel, the constraints, the container file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(folder),
            str(ROOT),
        ],
        check=True,
        capture_output=True,
    )
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_carries_everything_a_deployment_needs(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "sql").glob("*.sql")}
    shipped |= {"data/tool_registry/tools.json", "data/profiling/profiling.csv", "data/worker_classes.json"}
    assert len(shipped) >= 4
    assert {f"tomas/_share/{name}" for name in shipped} <= names
    static = {str(path.relative_to(ROOT)) for path in (ROOT / "tomas/airflow/static").rglob("*") if path.is_file()}
    assert static
    assert static <= names
    assert {"tomas/py.typed", "tomas/configs/tiny.yaml", "tomas/configs/qwen2_5_7b.yaml"} <= names


def test_the_wheel_announces_its_entry_points(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    text = wheel.read(name).decode()
    for group in (
        "apache_airflow_provider",
        "airflow.policy",
        "airflow.plugins",
        "tomas.planners",
        "console_scripts",
    ):
        assert f"[{group}]" in text


def test_constraints_pin_exactly_and_name_no_host() -> None:
    lines = [
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9._\-]+==[A-Za-z0-9.+!]+", line) for line in lines)
    pins = {
        re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in (row.partition("==") for row in lines)
    }
    assert pins["torch"] == "2.13.0"
    assert pins["celery"].split(".")[:2] < ["5", "7"]
    assert pins["opencv-python-headless"].startswith("4.")


def test_the_container_file_has_one_worker_per_shipped_bin() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    consumed = {
        queue
        for service in services.values()
        if "celery" in service.get("command", [])
        for queue in service["command"][service["command"].index("--queues") + 1].split(",")
    }
    classes = json.loads((ROOT / "data/worker_classes.json").read_text())
    assert {item["queue"] for row in classes for item in row["bins"]} <= consumed


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("tomas.cli.app", ("airflow", "torch", "cv2", "sklearn", "psycopg2")),
        ("tomas.schema", ("airflow", "pandas")),
    ],
)
def test_importing_a_door_imports_no_heavy_library(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {forbidden!r} if name in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert seen.stdout.strip() == "[]"
