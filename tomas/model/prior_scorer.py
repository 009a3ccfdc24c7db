"""How likely each tool is: what known requests say of it, how often they held it, and how alike its text is.

The memory alone gives a tool that few plans hold too little, and one that none holds nothing. How far to trust
which is learned from requests that the memory had not seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from torch import Tensor, nn

from tomas.model.example import FloatArray

__all__ = ["ToolScorer", "tool_features"]

_EVEN = 0.02
_HIDDEN = 32
_MEMBERS = 2
_EPOCHS = 6
_BATCH = 32
_LEAST_BATCHES = 300
"""Where requests are few, epochs are more."""
_RATE = 4e-3
_UNLIKELY = -3.0
_FEW = 3.0


def tool_features(
    chances: NDArray[np.float64], counts: NDArray[np.float64], likeness: FloatArray
) -> NDArray[np.float32]:
    """What the scorer reads, per request and tool: (tasks, tools, features).

    :param chances: of tools by the memory, (tasks, tools).
    :param counts: known requests whose plan holds each tool, (tools,).
    :param likeness: of request and tool's text, (tasks, tools, kinds); the last is the best of them.
    """
    chance = np.clip(chances, 0.0, 1.0)
    odds = np.log((chance + _EVEN) / (1.0 - chance + _EVEN))
    count = np.broadcast_to(np.log1p(counts), chance.shape)
    ranked = -np.sort(-chance, axis=1)
    first, second = (np.broadcast_to(ranked[:, k : k + 1], chance.shape) for k in (0, min(1, ranked.shape[1] - 1)))
    total = np.broadcast_to(chance.sum(axis=1, keepdims=True), chance.shape)
    unseen = np.broadcast_to((counts == 0).astype(np.float64), chance.shape)
    known = [odds, chance, count / 3.0, unseen, odds * count / 5.0, first, second, total / 3.0]
    spread = np.maximum(likeness.std(axis=1, keepdims=True), 1e-6)
    standing = (likeness - likeness.mean(axis=1, keepdims=True)) / spread
    behind = likeness - likeness.max(axis=1, keepdims=True)
    rare = np.exp(-counts / _FEW)
    best = [3.0 * likeness[..., -1], standing[..., -1] * rare]
    parts = [np.stack(known, axis=-1), standing / 2.0, behind * 3.0, np.stack(best, axis=-1)]
    return np.concatenate(parts, axis=-1).astype(np.float32)


class ToolScorer(nn.Module):
    """Small networks on the features of one tool, whose answers are averaged."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.members: Any = nn.ModuleList(_member(features) for _ in range(_MEMBERS))

    def chances(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of every tool, (tasks, tools)."""
        with torch.inference_mode():
            read = torch.from_numpy(features)
            found = [member(read)[..., 0].sigmoid() for member in self.members]
            mean: NDArray[np.float64] = torch.stack(found).mean(dim=0).double().numpy()
        return mean

    @classmethod
    def fit(cls, features: NDArray[np.float32], right: NDArray[np.float64], *, seed: int = 0) -> ToolScorer:
        """Learn from features of requests that the memory had not seen.

        :param right: 1 at the tools of each request's plan, (tasks, tools).
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            scorer = cls(features.shape[-1])
        read, wanted = torch.from_numpy(features), torch.from_numpy(right.astype(np.float32))
        for number, member in enumerate(scorer.members):
            _train(member, read, wanted, np.random.default_rng((seed, number)))
        return scorer.eval()


def _member(features: int) -> nn.Module:
    last = nn.Linear(_HIDDEN, 1)
    nn.init.constant_(last.bias, _UNLIKELY)
    return nn.Sequential(nn.Linear(features, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, _HIDDEN), nn.GELU(), last)


def _train(member: nn.Module, read: Tensor, wanted: Tensor, rng: np.random.Generator) -> None:
    batches = -(-len(read) // _BATCH)
    epochs = max(_EPOCHS, -(-_LEAST_BATCHES // batches))
    optimizer = torch.optim.AdamW(member.parameters(), lr=_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    for _ in range(epochs):
        order = rng.permutation(len(read))
        for begin in range(0, len(order), _BATCH):
            rows = order[begin : begin + _BATCH]
            logits = member(read[rows])[..., 0]
            loss = nnf.binary_cross_entropy_with_logits(logits, wanted[rows], reduction="sum") / len(rows)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
