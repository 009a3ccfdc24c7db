"""Resource regressor: one parallel pass over all steps, their graph known, to modes and bounded corrections."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tomas.model.config import AllocationConfig
from tomas.model.heads import HIDDEN
from tomas.model.mode_tensors import MODE_FEATURES, RELATIONS, ModeTensors

__all__ = ["AllocationHead"]


class _GraphBlock(nn.Module):
    """Attention among the steps of a plan, biased by how they stand to each other."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.relation = nn.Embedding(RELATIONS, heads)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )
        nn.init.zeros_(self.relation.weight)

    def forward(self, x: Tensor, relation: Tensor, mask: Tensor) -> Tensor:
        """(B, S, width), (B, S, S), (B, S) to (B, S, width)."""
        q, k, v = self.qkv(self.norm(x)).view(*x.shape[:2], 3, self.heads, -1).unbind(dim=2)
        scores = torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(q.shape[-1])
        scores = scores + self.relation(relation).permute(0, 3, 1, 2)
        weights = scores.masked_fill(~mask[:, None, None, :], HIDDEN).softmax(dim=-1)
        x = x + self.out(torch.einsum("bhij,bjhd->bihd", weights, v).flatten(-2))
        result: Tensor = x + self.feed(x)
        return result


class AllocationHead(nn.Module):
    """For each step a distribution over its modes, and per mode a correction of its amounts.

    Steps hear of each other's modes along the graph before any is chosen. The correction is bounded, in log space,
    and for amounts above zero alone: whether a GPU is used is a mode, not a regression.
    """

    def __init__(self, hidden: int, d_temporal: int, config: AllocationConfig, dropout: float) -> None:
        super().__init__()
        width = config.d_model
        self.bound = math.log(config.residual_bound)
        self.mode = nn.Sequential(
            nn.Linear(MODE_FEATURES + d_temporal, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width)
        )
        self.step = nn.Linear(hidden + 2 * width, width)
        self.blocks = nn.ModuleList(_GraphBlock(width, config.heads, dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.score = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, 1))
        amounts = nn.Linear(width, 4)
        nn.init.zeros_(amounts.weight)
        nn.init.zeros_(amounts.bias)
        self.correction = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), amounts)

    def forward(self, states: Tensor, mask: Tensor, modes: ModeTensors, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Propose.

        :param states: of the steps, (B, S, hidden).
        :param mask: (B, S).
        :param classes: temporal vectors, (B, C, d_temporal).
        :return: logits (B, S, M), and corrections (B, S, M, 4): natural logarithms, within the bound, 0 where the
            mode needs nothing.
        """
        size, steps, most = modes.mask.shape
        if not most:
            return states.new_zeros(size, steps, 0), states.new_zeros(size, steps, 0, 4)
        index = modes.group.flatten(1)[..., None].expand(-1, -1, classes.shape[-1])
        timeline = classes.gather(1, index).view(size, steps, most, -1)
        encoded = self.mode(torch.cat([modes.features, timeline], dim=-1)) * modes.mask[..., None]
        count = modes.mask.sum(-1, keepdim=True).clamp_min(1)
        mean = encoded.sum(2) / count
        largest = encoded.masked_fill(~modes.mask[..., None], HIDDEN).amax(2) * modes.mask.any(-1, keepdim=True)
        x = self.step(torch.cat([states, mean, largest], dim=-1))
        for block in self.blocks:
            x = block(x, modes.relation, mask)
        x = self.norm(x)[:, :, None].expand(size, steps, most, -1)
        logits = self.score(torch.cat([x, encoded, x * encoded], dim=-1))[..., 0].masked_fill(~modes.mask, HIDDEN)
        correction = torch.tanh(self.correction(torch.cat([x, encoded], dim=-1))) * self.bound
        return logits, correction * (modes.need > 0)
