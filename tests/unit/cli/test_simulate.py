"""``tomas simulate`` as a user meets it: real processes, exit codes, tables, JSON, pictures, messages."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.simulate.small import a_plan, plan_step

CLASSES = [
    {
        "name": "c",
        "capacity": {"cpu_cores": 4, "cpu_mem_gb": 8},
        "bins": [{"name": name, "queue": f"tomas_{name}", "pool": f"tomas_{name}"} for name in ("b1", "b2")],
    }
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    steps = [
        plan_step("s1", []),
        plan_step("s2", [], bin_name="b2", slots=100),
        plan_step("s3", ["s1", "s2"], start_ms=250),
    ]
    plan = a_plan(steps, hand_over_ms=50, deadline_s=1.5)
    (tmp_path / "plan.json").write_text(plan.model_dump_json(), encoding="utf-8")
    (tmp_path / "classes.json").write_text(json.dumps(CLASSES), encoding="utf-8")
    (tmp_path / "times.txt").write_text("0\n0.3\n", encoding="utf-8")
    return tmp_path


def tomas(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOMAS__")}
    clean["TOMAS__DATA__WORKER_CLASSES_PATH"] = str(folder / "classes.json")
    return subprocess.run(
        [sys.executable, "-c", "from tomas.cli import main; main()", "simulate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**clean, "COLUMNS": "160"},
    )


def flat(text: str) -> str:
    return " ".join(text.split())


def answer(folder: Path, *arguments: str) -> dict[str, Any]:
    done = tomas(folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def test_a_plan_at_p90_ends_as_planned(folder: Path) -> None:
    found = answer(folder, "plan.json", "--latency", "p90")
    assert found["runs"] == 1
    assert [(s["step"], s["start_ms"], s["end_ms"], s["state"]) for s in found["run"]["steps"]] == [
        ("s1", 0, 200, "done"),
        ("s2", 0, 200, "done"),
        ("s3", 250, 450, "done"),
    ]
    (plan,) = found["plans"]
    assert plan["makespan_ms"]["max"] == plan["planned_ms"] == 450
    # 1.5 s from the request, less T_inf and dispatch lag, is 0.5 s from the release.
    assert (plan["deadline_ms"], plan["missed"]) == (500, 0)


def test_the_tables_say_makespan_bins_bottleneck_and_show_one_run(folder: Path) -> None:
    done = tomas(folder, "plan.json")
    assert done.returncode == 0, done.stderr
    text = flat(done.stdout)
    assert "Makespan over 100 runs" in text
    assert "Bottleneck: " in text
    assert "keyword_extraction" in text
    assert "█" in text
    assert done.stderr == ""


def test_the_seed_decides(folder: Path) -> None:
    first, again, other = (tomas(folder, "plan.json", "--seed", seed).stdout for seed in ("1", "1", "2"))
    assert first == again != other


def test_half_the_cores_for_a_time_slow_what_runs(folder: Path) -> None:
    found = answer(folder, "plan.json", "--latency", "p90", "--set", "b1.cpu_cores=0.5@0.1..0.3")
    # 100 ms at full speed, then 100 ms of work at half speed.
    assert found["run"]["steps"][0]["end_ms"] == pytest.approx(300)
    assert found["run"]["steps"][0]["slowdown"] == pytest.approx(1.5)


def test_a_lost_worker_sticks_a_plan_and_replan_moves_it(folder: Path) -> None:
    lost = answer(folder, "plan.json", "--without", "b2", "--runs", "3")
    assert lost["plans"][0]["done"] == 0
    assert "waits for b2, which is lost" in lost["bottleneck"]
    moved = answer(folder, "plan.json", "--without", "b2", "--runs", "3", "--replan")
    assert moved["plans"][0]["done"] == 3
    assert {step["bin"] for step in moved["run"]["steps"]} == {"b1"}


def test_arrivals_of_a_file_wait_for_room(folder: Path) -> None:
    found = answer(
        folder, "plan.json", "--arrivals", "times:times.txt", "--latency", "p90", "--set", "b2.slots=100"
    )
    assert [job["arrival_ms"] for job in found["run"]["jobs"]] == [0, 300]
    assert found["plans"][0]["jobs"] == 2


def test_numbers_of_workers_are_compared(folder: Path) -> None:
    arguments = ("plan.json", "--arrivals", "every:0.1", "--count", "8", "--latency", "p90", "--replan")
    found = answer(folder, *arguments, "--add", "c=0..2")
    assert [one["added"] for one in found["variants"]] == [{"c": 0}, {"c": 1}, {"c": 2}]
    assert [len(one["bins"]) for one in found["variants"]] == [2, 3, 4]
    done = tomas(folder, *arguments, "--add", "c=0..2")
    assert "2 c" in done.stdout
    assert "With 0 c added: " in done.stdout


def test_several_plans_get_names_of_their_own_and_a_picture_is_drawn(folder: Path) -> None:
    done = tomas(folder, "plan.json", "plan.json", "--runs", "1", "--picture", "a.png")
    assert done.returncode == 0, done.stderr
    assert "plan#2" in done.stdout
    assert "Run 0 drawn in a.png." in done.stdout
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_name_that_looks_like_markup_is_shown_as_it_is_and_a_plan_without_steps_ends_at_once(
    folder: Path,
) -> None:
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8")) | {"steps": [], "outputs": {}}
    (folder / "[bold]计划[x].json").write_text(json.dumps(plan), encoding="utf-8")
    done = tomas(folder, "[bold]计划[x].json", "--runs", "1", "--picture", "a.svg")
    assert done.returncode == 0, done.stderr
    assert "[bold]计划[x]" in done.stdout
    assert "Nothing takes any time." in done.stdout


def test_ten_thousand_steps_take_bounded_time(folder: Path) -> None:
    steps = [plan_step(f"s{i}", [f"s{i - 50}"] if i >= 50 else [], slots=1 + i % 40) for i in range(10_000)]
    (folder / "large.json").write_text(a_plan(steps).model_dump_json(), encoding="utf-8")
    found = answer(folder, "large.json", "--runs", "2")
    assert found["plans"][0]["done"] == 2
    assert len(found["run"]["steps"]) == 10_000
    assert len(tomas(folder, "large.json", "--runs", "1").stdout.splitlines()) < 40


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ([], "DataError", "No plan was given"),
        (["no.json"], "DataError", "cannot be read"),
        (["classes.json"], "DataError", "is no plan"),
        (["times.txt"], "DataError", "is no plan"),
        (["plan.json", "--set", "b1.cpu_cores"], "DataError", "malformed"),
        (["plan.json", "--set", "b1.cores=4"], "DataError", "no resource 'cores'"),
        (["plan.json", "--set", "b9.cpu_cores=4"], "DataError", "neither a bin nor a worker class 'b9'"),
        (["plan.json", "--set", "b1.cpu_cores=-4"], "DataError", "finite amount"),
        (["plan.json", "--without", "b9"], "DataError", "b9"),
        (["plan.json", "--add", "c"], "DataError", "malformed"),
        (["plan.json", "--add", "d=1"], "DataError", "no worker class d"),
        (["plan.json", "--add", "c=0..3"], "DataError", "--replan"),
        (["plan.json", "--add", "c=3..1"], "DataError", "malformed"),
        (["plan.json", "--runs", "0"], "DataError", "0 runs"),
        (["plan.json", "--arrivals", "every:300"], "DataError", "never end"),
        (["plan.json", "--arrivals", "poisson:20/h"], "DataError", "never end"),
        (["plan.json", "--arrivals", "weekly"], "DataError", "unknown"),
        (["plan.json", "--duration", "soon"], "DataError", "no time"),
        (["plan.json", "--picture", "a.gif"], "DataError", ".png"),
        (["plan.json", "--plan", "x"], "ConfigError", "TOMAS__STORE__DSN"),
    ],
)
def test_bad_input_is_one_clear_error_with_a_remedy(
    arguments: list[str], error: str, words: str, folder: Path
) -> None:
    done = tomas(folder, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{error}: ")
    assert words in flat(done.stderr)
    assert "Remedy: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_documentation_names_only_options_that_exist() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/simulate.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", page))
    offered = set()
    for command in ("simulate", "plan"):
        done = subprocess.run(
            [sys.executable, "-c", "from tomas.cli import main; main()", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        )
        offered |= set(re.findall(r"--[a-z]+(?:-[a-z]+)*", done.stdout))
    assert len(named) > 15
    assert named <= offered


def test_a_plan_on_an_unknown_bin_names_the_ways_out(folder: Path) -> None:
    (folder / "classes.json").write_text(json.dumps([{**CLASSES[0], "bins": CLASSES[0]["bins"][:1]}]))
    done = tomas(folder, "plan.json")
    assert done.returncode == 1
    assert "places step s2 on the bin b2, which is not known here (known: b1)" in flat(done.stderr)
    assert "--add c=1" in done.stderr
    assert "TOMAS__DATA__WORKER_CLASSES_PATH" in done.stderr
    assert tomas(folder, "plan.json", "--add", "c=1").returncode == 0
