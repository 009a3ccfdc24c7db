"""What training starts from: a tokenizer and an untrained network, or those of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch

from tomas.errors import ConfigError
from tomas.model.checkpoint import load_checkpoint
from tomas.model.config import ArchitectureConfig, NeuralConfig
from tomas.model.example import PlanningExample, ToolCard
from tomas.model.network import PlannerNetwork
from tomas.model.prompt import build_prompt
from tomas.model.texts import TextTable
from tomas.model.tokenizer import TextTokenizer, load_pretrained_tokenizer, train_tokenizer

__all__ = ["continued", "untrained"]

_TASKS, _CARDS = 20_000, 2_000
"""Examples whose tasks, and whose tools, the tokenizer is trained on; they are spread evenly over all."""
_STATISTICS = 1_000
_BATCH = 50


def untrained(
    config: NeuralConfig,
    examples: Sequence[PlanningExample],
    cards: Iterable[ToolCard],
    tokenizer: TextTokenizer | None = None,
) -> tuple[PlannerNetwork, TextTokenizer]:
    """A network that knows nothing yet but its backbone, and its tokenizer.

    A backbone trained from scratch gets a tokenizer of the examples' texts; any other brings its own. Profiles are
    normalised with the examples' mean and spread.

    :param cards: the registry's tools, whose texts the tokenizer should know as well.
    :param tokenizer: of an interrupted run, which spares training it again.
    :raises ModelUnavailable: the files of a pretrained backbone are not there.
    """
    backbone = config.model.backbone
    if tokenizer is None and backbone.from_scratch:
        shape = backbone.architecture or ArchitectureConfig()
        tokenizer = train_tokenizer(_texts(examples, cards), vocab_size=shape.vocab_size)
    elif tokenizer is None:
        tokenizer = load_pretrained_tokenizer(backbone)
    torch.manual_seed(config.training.seed)
    network = PlannerNetwork(config)
    _set_statistics(network, tokenizer, examples)
    return network, tokenizer


def continued(folder: Path, config: NeuralConfig) -> tuple[PlannerNetwork, TextTokenizer, str]:
    """The network of a checkpoint, to be trained further, with its tokenizer and its version.

    :param config: training settings; its model must be the checkpoint's.
    :raises ModelUnavailable: the checkpoint is missing or altered.
    :raises ConfigError: the model is another one, or its weights cannot be trained by that strategy.
    """
    found = load_checkpoint(folder)
    if found.config.model != config.model:
        raise ConfigError(
            f"The model of {folder} is not that of the configuration.",
            remedy="Train on with the configuration that it was trained with, or start anew.",
        )
    before, now = found.config.training.strategy, config.training.strategy
    alike = before == now and (now != "lora" or found.config.training.lora == config.training.lora)
    # Beside adapters, or over weights that the checkpoint does not hold, nothing else can be trained.
    free = before == "freeze_backbone" or (before == "full_finetune" and config.model.backbone.from_scratch)
    if not alike and not free:
        raise ConfigError(
            f"{folder} was trained by {before} and cannot be trained further by {now}.",
            remedy=f"Take --strategy {before} with the same training.lora, or start anew.",
        )
    network = found.network
    network.config = config
    if not alike:
        network.apply_strategy()
    return network, found.tokenizer, found.version


def _texts(examples: Sequence[PlanningExample], cards: Iterable[ToolCard]) -> Iterator[str]:
    """Everything that is read or written, tasks above all."""
    for example in _spread(examples, _TASKS):
        yield example.given.task
        yield example.target.explanation
    for example in _spread(examples, _CARDS):
        for card in example.given.candidates:
            yield from _of_card(card)
    for card in cards:
        yield from _of_card(card)


def _of_card(card: ToolCard) -> Iterator[str]:
    yield card.text
    for port in (*card.inputs, *card.outputs):
        yield f"{port.name} {port.media_type}"
    for argument in card.arguments:
        yield argument.text
        yield from argument.choices
        yield from (name for names in argument.choice_names for name in names)


def _set_statistics(network: PlannerNetwork, tokenizer: TextTokenizer, examples: Sequence[PlanningExample]) -> None:
    given = (example.given for example in _spread(examples, _STATISTICS))
    rows = []
    while part := list(islice(given, _BATCH)):
        long = TextTable(network.config.model.tool_encoder.max_tokens)
        prompt, _ = build_prompt(part, tokenizer, network.config, long, TextTable(1))
        rows.append(prompt.profile[prompt.profile_mask])
    together = torch.cat(rows)
    if len(together) > 1:
        network.left.resources.set_statistics(together)


def _spread(examples: Sequence[PlanningExample], most: int) -> Iterator[PlanningExample]:
    step = max(1, -(-len(examples) // most))
    yield from (examples[place] for place in range(0, len(examples), step))
