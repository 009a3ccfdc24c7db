"""The left panel: what the backbone reads besides the task's own tokens, as embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from tomas.model.config import NeuralConfig
from tomas.model.coverage import Coverage
from tomas.model.projectors import Projector
from tomas.model.prompt import Prompt
from tomas.model.resource_mlp import ResourceMlp
from tomas.model.temporal import TemporalEncoder
from tomas.model.text_cache import EncodedTexts, TextCache
from tomas.model.tool_encoder import TextEncoder, TokenMatching
from tomas.model.tool_set import ToolSet

__all__ = ["LeftPanel", "Panels"]

_SCORE_FEATURES = 5
_BUCKETS = 6


@dataclass(frozen=True)
class Panels:
    """What the left panel makes of a batch.

    :ivar tools: fused vectors, (B, K, d_set).
    :ivar tool_embeds: prefix embeddings, (B, K, hidden).
    :ivar matching: (B, K, 2).
    :ivar coverage: of the task's tokens by the candidates; nothing is covered where the panel is off.
    :ivar scores: retrieval, (B, K); zeros where the panel is off.
    :ivar classes: temporal vectors, (B, C, d_temporal).
    :ivar short: vectors of the short texts, (U, d_tool).
    :ivar prompt: embeddings of everything before PLAN, (B, N, hidden).
    """

    tools: Tensor
    tool_embeds: Tensor
    matching: Tensor
    coverage: Coverage
    scores: Tensor
    classes: Tensor
    short: Tensor
    prompt: Tensor


class LeftPanel(nn.Module):
    """Tool encoder, resource MLP, self-attention over the set, temporal encoder, projectors."""

    def __init__(self, config: NeuralConfig, hidden: int, scale: float) -> None:
        super().__init__()
        model = config.model
        self.switches = model.panels
        d_tool = model.tool_encoder.d_tool
        self.text = TextEncoder(hidden, model.tool_encoder)
        self.ports = nn.Linear(d_tool, d_tool, bias=False)
        self.matching = TokenMatching(hidden, model.tool_encoder) if model.tool_encoder.d_match else None
        self.resources = ResourceMlp(model.resource_mlp)
        self.fuse = ToolSet(d_tool, model.resource_mlp.d_resource, model.tool_set, model.dropout)
        self.temporal = TemporalEncoder(model.temporal)
        inner = min(hidden, 2 * model.tool_set.d_set)
        self.word_dropout = model.word_dropout
        self.to_tool = Projector(model.tool_set.d_set + _SCORE_FEATURES, hidden, scale, inner)
        self.to_class = Projector(model.temporal.d_temporal, hidden, scale, min(inner, hidden))
        self.to_request = Projector(d_tool + 3, hidden, scale, min(inner, hidden))
        self._texts = TextCache()
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> Self:
        """As in torch; what was encoded with the present weights is forgotten."""
        self.forget()
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.forget()
        return super()._apply(fn, recurse)  # type: ignore[no-any-return,no-untyped-call]

    def forget(self) -> None:
        """Encode all texts anew from now on, as weights may have changed."""
        self._texts.clear()

    def encode(self, tokens: Tensor, embedding: nn.Embedding, *, thinned: bool = False) -> EncodedTexts:
        """Texts to vectors; in evaluation, texts of earlier requests are remembered.

        :param tokens: ids, (U, L), padded with -1.
        :param thinned: whether words are left out in training.
        """

        def fresh(ids: Tensor) -> EncodedTexts:
            mask = ids >= 0
            if thinned:
                mask = mask & self._kept(ids)
            embedded = embedding(ids.clamp_min(0)).float()
            vectors = self.text(embedded, mask)
            if self.matching is None or not self.switches.matching:
                return EncodedTexts(vectors, vectors.new_zeros(*ids.shape, 0), mask.float())
            return EncodedTexts(vectors, *self.matching.tokens(embedded, mask))

        if self.training or torch.is_grad_enabled():
            return _by_length(tokens, fresh)
        return self._texts.encode(tokens, fresh)

    def forward(self, prompt: Prompt, long_tokens: Tensor, short_tokens: Tensor, embedding: nn.Embedding) -> Panels:
        """Encode a batch.

        :param long_tokens: ids of the tools' texts, (U, L), padded with -1.
        :param short_tokens: ids of the short texts, likewise.
        :param embedding: the backbone's token embedding.
        """
        long = self.encode(long_tokens, embedding, thinned=True)
        short = self.encode(short_tokens, embedding).vectors
        words_kept = prompt.task_mask & self._kept(prompt.task)
        task = embedding(prompt.task) * words_kept[..., None]
        tools = long.vectors[prompt.tool_text] + self.ports(short[prompt.tool_ports])
        resources = self.resources(prompt.profile, prompt.profile_mask)
        if not self.switches.profiles:
            resources = self.resources.unknown.expand_as(resources)
        fused = self.fuse(tools, resources, prompt.tool_mask, attend=self.switches.set_attention)
        scores = prompt.retrieval if self.switches.retrieval else torch.zeros_like(prompt.retrieval)
        matching = scores.new_zeros(*scores.shape, 2)
        words = scores.new_zeros(prompt.task.shape)
        coverage = Coverage(words[:, None].expand(-1, scores.shape[1], -1), words)
        if self.matching is not None and self.switches.matching:
            matching, coverage = self.matching(
                (long.tokens, long.weights),
                prompt.tool_text,
                self.matching.tokens(task.float(), words_kept),
            )
        tool_embeds = self.to_tool(torch.cat([fused, _score_features(scores, matching, prompt.tool_mask)], dim=-1))
        curves = prompt.curves if self.switches.timeline else torch.ones_like(prompt.curves)
        classes = self.temporal(curves, prompt.classes)
        request = self.to_request(torch.cat([short[prompt.io_text], prompt.io_features], dim=-1))
        parts = [self.to_class(classes), request, task.float(), tool_embeds]
        prompted = torch.cat(parts, dim=1)
        return Panels(fused, tool_embeds, matching, coverage, scores, classes, short, prompted)

    def _kept(self, ids: Tensor) -> Tensor:
        """Tokens that are not left out this time; outside of training, all."""
        if not self.training or not self.word_dropout:
            return torch.ones_like(ids, dtype=torch.bool)
        return torch.rand(ids.shape, device=ids.device) >= self.word_dropout


def _forget(panel: LeftPanel, _: object) -> None:
    """Weights were read: texts encoded with those before are of no use."""
    panel.forget()


def _by_length(tokens: Tensor, encode: Callable[[Tensor], EncodedTexts]) -> EncodedTexts:
    """Texts of like length together, as most are far shorter than the longest.

    :param tokens: ids, (U, L), padded with -1.
    """
    lengths = (tokens >= 0).sum(dim=1).clamp_min(1)
    order = lengths.argsort(stable=True)
    width = tokens.shape[1]
    parts = []
    for rows in order.chunk(_BUCKETS):
        part = encode(tokens[rows, : int(lengths[rows].max())])
        space = width - part.weights.shape[1]
        parts.append((part.vectors, nnf.pad(part.tokens, (0, 0, 0, space)), nnf.pad(part.weights, (0, space))))
    back = order.argsort()
    vectors, of_tokens, weights = (torch.cat(column)[back] for column in zip(*parts, strict=True))
    return EncodedTexts(vectors, of_tokens, weights)


def _score_features(scores: Tensor, matching: Tensor, mask: Tensor) -> Tensor:
    """What the scores say of each candidate among the others, (B, K, 5)."""
    visible = scores.masked_fill(~mask, -1e4)
    share = visible.softmax(dim=-1)
    behind = (scores - visible.amax(dim=-1, keepdim=True)).clamp_min(-10.0)
    return torch.cat([torch.stack([scores / 5.0, share, behind / 5.0], dim=-1), matching], dim=-1)
