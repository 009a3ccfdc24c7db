"""The heads: token-type gate, and pointers at tools, edges, sources of inputs, and values of arguments."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tomas.model.config import HeadsConfig
from tomas.model.plan_tensors import EDGE_FEATURES

__all__ = ["ArgumentPointer", "BindingPointer", "EdgePointer", "Gate", "ToolPointer"]

HIDDEN = -1e4
"""Logit of what may not be chosen."""
_GATE_FEATURES = 6


class Gate(nn.Module):
    """Text, step, end or refuse at each position of the plan.

    It sees the hidden state, how well the tools that are left would do, and how much of the task is left over.
    """

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(hidden + _GATE_FEATURES, hidden // 2),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden // 2, 4),
        )
        self.precedent = nn.Parameter(torch.tensor(2.0))

    def forward(
        self,
        states: Tensor,
        pointer: Tensor,
        scores: Tensor,
        selectable: Tensor,
        precedent: Tensor,
        gains: Tensor,
        over: Tensor,
    ) -> Tensor:
        """Logits of the four kinds.

        :param states: (B, Q, hidden).
        :param pointer: logits of the tools, (B, Q, K); not taught through the gate.
        :param scores: retrieval scores, (B, K).
        :param selectable: (B, Q, K).
        :param precedent: log-odds of the end by the precedents, (B, Q).
        :param gains: what each candidate would cover of the task besides, (B, Q, K).
        :param over: what of it is not covered, (B, Q).
        :return: (B, Q, 4) in the order of :mod:`tomas.model.batch`.
        """
        pointer = pointer.detach()
        top = pointer.amax(dim=-1)
        share = pointer.softmax(dim=-1).amax(dim=-1)
        best = scores[:, None].masked_fill(~selectable, -30.0).amax(dim=-1)
        left = selectable.any(dim=-1).float()
        gain = gains.masked_fill(~selectable, 0.0).amax(dim=-1)
        known = [top.clamp(-20, 20) / 5.0, share, best / 5.0, left, 4.0 * gain, 2.0 * over]
        features = torch.stack(known, dim=-1)
        logits: Tensor = self.layers(torch.cat([states, features], dim=-1))
        lean = self.precedent * precedent[..., None] * logits.new_tensor([0.0, -0.5, 0.5, 0.0])
        return logits + lean


class ToolPointer(nn.Module):
    """Tool classifier over any candidates: learned score, retrieval, precedents, matching of words."""

    def __init__(self, hidden: int, d_set: int, config: HeadsConfig, dropout: float) -> None:
        super().__init__()
        width = config.d_pointer
        self.query = nn.Linear(hidden, width)
        self.key = nn.Linear(hidden + d_set, width)
        self.alone = nn.Sequential(
            nn.Linear(hidden + d_set, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 1)
        )
        self.retrieval = nn.Parameter(torch.tensor(1.0))
        self.matching = nn.Parameter(torch.tensor([2.0, 2.0]))
        self.gain = nn.Parameter(torch.tensor(4.0))
        self.precedent = nn.Parameter(torch.tensor(2.0))
        self.scale = 1.0 / math.sqrt(width)

    def forward(
        self,
        states: Tensor,
        contextual: Tensor,
        tools: Tensor,
        scores: Tensor,
        matching: Tensor,
        selectable: Tensor,
        precedent: Tensor,
        gains: Tensor,
    ) -> Tensor:
        """Logits of every candidate at each position.

        :param states: (B, Q, hidden).
        :param contextual: last hidden states of the candidates, (B, K, hidden).
        :param tools: (B, K, d_set).
        :param scores: retrieval, (B, K).
        :param matching: (B, K, 2).
        :param selectable: (B, Q, K).
        :param precedent: of the candidates by the precedents, (B, Q, K).
        :param gains: what each would cover of the task besides the chosen ones, (B, Q, K).
        :return: (B, Q, K); :data:`HIDDEN` where not selectable.
        """
        joined = torch.cat([contextual, tools], dim=-1)
        logits = torch.einsum("bqd,bkd->bqk", self.query(states), self.key(joined)) * self.scale
        standing = self.alone(joined)[..., 0] + self.retrieval * scores + matching @ self.matching
        total: Tensor = logits + standing[:, None] + self.precedent * precedent + self.gain * gains
        return total.masked_fill(~selectable, HIDDEN)


class EdgePointer(nn.Module):
    """Whether a step waits for each earlier one."""

    def __init__(self, hidden: int, config: HeadsConfig, dropout: float) -> None:
        super().__init__()
        width = config.d_edge
        self.query = nn.Linear(hidden, width)
        self.key = nn.Linear(hidden, width)
        self.mix = nn.Sequential(
            nn.Linear(2 * width + EDGE_FEATURES, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 1)
        )

    def forward(self, states: Tensor, features: Tensor) -> Tensor:
        """Logits of edges.

        :param states: of the steps, (B, S, hidden).
        :param features: (B, S, S, EDGE_FEATURES).
        :return: (B, S, S): of the row's step waiting for the column's; :data:`HIDDEN` on and above the diagonal.
        """
        count = states.shape[1]
        rows, columns = self.query(states), self.key(states)
        pair = (rows[:, :, None] * columns[:, None], (rows[:, :, None] - columns[:, None]).abs(), features)
        logits: Tensor = self.mix(torch.cat(pair, dim=-1))[..., 0]
        earlier = torch.ones(count, count, dtype=torch.bool, device=states.device).tril(-1)
        return logits.masked_fill(~earlier, HIDDEN)


class BindingPointer(nn.Module):
    """Which of the type-compatible sources an input port takes; several may feed one port."""

    def __init__(self, hidden: int, d_text: int, config: HeadsConfig) -> None:
        super().__init__()
        width = config.d_binding
        self.port = nn.Linear(hidden + d_text, width)
        self.source = nn.Linear(hidden + d_text, width)
        self.mix = nn.Sequential(nn.Linear(width + 3, width), nn.GELU(), nn.Linear(width, 1))

    def forward(
        self,
        steps: Tensor,
        ports: Tensor,
        sources: Tensor,
        texts: Tensor,
        edges: Tensor,
        given: Tensor,
        fits: Tensor,
    ) -> Tensor:
        """Logits of sources.

        :param steps: states of the steps, (B, S, hidden).
        :param ports: texts of the ports, (B, S, Q, d_text).
        :param sources: state of the request's input or of the step that each source is of, (B, N, hidden).
        :param texts: of the sources, (B, N, d_text).
        :param edges: logit of the edge from each source's step, (B, S, N); whatever for the request.
        :param given: whether the source is the request, (B, N).
        :param fits: (B, S, Q, N).
        :return: (B, S, Q, N); :data:`HIDDEN` where the type does not fit.
        """
        count = ports.shape[2]
        wanted = self.port(torch.cat([steps[:, :, None].expand(-1, -1, count, -1), ports], dim=-1))
        offered = self.source(torch.cat([sources, texts], dim=-1))
        pairs = wanted[:, :, :, None] * offered[:, None, None]
        edge = edges.masked_fill(given[:, None], 0.0).clamp(-10.0, 10.0) / 5.0
        edge = edge[:, :, None, :, None].expand(*pairs.shape[:-1], 1)
        asked = given[:, None, None, :, None].expand_as(edge).float()
        only = (fits & (fits.sum(-1, keepdim=True) == 1))[..., None].float()
        logits: Tensor = self.mix(torch.cat([pairs, edge, asked, only], dim=-1))[..., 0]
        return logits.masked_fill(~fits, HIDDEN)


class ArgumentPointer(nn.Module):
    """Which of its candidate values an argument takes; the first one leaves it alone."""

    def __init__(self, hidden: int, d_text: int, config: HeadsConfig) -> None:
        super().__init__()
        width = config.d_argument
        self.query = nn.Linear(hidden + d_text, width)
        self.key = nn.Linear(hidden + d_text + 2, width)
        self.mix = nn.Sequential(nn.Linear(2 * width + 2, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, steps: Tensor, arguments: Tensor, values: Tensor, spans: Tensor, mask: Tensor) -> Tensor:
        """Logits of values.

        :param steps: (B, S, hidden).
        :param arguments: texts, (B, S, A, d_text).
        :param values: texts, (B, S, A, V, d_text).
        :param spans: mean state of the task's tokens that say the value, 0 where none does; (B, S, A, V, hidden).
        :param mask: (B, S, A, V).
        :return: (B, S, A, V).
        """
        count, most = arguments.shape[2], values.shape[3]
        query = self.query(torch.cat([steps[:, :, None].expand(-1, -1, count, -1), arguments], dim=-1))
        said = spans.abs().sum(-1, keepdim=True).gt(0).float()
        alone = torch.zeros_like(said)
        alone[..., :1, :] = 1.0
        flags = torch.cat([said, alone], dim=-1)
        key = self.key(torch.cat([spans, values, flags], dim=-1))
        wide = query[:, :, :, None].expand(-1, -1, -1, most, -1)
        logits: Tensor = self.mix(torch.cat([wide * key, key, flags], dim=-1))[..., 0]
        return logits.masked_fill(~mask, HIDDEN)
