"""What each strategy trains, keeps and loads again, on a pretrained backbone of Qwen2's architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.unit.model import world
from tomas.errors import ConfigError
from tomas.model.checkpoint import load_checkpoint, save_checkpoint
from tomas.model.config import NeuralConfig, TrainingConfig
from tomas.model.decode import decode
from tomas.training.neural.dataset import Dataset
from tomas.training.neural.fit import fit
from tomas.training.neural.loop import Progress, train
from tomas.training.neural.start import continued, untrained

STRATEGIES = ["freeze_backbone", "lora", "full_finetune"]
DATA = Dataset(world.examples(), world.examples()[:3], "a" * 64)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen2 with weights of its own, as a folder."""
    torch.manual_seed(5)
    place = tmp_path_factory.mktemp("qwen2")
    shape = Qwen2Config(
        vocab_size=512, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=512,
    )  # fmt: skip
    Qwen2ForCausalLM(shape).save_pretrained(place)
    (place / "tokenizer.json").write_text(world.tokenizer().to_json())
    return place


def config(backbone: Path, strategy: str, epochs: int = 3) -> NeuralConfig:
    small = world.small_config()
    settings = small.model.backbone.model_copy(
        update={"name": str(backbone), "local_files_only": True, "architecture": None}
    )
    chosen = {"strategy": strategy, "epochs": epochs, "batch_size": 4, "patience": 0}
    training = TrainingConfig.model_validate(small.training.model_dump() | chosen)
    return small.model_copy(
        update={"model": small.model.model_copy(update={"backbone": settings}), "training": training}
    )


def base(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The backbone's own weights, adapters aside, by the names of its files."""
    own = {name.removeprefix("backbone.model.").replace(".base_layer", ""): value for name, value in tensors.items()
           if name.startswith("backbone.") and "lora_" not in name}  # fmt: skip
    return {name: value for name, value in own.items() if name != "lm_head.weight"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_trains_what_it_should_and_nothing_else(strategy: str, backbone: Path, tmp_path: Path) -> None:
    given = load_file(backbone / "model.safetensors")
    network, tokenizer = untrained(config(backbone, strategy), DATA.train, [])
    done = train(network, tokenizer, DATA.train)
    assert done.history.train[-1]["total"] < done.history.train[0]["total"]
    after = base(network.state_dict())
    assert after.keys() == given.keys()
    changed = {name for name, value in after.items() if not torch.equal(value, given[name])}
    assert bool(changed) == (strategy == "full_finetune")
    adapters = {name: value for name, value in network.state_dict().items() if "lora_B" in name}
    assert len(adapters) == (4 if strategy == "lora" else 0)
    # An adapter starts at B = 0.
    assert all(value.abs().max() > 0 for value in adapters.values())

    save_checkpoint(tmp_path / "saved", network, tokenizer)
    stored = set(load_file(tmp_path / "saved" / "model.safetensors"))
    of_backbone = {name for name in stored if name.startswith("backbone.")}
    if strategy == "lora":
        assert of_backbone
        assert all("lora_" in name for name in of_backbone)
    else:
        assert bool(of_backbone) == (strategy == "full_finetune")
    loaded = load_checkpoint(tmp_path / "saved")
    for example in DATA.train:
        there = decode(loaded.network, loaded.tokenizer, example.given, explain=True)
        assert there == decode(network, tokenizer, example.given, explain=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_interrupted_run_keeps_only_what_is_trained_and_ends_the_same(
    strategy: str, backbone: Path, tmp_path: Path
) -> None:
    settings = config(backbone, strategy)

    def stop(progress: Progress) -> None:
        if progress.epoch == 1 and progress.valid is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(settings, DATA, [], tmp_path / "planner", tmp_path / "run", save_every_s=0.0, report=stop)
    names = set(load_file(tmp_path / "run" / "state" / "state.safetensors"))
    assert any(name.startswith("best.") for name in names)
    if strategy != "full_finetune":
        assert not any("embed_tokens" in name or "base_layer" in name for name in names)
    ended = fit(settings, DATA, [], tmp_path / "planner", tmp_path / "run")
    whole = fit(settings, DATA, [], tmp_path / "whole", tmp_path / "other")
    assert ended.trained.history == whole.trained.history
    weights = "model.safetensors"
    assert (tmp_path / "planner" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_activations_that_are_not_kept_change_no_weight(strategy: str, backbone: Path) -> None:
    settings = config(backbone, strategy, 2)
    kept: list[int] = []

    def bytes_of(tensor: Tensor) -> Tensor:
        kept[-1] += tensor.numel() * tensor.element_size()
        return tensor

    ended = []
    for recompute in (False, True):
        kept.append(0)
        network, tokenizer = untrained(settings, DATA.train, [])
        with torch.autograd.graph.saved_tensors_hooks(bytes_of, lambda tensor: tensor):
            train(network, tokenizer, DATA.train, valid=DATA.valid, recompute=recompute)
        ended.append(network.state_dict())
    assert kept[1] < 0.9 * kept[0]
    for name, value in ended[0].items():
        torch.testing.assert_close(ended[1][name], value, rtol=0, atol=0, msg=name)


def test_training_goes_on_from_a_checkpoint_where_its_weights_allow_it(backbone: Path, tmp_path: Path) -> None:
    for strategy in STRATEGIES:
        fit(config(backbone, strategy, 1), DATA, [], tmp_path / strategy, tmp_path / "run")
    network, _, version = continued(tmp_path / "freeze_backbone", config(backbone, "lora"))
    assert version == load_checkpoint(tmp_path / "freeze_backbone").version
    assert {name for name, value in network.named_parameters() if value.requires_grad and "backbone" in name} == {
        name for name, _ in network.named_parameters() if "lora_" in name
    }
    network, _, _ = continued(tmp_path / "freeze_backbone", config(backbone, "full_finetune"))
    assert all(value.requires_grad for value in network.parameters())
    continued(tmp_path / "lora", config(backbone, "lora"))
    for before, now in (("lora", "full_finetune"), ("full_finetune", "lora"), ("full_finetune", "freeze_backbone")):
        with pytest.raises(ConfigError, match="cannot be trained further"):
            continued(tmp_path / before, config(backbone, now))
    with pytest.raises(ConfigError, match="not that of the configuration"):
        continued(tmp_path / "lora", world.small_config())
