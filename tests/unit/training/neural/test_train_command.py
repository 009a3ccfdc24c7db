"""``tomas train`` as a user runs it: a checkpoint with its history, the same one after kill -9."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.unit.model import world
from tomas.model.checkpoint import load_checkpoint
from tomas.model.decode import decode
from tomas.training.generate import write_examples
from tomas.training.neural.state import interrupted

_MAIN = "from tomas.cli import main; main()"
_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", _MAIN, "train", "--threads", "1", "--workers", "1", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=_ENVIRONMENT, timeout=300, check=False
    )


def has_saved(work: Path) -> bool:
    """Whether the run in this folder would go on, were it interrupted now."""
    return any(interrupted(path) for path in work.glob("runs/*"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that trains in seconds, on forty examples."""
    settings = world.small_config().model_dump(mode="json")
    settings["model"]["limits"] |= {"max_candidates": 32, "max_steps": 16}
    settings["training"] |= {"epochs": 4, "batch_size": 8, "patience": 0}
    settings["training"]["data"] |= {"count": 40, "valid": 12, "seed": 2, "labelled_share": 0.25}
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="module")
def trained(config: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Work folder, checkpoint and what was printed of one run."""
    folder = tmp_path_factory.mktemp("trained")
    done = run("--config", config, "--out", folder / "planner", "--work", folder / "work")
    assert done.returncode == 0, done.stderr
    return folder / "work", folder / "planner", done.stdout + done.stderr


def test_it_writes_a_checkpoint_that_says_what_it_was_made_from(trained: tuple[Path, Path, str]) -> None:
    work, folder, said = trained
    found = load_checkpoint(folder)
    notes = found.notes
    assert notes["data"]["train"] == 40
    assert len(notes["data"]["sha256"]) == 64
    assert notes["data"]["label_cpu_s"] > 0
    assert [notes["seed"], notes["strategy"], notes["parent"]] == [0, "full_finetune", None]
    assert notes["metrics"]["valid_total_loss"] > 0
    assert json.loads(found.files["prior.json"].read_text()) == {"kind": "lexical"}
    assert float(found.network.temperature) == pytest.approx(notes["metrics"]["temperature"])
    assert "epoch 4 of 4" in said
    assert found.version in said
    (history,) = work.glob("runs/*/history.json")
    losses = json.loads(history.read_text())
    assert len(losses["train"]) == len(losses["valid"]) == 4
    assert losses["train"][-1]["total"] < losses["train"][0]["total"]
    (picture,) = work.glob("runs/*/loss.svg")
    assert "<svg" in picture.read_text()
    assert not has_saved(work)


def test_profiles_are_normalised_with_the_examples_statistics(trained: tuple[Path, Path, str]) -> None:
    scale = load_checkpoint(trained[1]).network.left.resources.scale
    assert not bool((scale == 0.3).any()), "the scale of an untrained network"


def test_after_kill_9_the_same_command_ends_in_the_same_checkpoint(
    config: Path, trained: tuple[Path, Path, str], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    shutil.copytree(trained[0] / "examples", work / "examples")
    arguments = ("--config", config, "--out", tmp_path / "planner", "--work", work)
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_ENVIRONMENT
    )
    deadline = time.monotonic() + 200
    while not has_saved(work) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "planner").exists()
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "goes on from where it was interrupted" in done.stderr
    assert "epoch 1 of 4" not in done.stderr
    weights = "model.safetensors"
    assert (tmp_path / "planner" / weights).read_bytes() == (trained[1] / weights).read_bytes()


def test_it_trains_a_checkpoint_further_on_files(
    config: Path, trained: tuple[Path, Path, str], tmp_path: Path
) -> None:
    examples = world.examples()
    write_examples(examples, tmp_path / "train.jsonl")
    write_examples(examples[:4], tmp_path / "valid.jsonl")
    done = run(
        "--config", config, "--init", trained[1], "--data", tmp_path / "train.jsonl", "--valid",
        tmp_path / "valid.jsonl", "--epochs", "30", "--out", tmp_path / "further", "--work", tmp_path / "work",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parent, further = load_checkpoint(trained[1]), load_checkpoint(tmp_path / "further")
    assert further.notes["parent"] == parent.version
    assert further.tokenizer.to_json() == parent.tokenizer.to_json()
    right = 0
    for example in examples:
        drafted = decode(further.network, further.tokenizer, example.given)
        right += [step.tool for step in drafted.steps] == [step.tool for step in example.target.steps]
    assert right >= 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "none.yaml"), "none.yaml"),
        (("--data", "none.jsonl"), "none.jsonl does not exist"),
        (("--valid", "some.jsonl"), "--valid is held out of --data"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = run(*arguments, "--work", tmp_path)
    assert done.returncode == 1
    assert message in " ".join(done.stderr.split())


def test_another_folder_is_never_overwritten(config: Path, trained: tuple[Path, Path, str], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("…")
    done = run("--config", config, "--out", tmp_path / "mine", "--work", trained[0])
    assert done.returncode == 1
    assert "is no checkpoint" in " ".join(done.stderr.split())
    assert (tmp_path / "mine" / "thesis.txt").exists()
