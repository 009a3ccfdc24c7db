"""The model registry: versions, promotions and taking them back, artifacts, pruning."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tomas import __version__
from tomas.cli.app import app
from tomas.config import get_settings
from tomas.errors import StoreError
from tomas.schema import ModelArtifact, Plan
from tomas.store import Store
from tomas.store.artifacts import delete_artifact, fetch_artifact, put_artifact

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


def _register(store: Store, number: int, kind: str = "sizing", artifact: ModelArtifact | None = None) -> str:
    return store.register_model(
        kind, {"n": number}, interval_start=NOW, interval_end=NOW, metrics={"loss": 0.5}, artifact=artifact,
        data_hash="d" * 64,
    )  # fmt: skip


def test_models_are_registered_once_and_used_when_promoted(store: Store) -> None:
    day = {"interval_start": NOW, "interval_end": NOW + timedelta(days=1)}
    first = store.register_model("sizing", {"a": [1.5, None], "工具": "x"}, **day, metrics={"mape": 0.2})
    assert store.register_model("sizing", {"工具": "x", "a": [1.5, None]}, **day, metrics={"mape": 0.9}) == first
    second = store.register_model("sizing", {"a": [2.5]}, **day, metrics={}, parent=first)
    other_day = {"interval_start": NOW - timedelta(days=1), "interval_end": NOW}
    assert len({first, second, store.register_model("sizing", {"a": [2.5]}, **other_day, metrics={})}) == 3
    assert store.current_model("sizing") is None
    store.promote_model(first)
    store.promote_model(second)
    store.promote_model(second)
    current = store.current_model("sizing")
    assert current is not None
    assert (current.version, current.payload, current.parent, current.promoted) == (
        second,
        {"a": [2.5]},
        first,
        True,
    )
    assert (current.interval_start, current.interval_end) == (day["interval_start"], day["interval_end"])
    assert store.current_model("latency") is None
    assert [item.metrics for item in store.models("sizing") if item.version == first] == [{"mape": 0.2}]
    with pytest.raises(StoreError, match="no model version nothing"):
        store.promote_model("nothing")
    with pytest.raises(ValueError, match="JSON"):
        store.register_model("sizing", {"a": math.nan}, **day, metrics={})


def test_promotions_at_once_leave_one_current_model(store: Store) -> None:
    versions = [
        store.register_model("latency", {"n": i}, interval_start=NOW, interval_end=NOW, metrics={})
        for i in range(8)
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.promote_model, versions))
    assert sum(item.promoted for item in store.models("latency")) == 1


def test_promotions_are_taken_back_one_by_one(store: Store) -> None:
    first, second, third = (_register(store, number) for number in range(3))
    other = _register(store, 0, "latency")
    for version in (first, second, second, third, other):
        store.promote_model(version)
    assert store.roll_back_model("sizing") == (third, second)
    assert store.roll_back_model("sizing") == (second, first)
    with pytest.raises(StoreError, match="no earlier promotion"):
        store.roll_back_model("sizing")
    current = store.current_model("sizing")
    assert current is not None
    assert current.version == first
    store.promote_model(third)
    assert store.roll_back_model("sizing") == (third, first), "what was taken back is not gone back to"
    assert [item.promoted for item in store.models("latency")] == [True]


def test_a_version_says_what_it_was_made_from(store: Store, tmp_path: Path) -> None:
    artifact = ModelArtifact(uri=str(tmp_path), sha256="a" * 64, bytes=5)
    version = _register(store, 1, "planner", artifact)
    found = store.model(version)
    assert found is not None
    assert (found.artifact, found.data_hash, found.code_version) == (artifact, "d" * 64, __version__)
    assert store.model("nothing") is None
    assert _register(store, 1, "planner") != version, "other weights are another version"


def test_prune_keeps_what_is_new_in_use_or_cited(store: Store, make_plan: Callable[..., Plan]) -> None:
    versions = [_register(store, number) for number in range(10)]
    for index in (1, 2, 3):
        store.promote_model(versions[index])
    plan = make_plan(bins=("small_1",)).model_copy(update={"snapshots": {"model.sizing": versions[0]}})
    store.release_plan(plan, [], verify=lambda _: None)
    deleted = {item.version for item in store.prune_models(2)}
    kept = {item.version for item in store.models("sizing")}
    assert kept == {versions[0], versions[2], versions[3], versions[8], versions[9]}
    assert deleted == set(versions) - kept
    assert store.prune_models(2) == []


def test_artifacts_are_stored_once_and_checked(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    base = tmp_path / "artifacts"
    artifact = put_artifact(folder, str(base))
    assert put_artifact(folder, base.as_uri()).sha256 == artifact.sha256
    assert [path.name for path in base.iterdir()] == [artifact.sha256]
    assert artifact.bytes == 9
    copy = fetch_artifact(artifact, tmp_path / "cache")
    assert (copy / "model.safetensors").read_bytes() == b"weights"
    (copy / "model.safetensors").write_bytes(b"altered")
    assert (fetch_artifact(artifact, tmp_path / "cache") / "model.safetensors").read_bytes() == b"weights"
    (base / artifact.sha256 / "model.safetensors").write_bytes(b"altered")
    with pytest.raises(StoreError, match="hash differs"):
        fetch_artifact(artifact, tmp_path / "other")
    assert not list((tmp_path / "other").iterdir())
    delete_artifact(artifact)
    delete_artifact(artifact)
    assert not list(base.iterdir())
    with pytest.raises(StoreError, match="cannot be read"):
        fetch_artifact(artifact, tmp_path / "other")
    with pytest.raises(StoreError, match="not a place that TOMAS made"):
        delete_artifact(ModelArtifact(uri=str(folder), sha256="a" * 64, bytes=0))
    assert folder.exists()


def test_an_object_store_holds_artifacts_too(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    artifact = put_artifact(folder, "memory://models/tomas")
    assert (fetch_artifact(artifact, tmp_path / "cache") / "model.safetensors").read_bytes() == b"weights"
    delete_artifact(artifact)
    with pytest.raises(StoreError, match="cannot be read"):
        fetch_artifact(artifact, tmp_path / "cache2")
    with pytest.raises(StoreError, match="cannot be written"):
        put_artifact(folder, "nowhere://x")


def test_the_commands_list_show_promote_roll_back_and_prune(
    store: Store, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOMAS__STORE__DSN", dsn)
    monkeypatch.setenv("COLUMNS", "200")
    get_settings.cache_clear()

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["model", *words])
        assert result.exit_code == 0, result.output
        return result.output

    try:
        assert "No model is registered" in run("list")
        first, second = _register(store, 1), _register(store, 2)
        run("promote", first)
        assert f"{second} is in use" in run("promote", second)
        assert first in run("list", "--kind", "sizing")
        assert "loss" in run("show", first)
        assert f"{first} is in use again" in run("rollback", "sizing")
        assert "taken back" in run("show", second)
        assert CliRunner().invoke(app, ["model", "promote", "nothing"]).exit_code != 0
        third = _register(store, 3)
        assert "Deleted 1" in run("prune", "--keep", "1", "--yes")
        assert {item.version for item in store.models()} == {first, third}
    finally:
        get_settings.cache_clear()
