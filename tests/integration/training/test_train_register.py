"""``tomas train --register`` on a real Postgres: the trained planner stands in the model registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.unit.model import world
from tomas.cli.app import app
from tomas.config import get_settings
from tomas.model.checkpoint import verify_checkpoint
from tomas.store import Store
from tomas.training.generate import write_examples


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A command that trains on eight examples for one epoch."""
    settings = world.small_config().model_dump(mode="json")
    settings["training"] |= {"epochs": 1, "batch_size": 8}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    write_examples(world.examples(), tmp_path / "train.jsonl")
    write_examples(world.examples()[:3], tmp_path / "valid.jsonl")
    monkeypatch.setenv("TOMAS__MODEL__ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("COLUMNS", "200")
    get_settings.cache_clear()
    files = {
        "config": "small.yaml",
        "data": "train.jsonl",
        "valid": "valid.jsonl",
        "out": "planner",
        "work": "work",
    }
    yield [
        "train",
        "--register",
        *(part for name, file in files.items() for part in (f"--{name}", tmp_path / file)),
    ]
    get_settings.cache_clear()


def test_a_trained_planner_is_registered_with_what_it_was_made_from(
    arguments: list[str], store: Store, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOMAS__STORE__DSN", dsn)
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    assert done.exit_code == 0, done.output
    _, version, notes = verify_checkpoint(tmp_path / "planner")
    (found,) = store.models("planner")
    assert found.version in done.output
    assert found.payload["checkpoint"] == version
    assert found.data_hash == notes["data"]["sha256"]
    assert found.metrics["valid_total_loss"] == pytest.approx(notes["metrics"]["valid_total_loss"])
    assert not found.promoted
    assert found.artifact is not None
    assert (Path(found.artifact.uri) / "model.safetensors").is_file()
    listed = CliRunner().invoke(app, ["model", "list"])
    assert found.version in listed.output


def test_a_registry_that_is_not_there_is_told_before_training(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOMAS__STORE__DSN", "postgresql://nobody@127.0.0.1:1/none")
    get_settings.cache_clear()
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    assert done.exit_code == 1
    assert type(done.exception).__name__ == "StoreUnavailable"
    assert not (tmp_path / "planner").exists()
    assert not (tmp_path / "work").exists()
