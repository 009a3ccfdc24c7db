"""The training loop: batches of like length, warm-up and decay, early stopping, a state that survives kill -9.

Everything random is drawn from the seed, the epoch and the batch, so that an interrupted run ends in the same
weights as one that was not.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tomas.errors import DataError
from tomas.model.batch import collate
from tomas.model.config import NeuralConfig
from tomas.model.example import PlanningExample
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer
from tomas.training.neural.orders import has_choice, in_own_order
from tomas.training.neural.state import (
    History,
    TrainingState,
    own_tensors,
    read_state,
    remove_state,
    write_state,
)

__all__ = ["Progress", "Trained", "train"]

_POOL = 64
"""Batches whose examples are sorted by length together."""
_LIKE = 8
"""Tokens within which tasks count as equally long."""
_LAST_RATE = 0.05


@dataclass(frozen=True)
class Progress:
    """What a run reports after each batch.

    :ivar share: of all batches of all epochs, 0 to 1.
    :ivar losses: means of the epoch so far.
    """

    epoch: int
    epochs: int
    share: float
    losses: dict[str, float]
    valid: dict[str, float] | None = None


@dataclass(frozen=True)
class Trained:
    """What a run ended with.

    :ivar epochs: of which the network's weights are: the best on what was held out, else the last.
    :ivar stopped: why it ended: "epochs", "patience" or "minutes".
    :ivar seconds: wall time, that before an interruption included.
    """

    history: History
    epochs: int
    stopped: str
    seconds: float


def train(
    network: PlannerNetwork,
    tokenizer: TextTokenizer,
    examples: Sequence[PlanningExample],
    *,
    valid: Sequence[PlanningExample] = (),
    config: NeuralConfig | None = None,
    folder: Path | None = None,
    minutes: float | None = None,
    save_every_s: float = 60.0,
    keep_state: bool = False,
    recompute: bool = False,
    report: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train a network in place; it is in evaluation mode afterwards, with its best weights.

    Which parameters are trained follows from the strategy that the network was built with.

    :param valid: held out; decides early stopping and which epoch's weights are kept.
    :param config: training settings; None takes the network's.
    :param folder: where the state is kept meanwhile; a run with the same settings and data goes on from there.
    :param minutes: training ends with the first epoch after which another would take longer than this, the time
        before an interruption included.
    :param keep_state: leaves the state in the folder when training has ended, for a caller that has the weights yet
        to save; the same call then gives the same at once.
    :param recompute: the backbone's activations are computed again for the gradient, layer by layer, and not kept:
        far less memory, more time, the same weights.
    :raises DataError: no examples, one that exceeds the model's limits, or a damaged state.
    """
    if not examples:
        raise DataError("There are no examples to train on.", remedy="Give at least one.")
    config = config or network.config
    settings = config.training
    begun = time.monotonic()
    parameters = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    key = _key(config, examples, valid)
    torch.manual_seed(settings.seed)
    state, best = TrainingState(key), None
    if folder is not None:
        resumed = read_state(folder, key, network, optimizer)
        if resumed is not None:
            state, best = resumed
    before = state.seconds
    lengths = _lengths(examples, tokenizer)
    per_epoch = math.ceil(len(examples) / settings.batch_size)
    total = per_epoch * settings.epochs
    saved = time.monotonic()
    stopped = state.stopped
    if recompute:
        _recompute(network, on=True)
    with _same_bits(network.device):
        while not stopped:
            network.train()
            epoch_begun = time.monotonic()
            for number, rows in enumerate(_batches(lengths, settings.batch_size, settings.seed, state.epoch)):
                if number < state.step:
                    continue
                done = state.epoch * per_epoch + number
                _step(network, tokenizer, config, [examples[row] for row in rows], optimizer, state, done, total)
                if report is not None:
                    report(
                        Progress(state.epoch, settings.epochs, (done + 1) / total, _means(state, network.config))
                    )
                if folder is not None and time.monotonic() - saved > save_every_s:
                    state.seconds = before + time.monotonic() - begun
                    write_state(folder, state, network, optimizer, best)
                    saved = time.monotonic()
            best = _end_epoch(network, tokenizer, config, valid, state, best)
            if report is not None:
                last = state.history.valid[-1] if valid else None
                share = state.epoch / settings.epochs
                report(Progress(state.epoch - 1, settings.epochs, share, state.history.train[-1], last))
            now = time.monotonic()
            state.seconds = before + now - begun
            if state.epoch >= settings.epochs:
                state.stopped = "epochs"
            elif valid and settings.patience and state.epoch - state.best_epoch >= settings.patience:
                state.stopped = "patience"
            elif minutes is not None and state.seconds + (now - epoch_begun) > minutes * 60.0:
                state.stopped = "minutes"
            stopped = state.stopped
            if folder is not None:
                write_state(folder, state, network, optimizer, best)
                saved = time.monotonic()
    if best is not None:
        network.load_state_dict(best, strict=False)
    if recompute:
        _recompute(network, on=False)
    network.eval()
    if folder is not None and not keep_state:
        remove_state(folder)
    return Trained(state.history, state.best_epoch if valid else state.epoch, stopped, state.seconds)


@contextmanager
def _same_bits(device: torch.device) -> Iterator[None]:
    """On a processor gradients are added up in the same order each time, also by several threads.

    That costs no time there; on a GPU some operations have no such form, and speed is worth more.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(before or device.type == "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _recompute(network: PlannerNetwork, *, on: bool) -> None:
    model: Any = network.backbone.model
    # Newer versions of transformers speak of activations, older ones of gradients.
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    if on:
        getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
        # Made for token ids alone; the embeddings that are read here have gradients of their own.
        model.disable_input_require_grads()
    else:
        getattr(model, f"{kind}_checkpointing_disable")()


def _step(
    network: PlannerNetwork,
    tokenizer: TextTokenizer,
    config: NeuralConfig,
    examples: list[PlanningExample],
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    done: int,
    total: int,
) -> None:
    settings = config.training
    rng = np.random.default_rng((settings.seed, done)) if settings.sampled_orders else None
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * _rate(done, total, settings.warmup)
    # Evenly spread over the batches, the first among them.
    explained = math.ceil((done + 1) * settings.explained_share) > math.ceil(done * settings.explained_share)
    choice = any(has_choice(example.target) for example in examples)
    if rng is not None and rng.random() < settings.own_choice_share and choice:
        some = collate(examples, tokenizer, network.config, rng=rng, explanations=False)
        examples, rng = in_own_order(network, some.to(network.device), examples), None
    batch = collate(examples, tokenizer, network.config, rng=rng, explanations=explained)
    losses = network.loss(batch.to(network.device))
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(losses["total"])
    torch.nn.utils.clip_grad_norm_([p for p in network.parameters() if p.requires_grad], settings.clip)
    optimizer.step()
    state.step += 1
    for name, value in losses.items():
        state.sums[name] = state.sums.get(name, 0.0) + float(value.detach())
        state.counts[name] = state.counts.get(name, 0) + 1


def _end_epoch(
    network: PlannerNetwork,
    tokenizer: TextTokenizer,
    config: NeuralConfig,
    valid: Sequence[PlanningExample],
    state: TrainingState,
    best: dict[str, Tensor] | None,
) -> dict[str, Tensor] | None:
    """Close the books of an epoch; gives the best weights so far."""
    state.history.train.append(_means(state, network.config))
    state.epoch, state.step, state.sums, state.counts = state.epoch + 1, 0, {}, {}
    if not valid:
        return None
    losses = _evaluate(network, tokenizer, valid, config.training.batch_size)
    state.history.valid.append(losses)
    if state.best is None or losses["total"] < state.best:
        state.best, state.best_epoch = losses["total"], state.epoch
        return {name: value.detach().cpu().clone() for name, value in own_tensors(network).items()}
    return best


def _evaluate(
    network: PlannerNetwork, tokenizer: TextTokenizer, examples: Sequence[PlanningExample], size: int
) -> dict[str, float]:
    network.eval()
    lengths = _lengths(examples, tokenizer)
    examples = [examples[row] for row in sorted(range(len(examples)), key=lengths.__getitem__)]
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    with torch.inference_mode():
        for begin in range(0, len(examples), size):
            rows = examples[begin : begin + size]
            losses = network.loss(collate(rows, tokenizer, network.config).to(network.device))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(rows)
                counts[name] = counts.get(name, 0) + len(rows)
    return _together({name: value / counts[name] for name, value in sums.items()}, network.config)


def _means(state: TrainingState, config: NeuralConfig) -> dict[str, float]:
    """Mean losses of the epoch so far, each over the batches that held its segment."""
    return _together({name: value / state.counts[name] for name, value in state.sums.items()}, config)


def _together(losses: dict[str, float], config: NeuralConfig) -> dict[str, float]:
    """With ``total`` anew, as not every batch holds every segment."""
    factors = config.training.loss.model_dump()
    return losses | {"total": sum(factors[name] * value for name, value in losses.items() if name != "total")}


def _lengths(examples: Sequence[PlanningExample], tokenizer: TextTokenizer) -> list[tuple[int, int]]:
    """By what examples are alike in length: tokens of the task, roughly, then candidates."""
    return [
        (len(tokenizer.encode(example.given.task)[0]) // _LIKE, len(example.given.candidates))
        for example in examples
    ]


def _batches(lengths: Sequence[tuple[int, int]], size: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """Rows of one epoch: shuffled, but of like length within a batch, so that little is padding."""
    rng = np.random.default_rng((seed, epoch, 1))
    order = rng.permutation(len(lengths))
    batches: list[list[int]] = []
    for begin in range(0, len(order), size * _POOL):
        pool = sorted(order[begin : begin + size * _POOL], key=lengths.__getitem__)
        batches += [[int(row) for row in pool[i : i + size]] for i in range(0, len(pool), size)]
    for number in rng.permutation(len(batches)):
        yield batches[number]


def _rate(done: int, total: int, warmup: float) -> float:
    """Share of the learning rate: up in a line, down along a cosine."""
    rise = max(1.0, warmup * total)
    if done < rise:
        return (done + 1) / rise
    share = (done - rise) / max(1.0, total - rise)
    return _LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))


def _key(config: NeuralConfig, examples: Sequence[PlanningExample], valid: Sequence[PlanningExample]) -> str:
    known = hashlib.sha256(config.model_dump_json().encode())
    for part in (examples, valid):
        known.update(str(len(part)).encode())
        for example in part:
            target = [(step.tool, step.parents) for step in example.target.steps]
            known.update(f"{example.id}|{example.given.task}|{target}|{example.target.refuse}".encode())
    return known.hexdigest()
