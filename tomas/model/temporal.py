"""Temporal encoder: one 1D-CNN, shared by all worker classes, over what they will have free."""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from tomas.model.config import TemporalConfig
from tomas.model.prompt import CLASS_FEATURES

__all__ = ["TemporalEncoder"]


class TemporalEncoder(nn.Module):
    """Curves of four resources to one vector per class; any number of classes and cells.

    Convolutions of several widths run beside each other; the mean of each segment of the horizon is kept, so that
    the vector tells when capacity is free and not only how much.
    """

    def __init__(self, config: TemporalConfig) -> None:
        super().__init__()
        self.segments = config.segments
        # One channel more says where in the horizon a cell lies.
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.channels + 1, config.filters, kernel, padding=kernel // 2) for kernel in config.kernels
        )
        pooled = config.filters * len(config.kernels) * config.segments
        self.width = config.d_temporal
        self.out = nn.Sequential(
            nn.Linear(pooled + CLASS_FEATURES, config.d_temporal), nn.GELU(), nn.LayerNorm(config.d_temporal)
        )

    def forward(self, curves: Tensor, classes: Tensor) -> Tensor:
        """Encode.

        :param curves: free shares, (B, C, 4, cells).
        :param classes: (B, C, CLASS_FEATURES).
        :return: (B, C, d_temporal).
        """
        groups = curves.shape[:2]
        flat = curves.flatten(0, 1)
        if not len(flat):
            return curves.new_zeros(*groups, self.width)
        place = torch.linspace(0.0, 1.0, curves.shape[-1], device=curves.device).expand(len(flat), 1, -1)
        x = torch.cat([flat, place], dim=1)
        seen = torch.cat([nnf.gelu(convolution(x)) for convolution in self.convolutions], dim=1)
        parts = nnf.adaptive_avg_pool1d(seen, self.segments).flatten(1)
        vectors: Tensor = self.out(torch.cat([parts, classes.flatten(0, 1)], dim=-1))
        return vectors.view(*groups, -1)
