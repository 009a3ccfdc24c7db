"""What a configuration needs: parameters by panel, memory of weights, cache and training. Built without weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tomas.model.config import NeuralConfig, TrainingConfig
from tomas.model.network import PlannerNetwork

__all__ = ["ModelInfo", "StrategyMemory", "model_info"]

GB = 2.0**30
_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class StrategyMemory:
    """Memory that training takes before activations, in GB.

    :ivar trainable: parameters that are trained.
    :ivar gb: weights as they are stored, gradients in the same type, and two moments of AdamW in float32.
    """

    trainable: int
    gb: float


@dataclass(frozen=True)
class ModelInfo:
    """Counts of parameters, and memory in GB (2^30 bytes).

    :ivar panels: parameters by part; ``backbone`` is without its token embedding, which stands apart.
    :ivar stored: bytes of all parameters as configured: the backbone in its type, panels and heads in float32.
    :ivar weights_gb: of all parameters in one type.
    :ivar cache_bytes: of keys and values, per position, in the backbone's type.
    :ivar sequence: the longest, in positions, without the explanation.
    """

    panels: Mapping[str, int]
    stored: int
    weights_gb: Mapping[str, float]
    cache_bytes: int
    sequence: int
    strategies: Mapping[str, StrategyMemory]

    @property
    def parameters(self) -> int:
        """All of them."""
        return sum(self.panels.values())

    @property
    def without_embeddings(self) -> int:
        """All but the token embedding and an output layer of its own."""
        return self.parameters - self.panels["token embedding"] - self.panels.get("output layer", 0)

    @property
    def cache_gb(self) -> float:
        """Of one request at the longest sequence."""
        return self.cache_bytes * self.sequence / GB

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "parameters": self.parameters,
            "parameters_without_embeddings": self.without_embeddings,
            "panels": dict(self.panels),
            "stored_gb": self.stored / GB,
            "weights_gb": dict(self.weights_gb),
            "cache_bytes_per_position": self.cache_bytes,
            "cache_gb": self.cache_gb,
            "sequence": self.sequence,
            "training": {
                name: {"trainable": item.trainable, "gb": item.gb} for name, item in self.strategies.items()
            },
        }


def model_info(config: NeuralConfig) -> ModelInfo:
    """Count on the meta device: no weights are read, and no memory is taken.

    :raises ModelUnavailable: the backbone's shape is neither in the configuration nor in its files.
    """
    strategies: dict[str, StrategyMemory] = {}
    for name in ("freeze_backbone", "lora", "full_finetune"):
        network = _on_meta(config, name)
        trained = [p for p in network.parameters() if p.requires_grad]
        moments = 8 * sum(p.numel() for p in trained)
        gradients = sum(p.numel() * p.element_size() for p in trained)
        strategies[name] = StrategyMemory(
            sum(p.numel() for p in trained), (_size(network) + gradients + moments) / GB
        )
    network = _on_meta(config, "full_finetune")
    panels = _panels(network)
    count = sum(panels.values())
    return ModelInfo(
        panels=panels,
        stored=_size(network),
        weights_gb={name: count * size / GB for name, size in _BYTES.items()},
        cache_bytes=_cache_bytes(network),
        sequence=config.model.limits.max_sequence,
        strategies=strategies,
    )


def _on_meta(config: NeuralConfig, strategy: str) -> PlannerNetwork:
    training = TrainingConfig.model_validate(config.training.model_dump() | {"strategy": strategy})
    with torch.device("meta"):
        return PlannerNetwork(config.model_copy(update={"training": training}), weights=False)


def _size(network: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())


def _panels(network: PlannerNetwork) -> dict[str, int]:
    def count(*parts: nn.Module | None) -> int:
        return sum(p.numel() for part in parts if part is not None for p in part.parameters())

    backbone, left = network.backbone, network.left
    embedding = count(backbone.embedding)
    head = backbone.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    output = 0 if head.weight is backbone.embedding.weight else count(head)
    found = {
        "token embedding": embedding,
        "output layer": output,
        "backbone": count(backbone) - embedding - output,
        "tool encoder": count(left.text, left.ports, left.matching),
        "resource MLP": count(left.resources),
        "tool set attention": count(left.fuse),
        "temporal encoder": count(left.temporal),
        "projectors": count(left.to_tool, left.to_class, left.to_request),
        "gate": count(network.gate),
        "tool pointer": count(network.pointer),
        "edge pointer": count(network.edge),
        "binding pointer": count(network.binding),
        "argument pointer": count(network.argument),
        "allocation head": count(network.allocation),
    }
    found["other"] = count(network) - sum(found.values())
    return {name: value for name, value in found.items() if value}


def _cache_bytes(network: PlannerNetwork) -> int:
    shape = network.backbone.config
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    return int(2 * shape.num_hidden_layers * heads * width * network.backbone.embedding.weight.element_size())
