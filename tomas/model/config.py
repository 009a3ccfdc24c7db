"""The configuration of the neural planner: one YAML file, strictly validated.

Names of the founding document survive: ``model.backbone.name``, ``model.tool_encoder.d_tool``,
``model.resource_mlp.d_resource``, ``training.strategy``, ``runtime.naive_mode.enabled``.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tomas.config import NaiveModeSettings
from tomas.errors import ConfigError

__all__ = [
    "AllocationConfig",
    "ArchitectureConfig",
    "BackboneConfig",
    "DataConfig",
    "HeadsConfig",
    "LatencyConfig",
    "LimitsConfig",
    "LoraSettings",
    "LossWeights",
    "NeuralConfig",
    "PanelsConfig",
    "ResourceMlpConfig",
    "TemporalConfig",
    "ToolEncoderConfig",
    "ToolSetConfig",
    "TrainingConfig",
    "load_config",
    "parse_config",
    "shipped_configs",
]

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ArchitectureConfig(_Section):
    """Shape of a Qwen2 decoder: of one that is trained from scratch, or of one whose files are not here."""

    hidden_size: Count = 192
    layers: Count = 4
    heads: Count = 6
    kv_heads: Count = 2
    ffn: Count = 512
    vocab_size: Count = 8192
    max_positions: Count = 4096
    rope_theta: Annotated[float, Field(gt=0)] = 10_000.0
    norm_epsilon: Annotated[float, Field(gt=0)] = 1e-6
    tie_embeddings: bool = True

    @model_validator(mode="after")
    def _divisible(self) -> ArchitectureConfig:
        if self.hidden_size % self.heads or self.heads % self.kv_heads:
            raise ValueError("hidden_size must be a multiple of heads, and heads of kv_heads")
        return self


class BackboneConfig(_Section):
    """The decoder: ``tiny``, or the hub id or folder of any decoder that takes ``inputs_embeds``.

    :ivar name: ``tiny`` is trained from scratch in the shape of ``architecture``.
    :ivar gguf_file: name of a GGUF file in that folder or repository; its weights are dequantised.
    :ivar architecture: for ``tiny``, and for the meta device where the files of ``name`` are not here.
    """

    name: Annotated[str, Field(min_length=1)] = "tiny"
    revision: str | None = None
    gguf_file: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    local_files_only: bool = False
    architecture: ArchitectureConfig | None = None

    @property
    def from_scratch(self) -> bool:
        """Whether the backbone has no weights but those of the checkpoint."""
        return self.name == "tiny"


class ToolEncoderConfig(_Section):
    """Text of a tool (or of any short name) to a vector.

    :ivar pools: heads of the attention pooling over tokens.
    :ivar max_tokens: of one tool's text; the rest is cut off.
    :ivar d_match: width of the token vectors whose likeness to the task's is the matching score; 0: none.
    """

    d_tool: Count = 128
    pools: Count = 4
    max_tokens: Count = 96
    d_match: Annotated[int, Field(ge=0, le=4096)] = 64


class ResourceMlpConfig(_Section):
    """Rows of a tool's profile to a vector; at most ``max_rows`` rows are read, spread over the allocations."""

    d_resource: Count = 48
    hidden: Count = 96
    max_rows: Count = 16


class ToolSetConfig(_Section):
    """Self-attention over the set of candidates."""

    d_set: Count = 160
    heads: Count = 8
    layers: Annotated[int, Field(ge=0, le=12)] = 1


class TemporalConfig(_Section):
    """The shared 1D-CNN over capacity curves.

    :ivar cells: a curve of any number of cells is brought to this many.
    :ivar segments: parts of the horizon whose features stay apart.
    """

    channels: Count = 4
    kernels: tuple[Count, ...] = (3, 5, 7)
    filters: Count = 16
    d_temporal: Count = 64
    cells: Count = 64
    segments: Count = 8

    @model_validator(mode="after")
    def _odd(self) -> TemporalConfig:
        if not self.kernels or any(kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError("kernels must be odd, at least one")
        return self


class LatencyConfig(_Section):
    """How T_inf is predicted before the planner runs."""

    mode: Literal["fixed", "rule", "learned"] = "rule"
    fixed_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 500.0


class HeadsConfig(_Section):
    """Widths of the pointers; ``none`` plans through JSON text alone."""

    kind: Literal["trained", "none"] = "trained"
    d_pointer: Count = 128
    d_edge: Count = 96
    d_binding: Count = 96
    d_argument: Count = 96


class AllocationConfig(_Section):
    """The parallel pass over all steps, their graph known."""

    d_model: Count = 96
    heads: Count = 4
    layers: Count = 2
    max_modes: Count = 64
    residual_bound: Annotated[float, Field(gt=1, le=4)] = 1.5
    """A proposal is at most this factor above or below its mode."""


class LimitsConfig(_Section):
    """Bounds of what is read and written; they bound time and memory for any task.

    :ivar max_sequence: prefixes, task and steps together, in positions; text after the plan comes on top.
    """

    max_sequence: Count = 128
    max_candidates: Count = 32
    max_classes: Count = 6
    max_inputs: Count = 8
    max_steps: Count = 16
    max_values: Count = 24
    max_text: Count = 160


class PanelsConfig(_Section):
    """Panels that may be blanked, to measure what each is worth."""

    profiles: bool = True
    timeline: bool = True
    set_attention: bool = True
    retrieval: bool = True
    feedback: bool = True
    """Whether the chosen step is fed back as an embedding."""
    matching: bool = True


class _Model(_Section):
    backbone: BackboneConfig = BackboneConfig()
    tool_encoder: ToolEncoderConfig = ToolEncoderConfig()
    resource_mlp: ResourceMlpConfig = ResourceMlpConfig()
    tool_set: ToolSetConfig = ToolSetConfig()
    temporal: TemporalConfig = TemporalConfig()
    latency: LatencyConfig = LatencyConfig()
    heads: HeadsConfig = HeadsConfig()
    allocation: AllocationConfig = AllocationConfig()
    limits: LimitsConfig = LimitsConfig()
    panels: PanelsConfig = PanelsConfig()
    dropout: Share = 0.1
    word_dropout: Share = 0.0
    """Tokens of tasks and tools that are left out in training, so that no phrasing is learned by heart."""


class LoraSettings(_Section):
    """The adapter of strategy ``lora``."""

    r: Count = 16
    alpha: Count = 32
    dropout: Share = 0.05
    targets: tuple[str, ...] = ("q_proj", "v_proj")


class LossWeights(_Section):
    """Each segment's loss is its mean; these weigh the segments."""

    gate: Rate = 1.0
    tool: Rate = 1.0
    edges: Rate = 1.0
    bindings: Rate = 0.5
    arguments: Rate = 0.5
    modes: Rate = 1.0
    residual: Rate = 0.2
    text: Rate = 0.3
    feasibility: Rate = 0.0
    """Expected overload of the proposed modes; the founding document's penalty."""


class DataConfig(_Section):
    """Which examples of the generator are trained on.

    :ivar count: examples that are trained on.
    :ivar valid: examples of held-out phrasings and tools, for early stopping and calibration.
    :ivar seed: of the generator; an example is a function of the seed and its number.
    :ivar labelled_share: of the examples, whose allocations the exact scheduler labels.
    :ivar prior: that gives the retrieval scores, in training as in planning.
    """

    count: Count = 20_000
    valid: Count = 1_000
    seed: Annotated[int, Field(ge=0)] = 1
    languages: Literal["en", "zh", "both"] = "both"
    labelled_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.5
    prior: Literal["lexical"] = "lexical"


class TrainingConfig(_Section):
    """How the model is trained, and on what."""

    strategy: Literal["freeze_backbone", "lora", "full_finetune"] = "full_finetune"
    lora: LoraSettings = LoraSettings()
    loss: LossWeights = LossWeights()
    data: DataConfig = DataConfig()
    epochs: Count = 20
    batch_size: Count = 32
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2e-3
    weight_decay: Rate = 0.02
    warmup: Share = 0.05
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    patience: Annotated[int, Field(ge=0)] = 4
    """Epochs without a better validation loss before training ends; 0: never early."""
    sampled_orders: bool = True
    """Whether the steps of an example are fed in any topological order, drawn anew each time."""
    own_choice_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Of the batches with sampled orders, those in which the network's own right choices are fed back instead."""
    explained_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    """Of the batches, those that teach explanations as well: these are most of a sequence, and the least lesson."""
    seed: Annotated[int, Field(ge=0)] = 0


class _Runtime(_Section):
    naive_mode: NaiveModeSettings = NaiveModeSettings()


class NeuralConfig(_Section):
    """Everything about one neural planner; ``model`` is part of its checkpoint."""

    model: _Model = _Model()
    training: TrainingConfig = TrainingConfig()
    runtime: _Runtime = _Runtime()

    @model_validator(mode="after")
    def _room(self) -> NeuralConfig:
        limits = self.model.limits
        reserved = limits.max_classes + limits.max_inputs + limits.max_candidates + limits.max_steps + 2
        if limits.max_sequence < reserved + 16:
            raise ValueError(f"model.limits.max_sequence must be at least {reserved + 16} under the other limits")
        if self.model.tool_set.d_set % self.model.tool_set.heads:
            raise ValueError("model.tool_set.d_set must be a multiple of model.tool_set.heads")
        if self.model.allocation.d_model % self.model.allocation.heads:
            raise ValueError("model.allocation.d_model must be a multiple of model.allocation.heads")
        if self.model.tool_encoder.d_tool % self.model.tool_encoder.pools:
            raise ValueError("model.tool_encoder.d_tool must be a multiple of model.tool_encoder.pools")
        if self.model.temporal.cells % self.model.temporal.segments:
            raise ValueError("model.temporal.cells must be a multiple of model.temporal.segments")
        return self


def shipped_configs() -> list[str]:
    """Names of the configurations shipped with TOMAS."""
    return sorted(
        item.name.removesuffix(".yaml") for item in files("tomas.configs").iterdir() if _is_yaml(item.name)
    )


def load_config(name_or_path: str | Path) -> NeuralConfig:
    """A shipped configuration by name (``tiny``, ``qwen2_5_7b``), or any YAML file.

    :raises ConfigError: the file is missing, not YAML, or holds a field that is unknown or out of range.
    """
    shipped = str(name_or_path) in shipped_configs()
    path = Path(str(files("tomas.configs") / f"{name_or_path}.yaml")) if shipped else Path(name_or_path)
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"The configuration {name_or_path} cannot be read: {error.strerror}.",
            remedy=f"Name a YAML file, or one of {', '.join(shipped_configs())}.",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({error}).", remedy="Correct the file.") from None
    return parse_config(data, str(path))


def parse_config(data: Any, where: str) -> NeuralConfig:
    """Validate plain data.

    :param where: file that the data comes from, for the message.
    :raises ConfigError: a field is unknown or out of range.
    """
    try:
        return NeuralConfig.model_validate(data or {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "(file)"
        raise ConfigError(f"{where}, field {field}: {first['msg']}.", remedy="Correct that field.") from None


def _is_yaml(name: str) -> bool:
    return name.endswith(".yaml")
