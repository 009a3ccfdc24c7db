"""Planners of the model registry on a real Postgres: added, promoted, cited, taken back, pruned, replayed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.integration.planning.world import REGISTRY, seed
from tomas.cli.app import app
from tomas.config import NeuralSettings, Settings, get_settings
from tomas.model.checkpoint import load_checkpoint, save_checkpoint
from tomas.model.prior import LexicalPrior
from tomas.planner import drafting
from tomas.planner.replay import replay
from tomas.planner.service import make_plan
from tomas.schema import Plan, PlanRequest, RequestInput
from tomas.store import Store

TASK = "对一批图片进行分类"
IMAGES = {"photos": RequestInput(type="image/png", uris=["s3://in/a.png"], bytes=500_000)}
Command = Callable[..., str]


@pytest.fixture
def seeded(store: Store, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store with tools, workers and history, to which the settings point, and no planner in memory."""
    seed(store)
    monkeypatch.setenv("TOMAS__STORE__DSN", dsn)
    monkeypatch.setenv("TOMAS__MODEL__ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("TOMAS__MODEL__CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TOMAS__PLANNER__KIND", "neural")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(drafting, "_planners", {})
    monkeypatch.setattr(drafting, "_breakers", {})
    get_settings.cache_clear()
    yield store
    get_settings.cache_clear()


@pytest.fixture
def tomas_model() -> Command:
    """Run ``tomas model …``; its output."""

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["model", *words])
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def folders(checkpoint: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint, and another one trained further from it, each with what `tomas train` notes."""
    loaded = load_checkpoint(checkpoint)
    notes = {
        "trained_at": datetime(2030, 1, 1, 12, tzinfo=UTC).isoformat(),
        "code_version": "0.7",
        "data": {"sha256": "d" * 64},
        "metrics": {"valid_total_loss": 0.25},
    }
    first, second = tmp_path / "first", tmp_path / "second"
    extra = LexicalPrior().files()
    parent = save_checkpoint(first, loaded.network, loaded.tokenizer, extra=extra, notes=notes)
    loaded.network.temperature.fill_(1.5)
    more = notes | {"parent": parent, "interval": ["2030-01-01T00:00:00+00:00", "2030-01-02T00:00:00+00:00"]}
    save_checkpoint(second, loaded.network, loaded.tokenizer, extra=extra, notes=more)
    return first, second


def version_of(output: str) -> str:
    return next(word for word in output.split() if word.startswith("planner-"))


def plan(store: Store, **neural: object) -> Plan:
    settings = get_settings()
    if neural:
        settings = settings.model_copy(update={"neural": NeuralSettings.model_validate(neural)})
    return make_plan(PlanRequest(task=TASK, inputs=IMAGES), store=store, registry=REGISTRY, settings=settings)


def test_a_promoted_planner_plans_and_is_found_again_after_another_one(
    seeded: Store, folders: tuple[Path, Path], tomas_model: Command
) -> None:
    first = version_of(tomas_model("add", str(folders[0])))
    second = version_of(tomas_model("add", str(folders[1])))
    assert version_of(tomas_model("add", str(folders[0]))) == first
    described = seeded.model(second)
    assert described is not None
    assert (described.parent, described.code_version, described.data_hash) == (first, "0.7", "d" * 64)
    assert described.metrics == {"valid_total_loss": 0.25}
    assert (described.interval_end - described.interval_start).days == 1
    assert "no runs" in tomas_model("show", first)

    tomas_model("promote", first)
    old = plan(seeded)
    assert (old.planner.kind, old.planner.fallback_reason) == ("neural", None)
    assert old.planner.version.startswith(f"{first}@")
    assert old.snapshots["model.planner"] == first

    tomas_model("promote", second)
    new = plan(seeded)
    assert new.planner.version.startswith(f"{second}@")
    assert new.steps[0].confidence != old.steps[0].confidence, "the temperature is another one"

    again = replay(seeded.plan(old.id), store=seeded, registry=REGISTRY, settings=get_settings())
    assert (again.inputs, again.results) == ((), ())
    again = replay(seeded.plan(new.id), store=seeded, registry=REGISTRY, settings=get_settings())
    assert (again.inputs, again.results) == ((), ())
    result = CliRunner().invoke(app, ["replay", old.id])
    assert result.exit_code == 0, result.output

    assert f"{first} is in use again" in tomas_model("rollback", "planner")
    assert plan(seeded).planner.version.startswith(f"{first}@")


def test_what_a_plan_cites_is_not_pruned(
    seeded: Store, folders: tuple[Path, Path], tomas_model: Command, tmp_path: Path
) -> None:
    first = version_of(tomas_model("add", str(folders[0]), "--promote"))
    old = plan(seeded)
    second = version_of(tomas_model("add", str(folders[1]), "--promote"))
    unused = folders[1].parent / "third"
    loaded = load_checkpoint(folders[1])
    loaded.network.temperature.fill_(2.0)
    notes = {"trained_at": "2029-01-01T00:00:00+00:00"}
    save_checkpoint(unused, loaded.network, loaded.tokenizer, extra=LexicalPrior().files(), notes=notes)
    third = version_of(tomas_model("add", str(unused)))
    fourth = version_of(tomas_model("add", str(_renoted(unused))))
    assert len(list((tmp_path / "artifacts").iterdir())) == 4
    assert "Deleted 1" in tomas_model("prune", "--keep", "1", "--yes")
    assert {item.version for item in seeded.models("planner")} == {first, second, fourth}
    assert seeded.model(third) is None
    assert len(list((tmp_path / "artifacts").iterdir())) == 3
    assert replay(seeded.plan(old.id), store=seeded, registry=REGISTRY, settings=get_settings()).same


def _renoted(folder: Path) -> Path:
    """The same weights, trained at another instant."""
    loaded = load_checkpoint(folder)
    target = folder.with_name("fourth")
    notes = {"trained_at": "2029-02-01T00:00:00+00:00"}
    save_checkpoint(target, loaded.network, loaded.tokenizer, extra=LexicalPrior().files(), notes=notes)
    return target


def test_an_altered_artifact_never_plans_and_the_plan_says_why(
    seeded: Store, folders: tuple[Path, Path], tomas_model: Command
) -> None:
    version = version_of(tomas_model("add", str(folders[0]), "--promote"))
    found = seeded.model(version)
    assert found is not None
    assert found.artifact is not None
    weights = Path(found.artifact.uri) / "model.safetensors"
    right = weights.read_bytes()
    weights.write_bytes(right[:-4] + b"\0\0\0\1")
    for _ in range(2):
        made = plan(seeded)
        assert (made.planner.kind, made.planner.fallback_from) == ("retrieval", "neural")
        assert "hash differs" in (made.planner.fallback_reason or "")
        assert version in (made.planner.fallback_reason or "")
        assert "model.planner" not in made.snapshots
    weights.write_bytes(right)
    assert plan(seeded).planner.version.startswith(f"{version}@")
    shutil.rmtree(weights.parent)
    assert plan(seeded).planner.kind == "neural", "what is in memory does not need the files"


def test_a_folder_that_is_set_goes_before_the_promoted_version_but_not_in_a_replay(
    seeded: Store, folders: tuple[Path, Path], tomas_model: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    tomas_model("add", str(folders[0]), "--promote")
    promoted = plan(seeded)
    monkeypatch.setenv("TOMAS__NEURAL__CHECKPOINT", str(folders[1]))
    get_settings.cache_clear()
    pinned = plan(seeded)
    assert pinned.planner.version.startswith("second@")
    assert "model.planner" not in pinned.snapshots
    assert "TOMAS__NEURAL__CHECKPOINT" in tomas_model("promote", promoted.snapshots["model.planner"])
    for made in (promoted, pinned):
        assert replay(seeded.plan(made.id), store=seeded, registry=REGISTRY, settings=get_settings()).same


def test_what_is_no_checkpoint_is_refused(folders: tuple[Path, Path], seeded: Store) -> None:
    weights = folders[0] / "model.safetensors"
    assert load_file(weights)
    weights.write_bytes(weights.read_bytes()[:-1])
    result = CliRunner().invoke(app, ["model", "add", str(folders[0])])
    assert result.exit_code != 0
    assert "altered" in str(result.exception or result.output)
    assert seeded.models("planner") == []
    assert Settings().model.artifacts.endswith("artifacts")
