"""Resource MLP: the rows of a tool's profile to one vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tomas.model.config import ResourceMlpConfig
from tomas.model.prompt import PROFILE_INPUTS

__all__ = ["ResourceMlp"]

_MEAN = (13.0, 2.0, 2.0, 10.0, 1.0, 7.0, 0.5, 11.0, 0.2, 0.2, 0.1, 0.1)
_SCALE = (4.0, 3.0, 4.0, 25.0, 4.0, 2.0, 0.7, 4.0, 0.3, 0.3, 0.3, 0.3)


class ResourceMlp(nn.Module):
    """Rows are normalised with stored statistics, encoded alone, and pooled by mean and maximum.

    The order of rows does not matter; a tool without rows has a learned vector of its own.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: ResourceMlpConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN))
        self.register_buffer("scale", torch.tensor(_SCALE))
        self.row = nn.Sequential(nn.Linear(PROFILE_INPUTS, config.hidden), nn.GELU())
        self.out = nn.Linear(2 * config.hidden, config.d_resource)
        self.unknown = nn.Parameter(torch.zeros(config.d_resource))

    def set_statistics(self, rows: Tensor) -> None:
        """Take mean and spread of training rows, shape (n, PROFILE_INPUTS)."""
        self.mean.copy_(rows.mean(dim=0))
        self.scale.copy_(rows.std(dim=0).clamp_min(1e-3))

    def forward(self, profile: Tensor, mask: Tensor) -> Tensor:
        """Encode profiles.

        :param profile: (B, K, P, PROFILE_INPUTS).
        :param mask: (B, K, P).
        :return: (B, K, d_resource).
        """
        known = mask.any(dim=-1, keepdim=True)
        if mask.shape[-1] == 0:
            return self.unknown.expand(*mask.shape[:2], -1)
        rows = self.row(((profile - self.mean) / self.scale).clamp(-8.0, 8.0)) * mask[..., None]
        mean = rows.sum(dim=2) / mask.sum(dim=-1, keepdim=True).clamp_min(1)
        largest = rows.masked_fill(~mask[..., None], -1e4).amax(dim=2) * known
        vectors = self.out(torch.cat([mean, largest], dim=-1))
        return torch.where(known, vectors, self.unknown)
