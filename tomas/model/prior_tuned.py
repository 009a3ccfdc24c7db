"""The sentence encoder's upper layers, trained further to tell a request's plan, its tools and its links.

Its answers are averaged with those of the memory: the two err differently.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor, nn

from tomas.model.prior_encoder import SentenceEncoder

__all__ = ["TunedReader", "tune"]

_BATCH = 16
_POOL = 16
_LAYER_RATE, _HEAD_RATE = 2e-4, 2e-3
_WARMUP = 60
_UNLIKELY = -3.0
_SCALE = 3.0
"""Means over tokens are small; so many times as large they suit a linear layer."""
_LINK_SHARE, _PLAN_SHARE = 0.5, 0.7

Chances = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Of tools, links and plans, each of shape (tasks, number of them)."""


class TunedReader(nn.Module):
    """Upper layers of the encoder, and linear heads: on the mean over tokens, and per tool on tokens it finds."""

    def __init__(self, encoder: SentenceEncoder, tools: int, links: int, plans: int) -> None:
        super().__init__()
        self.layers: Any = copy.deepcopy(encoder.upper_layers())
        width = encoder.width
        self.tool, self.link, self.plan = nn.Linear(width, tools), nn.Linear(width, links), nn.Linear(width, plans)
        self.query, self.value = nn.Linear(width, tools, bias=False), nn.Linear(width, tools, bias=False)
        self.drop = nn.Dropout(0.15)
        for head in (self.tool, self.link):
            nn.init.constant_(head.bias, _UNLIKELY)
        for head in (self.query, self.value):
            nn.init.normal_(head.weight, std=0.02)

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of tools, links and plans.

        :param states: of the tokens below the trained layers, (B, T, width); ``mask`` (B, T) says which are real.
        """
        bias = torch.zeros(mask.shape).masked_fill(~mask, -1e9)[:, None, None]
        for layer in self.layers:
            found = layer(states, bias)
            states = found[0] if isinstance(found, tuple) else found
        mean = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        mean = self.drop(mean) * _SCALE
        share = self.query(states).masked_fill(~mask[..., None], -1e9).softmax(dim=1)
        return self.tool(mean) + (share * self.value(states)).sum(dim=1), self.link(mean), self.plan(mean)

    def chances(self, states: Sequence[Tensor]) -> Chances:
        """Probabilities of tools, links and plans.

        :param states: of each task's tokens below the trained layers, (tokens, width).
        """
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        self.eval()
        with torch.inference_mode():
            for begin in range(0, len(states), _BATCH):
                tools, links, plans = self(*_padded(states[begin : begin + _BATCH]))
                found.append((tools.sigmoid(), links.sigmoid(), plans.softmax(dim=-1)))
        tools, links, plans = (torch.cat(parts).double().numpy() for parts in zip(*found, strict=True))
        return tools, links, plans


def tune(
    encoder: SentenceEncoder,
    states: Sequence[Tensor],
    right: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]],
    plans: int,
    *,
    epochs: int,
    seed: int = 0,
    report: Callable[[float], None] | None = None,
) -> TunedReader:
    """Train a reader.

    :param states: of each task's tokens below the trained layers, (tokens, width).
    :param right: 1 at tools (tasks, tools) and links (tasks, links) of each task, and the index of its plan.
    :param report: is told the share done after each batch.
    """
    torch.manual_seed(seed)
    reader = TunedReader(encoder, right[0].shape[1], right[1].shape[1], plans)
    wanted = [torch.from_numpy(part) for part in (right[0].astype(np.float32), right[1].astype(np.float32))]
    chosen = torch.from_numpy(right[2])
    own = {id(parameter) for parameter in reader.layers.parameters()}
    heads = [parameter for parameter in reader.parameters() if id(parameter) not in own]
    optimizer = torch.optim.AdamW(
        [{"params": list(reader.layers.parameters()), "lr": _LAYER_RATE}, {"params": heads, "lr": _HEAD_RATE}],
        weight_decay=0.01,
    )
    total = epochs * -(-len(states) // _BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min((done + 1) / _WARMUP, max(0.02, 1.0 - done / total))
    )
    rng = np.random.default_rng(seed)
    done = 0
    reader.train()
    for _ in range(epochs):
        for rows in _batches([len(item) for item in states], rng):
            tools, links, logits = reader(*_padded([states[row] for row in rows]))
            loss = nnf.binary_cross_entropy_with_logits(tools, wanted[0][rows], reduction="sum")
            loss = loss + _LINK_SHARE * nnf.binary_cross_entropy_with_logits(
                links, wanted[1][rows], reduction="sum"
            )
            loss = loss / len(rows) + _PLAN_SHARE * nnf.cross_entropy(logits, chosen[rows], label_smoothing=0.05)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(reader.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            done += 1
            if report is not None:
                report(done / total)
    return reader.eval()


def _batches(lengths: Sequence[int], rng: np.random.Generator) -> list[list[int]]:
    order = rng.permutation(len(lengths))
    batches: list[list[int]] = []
    for begin in range(0, len(order), _BATCH * _POOL):
        pool = sorted((int(row) for row in order[begin : begin + _BATCH * _POOL]), key=lambda row: lengths[row])
        batches += [pool[i : i + _BATCH] for i in range(0, len(pool), _BATCH)]
    return [batches[number] for number in rng.permutation(len(batches))]


def _padded(states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    padded = nn.utils.rnn.pad_sequence([item.float() for item in states], batch_first=True)
    lengths = torch.tensor([len(item) for item in states])
    return padded, torch.arange(padded.shape[1])[None] < lengths[:, None]
