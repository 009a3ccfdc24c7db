"""Bundles of tensors that travel to a device together."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

__all__ = ["TensorBatch"]


@dataclass(frozen=True)
class TensorBatch:
    """Base of the dataclasses whose fields are tensors, or bundles of them."""

    def to(self, device: torch.device | str) -> Self:
        """The same values on ``device``."""
        moved = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Tensor | TensorBatch):
                moved[item.name] = value.to(device)
        return replace(self, **moved)
