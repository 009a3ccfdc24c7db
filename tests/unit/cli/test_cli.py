"""The command line as a user meets it: real processes, real tools, exit codes and messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tomas.schema import Plan

SAMPLES = Path(__file__).resolve().parents[3] / "data/samples"


def tomas(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOMAS__")}
    return subprocess.run(
        [sys.executable, "-c", "from tomas.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**clean, "COLUMNS": "160", **environment},
    )


def flat(text: str) -> str:
    """Text without the line breaks of the terminal."""
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("task", "tool"), [("对一批图片进行分类", "image_classification"), ("翻译一篇英文文档", "machine_translation")]
)
def test_the_founding_tasks_plan_and_are_written(task: str, tool: str, tmp_path: Path) -> None:
    target = tmp_path / "new" / "plan.json"
    done = tomas("plan", "--task", task, "--output", str(target))
    assert done.returncode == 0, done.stderr
    plan = Plan.model_validate_json(target.read_text())
    assert [step.tool for step in plan.steps] == [tool]
    assert plan.request.task == task
    assert list(target.parent.iterdir()) == [target]


def test_who_has_chosen_no_planner_is_told_of_the_model(tmp_path: Path) -> None:
    ask = ("plan", "--task", "classify these images")
    assert "set TOMAS__PLANNER__KIND=neural." in flat(tomas(*ask).stdout)
    chosen = tomas(*ask, TOMAS__PLANNER__KIND="retrieval")
    assert (chosen.returncode, "TOMAS__PLANNER__KIND" in chosen.stdout) == (0, False)


def test_a_neural_plan_without_weights_says_who_planned_instead_and_why(tmp_path: Path) -> None:
    done = tomas(
        *("plan", "--task", "classify these images"),
        TOMAS__PLANNER__KIND="neural",
        TOMAS__NEURAL__CHECKPOINT=str(tmp_path / "gone"),
    )
    assert done.returncode == 0, done.stderr
    said = flat(done.stdout)
    assert "planned by retrieval 1, instead of neural: ModelUnavailable" in said
    assert "stands in for the neural planner: ModelUnavailable" in said


def test_a_plan_file_runs_with_real_tools(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    planned = tomas(
        "plan", "--task", "classify these images", "--inputs", f"images={SAMPLES / 'images'}", "-o", str(target)
    )
    assert planned.returncode == 0, planned.stderr
    done = tomas("run", str(target), "--artifacts", str(tmp_path / "results"))
    assert done.returncode == 0, done.stdout + done.stderr
    labels = next((tmp_path / "results").rglob("*.jsonl")).read_text().splitlines()
    assert len(labels) == len(
        [path for path in (SAMPLES / "images").iterdir() if not path.name.startswith("README")]
    )
    assert all("file" in json.loads(line) for line in labels)


@pytest.mark.parametrize(
    ("arguments", "error", "remedy"),
    [
        (["plan", "--task", "  "], "TaskError", "Say what"),
        (["plan", "--task", "x" * 100_000], "TaskError", ""),
        (["plan", "--task", "bake a cake"], "NoToolMatches", "registry"),
        (["plan", "--task", "classify", "--inputs", "images=/no/such/place"], "DataError", "path"),
        (["plan", "--task", "classify", "--outputs", "report"], "DataError", "NAME=MEDIA/TYPE"),
        (["plan", "--task", "classify images", "--tool", "no_such_tool"], "UnknownToolError", ""),
        (["run"], "DataError", "exactly one"),
        (["run", "/no/such/plan.json"], "DataError", "plan"),
        (["db", "migrate"], "ConfigError", "TOMAS__STORE__DSN"),
        (["registry", "check", "--tools", "/no/such/tools.json"], "DataError", ""),
    ],
)
def test_bad_input_is_one_clear_error_with_a_remedy(arguments: list[str], error: str, remedy: str) -> None:
    done = tomas(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{error}: ")
    assert "Remedy: " in done.stderr
    assert remedy in flat(done.stderr)
    assert "Traceback" not in done.stderr


def test_postgres_down_is_one_clear_error_without_the_password() -> None:
    dsn = "host=127.0.0.1 port=9 dbname=tomas user=tomas password=hunter2"
    done = tomas("plan", "--task", "classify images", "--store", TOMAS__STORE__DSN=dsn)
    assert done.returncode == 1
    assert done.stderr.startswith("StoreUnavailable: ")
    assert "hunter2" not in done.stdout + done.stderr


def test_a_bad_setting_is_named() -> None:
    done = tomas("registry", "check", TOMAS__PLANNER__MAX_STEPS="0")
    assert done.returncode == 1
    assert "TOMAS__PLANNER__MAX_STEPS" in done.stderr


def test_markup_in_a_task_is_shown_as_it_is() -> None:
    done = tomas("plan", "--task", "classify images [bold red]{{ 7*7 }}[/]")
    assert done.returncode == 0, done.stderr
    assert "[bold red]{{ 7*7 }}[/]" in flat(done.stdout)


def test_registry_check_says_what_runs_here() -> None:
    done = tomas("registry", "check")
    assert done.returncode == 0, done.stderr
    assert "image_classification" in done.stdout
    assert "TOMAS_TRANSLATION_MODEL" in flat(done.stdout)
