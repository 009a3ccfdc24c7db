"""The decoder in the centre: ``tiny`` from scratch, or a pretrained one through transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel, Qwen2Config

from tomas.errors import ConfigError
from tomas.model.config import ArchitectureConfig, BackboneConfig, LoraSettings
from tomas.model.pretrained import Pretrained

__all__ = ["Backbone", "build_backbone", "decoder_config"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Backbone(nn.Module):
    """A causal decoder that reads embeddings, whatever its kind."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    @property
    def hidden_size(self) -> int:
        """Width of the embeddings."""
        return int(self.embedding.weight.shape[1])

    @property
    def vocab_size(self) -> int:
        """Rows of the token embedding."""
        return int(self.embedding.weight.shape[0])

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding."""
        found = self.model.get_input_embeddings()
        assert isinstance(found, nn.Embedding)  # noqa: S101  (for the type checker)
        return found

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return self.embedding.weight.dtype

    @property
    def config(self) -> Any:
        """The configuration of transformers."""
        return self.model.config

    def new_cache(self) -> DynamicCache:
        """An empty key-value cache."""
        return DynamicCache(config=self.model.config)

    def forward(self, embeds: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache | None = None) -> Tensor:
        """Run the decoder.

        :param embeds: (B, q, hidden) in float32.
        :param mask: (B, q, k), true where a query sees a key; k counts the cached positions too.
        :param positions: (B, q).
        :param cache: filled with these positions.
        :return: last hidden states (B, q, hidden) in float32, after the final norm.
        """
        bias = torch.zeros(mask.shape, dtype=self.dtype, device=mask.device)
        bias = bias.masked_fill(~mask, torch.finfo(self.dtype).min)[:, None]
        decoder = self.model.base_model
        output = decoder(
            inputs_embeds=embeds.to(self.dtype),
            attention_mask=bias,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        states: Tensor = output.last_hidden_state
        return states.float()

    def logits(self, states: Tensor) -> Tensor:
        """The LM head: (…, hidden) to (…, vocabulary) in float32."""
        head = self.model.get_output_embeddings()  # type: ignore[no-untyped-call]
        scores: Tensor = head(states.to(self.dtype))
        return scores.float()

    def adapt(self, lora: LoraSettings) -> None:
        """Put low-rank adapters beside the target modules; all other weights are frozen.

        :raises ConfigError: the decoder has no module of a target's name.
        """
        from peft import LoraConfig, inject_adapter_in_model

        names = {name.rpartition(".")[2] for name, _ in self.model.named_modules()}
        absent = sorted(set(lora.targets) - names)
        if absent:
            raise ConfigError(
                f"training.lora.targets: this backbone has no module {', '.join(absent)}.",
                remedy="Name modules of its attention, such as q_proj and v_proj.",
            )
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        settings = LoraConfig(
            r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.targets)
        )
        self.model = inject_adapter_in_model(settings, self.model)  # type: ignore[assignment]


def build_backbone(config: BackboneConfig, *, weights: bool = True) -> Backbone:
    """A decoder as configured.

    :param weights: false builds it with random values (on the device that is current, meta for instance), for the
        checkpoint to fill or for shapes alone; ``tiny`` has no weights but those of a checkpoint.
    :raises ModelUnavailable: a pretrained backbone is not there, or its file cannot be read.
    """
    if config.from_scratch or not weights:
        return Backbone(_random(config))
    return Backbone(Pretrained.of(config).model(_DTYPES[config.dtype]))


def decoder_config(config: BackboneConfig) -> Any:
    """The decoder's configuration: of its files where they are here, else of ``architecture``.

    :raises ModelUnavailable: neither is there.
    """
    if config.from_scratch:
        return _qwen2(config.architecture or ArchitectureConfig())
    if not Path(config.name).is_dir() and config.architecture is not None:
        return _qwen2(config.architecture)
    return Pretrained.of(config).config()


def _random(config: BackboneConfig) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        decoder_config(config), dtype=_DTYPES[config.dtype], trust_remote_code=False, attn_implementation="sdpa"
    )
    return model


def _qwen2(shape: ArchitectureConfig) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        rms_norm_eps=shape.norm_epsilon,
        tie_word_embeddings=shape.tie_embeddings,
    )
