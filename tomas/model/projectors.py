"""Projectors: vectors of the panels to embeddings that stand in the backbone's sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Projector", "token_scale"]


class Projector(nn.Module):
    """Two layers, brought to the size that the backbone's own token embeddings have."""

    def __init__(self, d_in: int, hidden: int, scale: float, inner: int | None = None) -> None:
        """:param scale: root mean square of the backbone's token embeddings."""
        super().__init__()
        inner = inner or hidden
        self.layers = nn.Sequential(nn.Linear(d_in, inner), nn.GELU(), nn.Linear(inner, hidden))
        self.norm = nn.LayerNorm(hidden)
        nn.init.constant_(self.norm.weight, scale)

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) to (…, hidden)."""
        embedded: Tensor = self.norm(self.layers(x))
        return embedded


def token_scale(weight: Tensor) -> float:
    """Root mean square of token embeddings; 0.02 where they have no values (meta device)."""
    if weight.is_meta:
        return 0.02
    with torch.no_grad():
        return float(weight[:4096].float().pow(2).mean().sqrt().clamp_min(1e-3))
