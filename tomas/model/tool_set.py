"""Fusion of the candidates: meaning and resources of each, then multi-head self-attention over the set."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tomas.model.config import ToolSetConfig

__all__ = ["ToolSet"]


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, absent: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.attention(y, y, y, key_padding_mask=absent, need_weights=False)[0]
        result: Tensor = x + self.feed(x)
        return result


class ToolSet(nn.Module):
    """Vectors of tools and of their resources to contextual vectors of the set; order does not matter."""

    def __init__(self, d_tool: int, d_resource: int, config: ToolSetConfig, dropout: float) -> None:
        super().__init__()
        self.join = nn.Linear(d_tool + d_resource, config.d_set)
        self.blocks = nn.ModuleList(_Block(config.d_set, config.heads, dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.d_set)

    def forward(self, tools: Tensor, resources: Tensor, mask: Tensor, *, attend: bool = True) -> Tensor:
        """Fuse.

        :param tools: (B, K, d_tool).
        :param resources: (B, K, d_resource).
        :param mask: (B, K).
        :param attend: false leaves the self-attention out.
        :return: (B, K, d_set).
        """
        x = self.join(torch.cat([tools, resources], dim=-1))
        for block in self.blocks if attend else ():
            x = block(x, ~mask)
        fused: Tensor = self.norm(x)
        return fused
