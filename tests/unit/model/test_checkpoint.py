"""Checkpoints: what is loaded plans alike, what was altered is refused, what is killed leaves the old one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.unit.model import world
from tomas.errors import ModelUnavailable
from tomas.model.checkpoint import MANIFEST, load_checkpoint, save_checkpoint, verify_checkpoint
from tomas.model.decode import decode
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, learned: PlannerNetwork, tokenizer: TextTokenizer) -> Path:
    place = tmp_path_factory.mktemp("checkpoints") / "one"
    save_checkpoint(place, learned, tokenizer, extra={"prior.json": b"{}"}, notes={"node_f1": 0.5})
    return place


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_loaded_checkpoint_plans_like_the_saved_one(
    folder: Path, learned: PlannerNetwork, tokenizer: TextTokenizer
) -> None:
    loaded = load_checkpoint(folder)
    assert (loaded.config, dict(loaded.notes)) == (learned.config, {"node_f1": 0.5})
    assert loaded.files["prior.json"].read_bytes() == b"{}"
    for example in world.examples():
        assert decode(loaded.network, loaded.tokenizer, example.given) == decode(learned, tokenizer, example.given)


def test_equal_contents_have_one_version(
    folder: Path, tmp_path: Path, learned: PlannerNetwork, tokenizer: TextTokenizer
) -> None:
    again = save_checkpoint(tmp_path / "two", learned, tokenizer, extra={"prior.json": b"{}"})
    other = save_checkpoint(tmp_path / "three", learned, tokenizer, extra={"prior.json": b"{ }"})
    assert again == load_checkpoint(folder).version
    assert other != again


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "prior.json"])
def test_one_altered_byte_is_noticed(name: str, copy: Path) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 4
    (copy / name).write_bytes(data)
    with pytest.raises(ModelUnavailable, match=f"{name} was altered"):
        load_checkpoint(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "prior.json", MANIFEST])
def test_a_missing_file_is_named(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelUnavailable, match=name):
        load_checkpoint(copy)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b'{"format": 2}', b'{"format": 99, "sha256": {}, "notes": {}}',
     b'{"format": 2, "sha256": {"../one/config.json": "0"}, "notes": {}}',
     b'{"format": 2, "sha256": {}, "notes": {}}'],
)  # fmt: skip
def test_a_damaged_manifest_is_refused(manifest: bytes, copy: Path) -> None:
    (copy / MANIFEST).write_bytes(manifest)
    with pytest.raises(ModelUnavailable):
        verify_checkpoint(copy)


def test_weights_of_another_shape_are_refused_with_their_name(
    copy: Path, tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    """Even under a right manifest: the configuration and the weights are of two networks."""
    torch.manual_seed(0)
    other = PlannerNetwork(world.small_config(tool_encoder={"d_tool": 40, "d_match": 24}))
    save_checkpoint(tmp_path / "other", other, tokenizer)
    shutil.copy(tmp_path / "other" / "model.safetensors", copy)
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["sha256"]["model.safetensors"] = json.loads((tmp_path / "other" / MANIFEST).read_text())["sha256"][
        "model.safetensors"
    ]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelUnavailable, match="has the shape"):
        load_checkpoint(copy)


def test_saving_over_a_checkpoint_replaces_it_as_a_whole(
    copy: Path, learned: PlannerNetwork, tokenizer: TextTokenizer
) -> None:
    version = save_checkpoint(copy, learned, tokenizer)
    assert load_checkpoint(copy).version == version
    assert not (copy / "prior.json").exists()
    assert [item.name for item in copy.parent.iterdir()] == [copy.name]


def test_a_save_that_fails_leaves_the_old_one(
    copy: Path, learned: PlannerNetwork, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_checkpoint(copy).version

    def fail(self: TextTokenizer) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(TextTokenizer, "to_json", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(copy, learned, tokenizer)
    assert load_checkpoint(copy).version == before
