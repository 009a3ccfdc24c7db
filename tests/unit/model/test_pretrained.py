"""One loader of pretrained models: safetensors and GGUF alone, never remote code, one kind of error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tomas.errors import ModelUnavailable
from tomas.model.config import BackboneConfig
from tomas.model.pretrained import Pretrained, load_chat_model
from tomas.model.tokenizer import TextTokenizer

SHAPE = LlamaConfig(
    vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, max_position_embeddings=64,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, tokenizer: TextTokenizer) -> Path:
    """A model with safetensors and a tokenizer."""
    place = tmp_path / "model"
    LlamaForCausalLM(SHAPE).save_pretrained(place)
    (place / "tokenizer.json").write_text(tokenizer.to_json())
    return place


def test_a_folder_gives_configuration_model_and_tokenizer(folder: Path, tokenizer: TextTokenizer) -> None:
    where = Pretrained.of(BackboneConfig(name=str(folder), local_files_only=True))
    assert where.config().hidden_size == 16
    assert where.model(torch.bfloat16).dtype == torch.bfloat16
    assert where.tokenizer().to_str() == tokenizer.to_json()
    assert Pretrained.named(str(folder)) == Pretrained(str(folder))
    model, chat = load_chat_model(str(folder))
    assert not model.training
    assert model.dtype == torch.float32
    assert chat("detect")["input_ids"]


def test_pickled_weights_are_refused(folder: Path) -> None:
    weights = LlamaForCausalLM(SHAPE).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ModelUnavailable, match="safetensors"):
        Pretrained(str(folder), local_files_only=True).model(torch.float32)


def test_code_beside_the_weights_is_never_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "own_kind"
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w').close()\nclass OwnConfig: ...\n")
    where = Pretrained(str(folder), local_files_only=True)
    for read in (where.config, lambda: where.model(torch.float32)):
        with pytest.raises(ModelUnavailable, match="cannot be loaded"):
            read()
    assert not (folder / "ran").exists()


def test_what_is_not_there_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="There is no file"):
        Pretrained.named(str(tmp_path / "none.gguf"))
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but no more")
    where = Pretrained.named(str(tmp_path / "broken.gguf"))
    assert where == Pretrained(str(tmp_path), gguf_file="broken.gguf")
    for read in (where.config, where.tokenizer, lambda: where.model(torch.float32)):
        with pytest.raises(ModelUnavailable, match="cannot be loaded") as caught:
            read()
        assert "GGUF file" in caught.value.remedy
