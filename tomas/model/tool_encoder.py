"""Tool encoder: the text of a tool to a vector, and how well its words match the task's.

There are no parameters per tool: a tool that was never seen is read like any other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from tomas.model.config import ToolEncoderConfig
from tomas.model.coverage import Coverage

__all__ = ["TextEncoder", "TokenMatching"]


class TextEncoder(nn.Module):
    """Texts to vectors: token embeddings of the backbone, neighbours mixed in, pooled by attention."""

    def __init__(self, width: int, config: ToolEncoderConfig) -> None:
        """:param width: of the backbone's token embeddings."""
        super().__init__()
        self.pools = config.pools
        self.norm = nn.LayerNorm(width)
        self.neighbours = nn.Conv1d(width, width, 3, padding=1, groups=width)
        self.weigh = nn.Linear(width, config.pools)
        self.value = nn.Linear(width, config.d_tool)
        self.out = nn.Sequential(nn.GELU(), nn.Linear(config.d_tool, config.d_tool))
        self.out_norm = nn.LayerNorm(config.d_tool)

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """Encode texts.

        :param embedded: (U, L, width).
        :param mask: (U, L), true where there is a token; a text without tokens gives zeros.
        :return: (U, d_tool).
        """
        x = self.norm(embedded) * mask[..., None]
        x = x + nnf.gelu(self.neighbours(x.transpose(1, 2)).transpose(1, 2))
        weights = self.weigh(x).masked_fill(~mask[..., None], -1e9).softmax(dim=1)
        values = self.value(x).unflatten(-1, (self.pools, -1))
        pooled = torch.einsum("ulp,ulpd->upd", weights, values).flatten(1)
        vectors: Tensor = self.out_norm(pooled + self.out(pooled))
        return vectors * mask.any(dim=1, keepdim=True)


class TokenMatching(nn.Module):
    """Late interaction between tokens of tools and of the task (after ColBERT, Khattab and Zaharia 2020).

    Each token looks for its likest on the other side; the means of these likenesses, weighed by how telling a token
    is, are two scores of a tool: how much of the task it covers, and how much of it the task names.
    """

    def __init__(self, width: int, config: ToolEncoderConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, config.d_match, bias=False)
        self.telling = nn.Linear(width, 1)

    def tokens(self, embedded: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (…, L, d_match) and weights (…, L) of tokens; 0 where the mask is false."""
        x = self.norm(embedded)
        vectors = nnf.normalize(self.project(x), dim=-1)
        weights = nnf.softplus(self.telling(x)[..., 0]) * mask
        return vectors, weights

    def forward(
        self, tools: tuple[Tensor, Tensor], rows: Tensor, task: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Coverage]:
        """Scores of every candidate, and what of the task it covers.

        :param tools: vectors (U, L, d) and weights (U, L) of the texts of all tools.
        :param rows: (B, K) of these.
        :param task: vectors (B, T, d) and weights (B, T).
        :return: (B, K, 2), each about 0 to 1; and the coverage.
        """
        vectors, weights = tools[0][rows], tools[1][rows]
        likeness = torch.einsum("bkld,btd->bklt", vectors, task[0])
        likeness = likeness.masked_fill((weights == 0)[..., None] | (task[1] == 0)[:, None, None, :], -1.0)
        # The gradient of max is one entry; that of amax, over everything, takes twice the time.
        best = likeness.max(dim=2).values
        share = task[1] / task[1].sum(-1, keepdim=True).clamp_min(1e-6)
        covers = torch.einsum("bkt,bt->bk", best, share)
        named = (likeness.max(dim=3).values * weights).sum(-1) / weights.sum(-1).clamp_min(1e-6)
        # Squared, as every tool resembles every word a little.
        return torch.stack([covers, named], dim=-1), Coverage(best.clamp(0.0, 1.0).square(), share)
