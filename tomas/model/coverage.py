"""How much of the task is spoken for: by the steps chosen so far, and by each candidate besides.

A plan is whole when little of what the task says is left over, however it is said: that carries over to phrasings
and tools that training never showed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Coverage"]


@dataclass(frozen=True)
class Coverage:
    """Tokens of the task against candidates.

    :ivar tokens: how well each candidate answers each token, 0 to 1, (B, K, T).
    :ivar weights: how telling each token is, (B, T); they add up to 1, or are all 0 where nothing is matched.
    """

    tokens: Tensor
    weights: Tensor

    def before_each(self, tools: Tensor, mask: Tensor) -> Tensor:
        """What is covered before each step and after the last, (B, S + 1, T).

        :param tools: indices of the steps' candidates, (B, S).
        :param mask: which steps there are, (B, S).
        """
        size, _, length = self.tokens.shape
        none = self.tokens.new_zeros(size, 1, length)
        if not tools.shape[1]:
            return none
        chosen = self.tokens.gather(1, tools[..., None].expand(-1, -1, length)) * mask[..., None]
        return torch.cat([none, chosen.cummax(dim=1).values], dim=1)

    def after(self, chosen: Sequence[Sequence[int]]) -> Tensor:
        """What candidates cover together, of a single request: (1, n, T), a row per set of candidates."""
        none = self.tokens.new_zeros(self.tokens.shape[-1])
        rows = [self.tokens[0, list(steps)].amax(dim=0) if steps else none for steps in chosen]
        return torch.stack(rows)[None]

    def left(self, covered: Tensor) -> Tensor:
        """The telling part of the task that is not covered, 0 to 1: (B, Q, T) to (B, Q)."""
        return ((1.0 - covered) * self.weights[:, None]).sum(-1)

    def gains(self, covered: Tensor) -> Tensor:
        """What each candidate would cover besides: (B, Q, T) to (B, Q, K)."""
        more = (self.tokens[:, None] - covered[:, :, None]).clamp_min(0.0)
        return torch.einsum("bqkt,bt->bqk", more, self.weights)
