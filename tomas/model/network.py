"""The planner's network: left panel, backbone, heads; one pass for training, pieces of it for decoding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from tomas.model.allocation import AllocationHead
from tomas.model.backbone import build_backbone
from tomas.model.batch import IGNORE, Batch
from tomas.model.config import NeuralConfig
from tomas.model.heads import ArgumentPointer, BindingPointer, EdgePointer, Gate, ToolPointer
from tomas.model.latency import LatencyPrediction
from tomas.model.layout import layout_of, positions_of, visible
from tomas.model.loss import losses
from tomas.model.mode_tensors import ModeTensors
from tomas.model.panels import LeftPanel, Panels
from tomas.model.plan_tensors import PlanTensors
from tomas.model.projectors import token_scale
from tomas.model.prompt import Prompt

__all__ = ["Outputs", "PlannerNetwork", "StepOutputs"]


@dataclass(frozen=True)
class StepOutputs:
    """What the pointers say of chosen steps, all at once; shapes as in PlanTensors."""

    edges: Tensor
    bindings: Tensor
    arguments: Tensor


@dataclass(frozen=True)
class Outputs:
    """What one pass under teacher forcing says.

    :ivar gate: (B, S + 2, 4); the last column is after the end.
    :ivar tools: (B, S + 1, K).
    :ivar modes: (B, S, M), and ``corrections`` (B, S, M, 4).
    :ivar text: (n, vocabulary), of the n tokens of all explanations, row by row; the first token of each is told
        from END, the others from the token before.
    """

    gate: Tensor
    tools: Tensor
    steps: StepOutputs
    modes: Tensor
    corrections: Tensor
    text: Tensor


class PlannerNetwork(nn.Module):
    """Three panels around a decoder.

    Built from its configuration alone: ``tiny`` starts at random values, another backbone is loaded from its files.
    """

    def __init__(self, config: NeuralConfig, *, weights: bool = True) -> None:
        """:param weights: false leaves the backbone at random values, for a checkpoint or the meta device.

        :raises ModelUnavailable: the files of a pretrained backbone are not there.
        """
        super().__init__()
        self.config = config
        model = config.model
        self.backbone = build_backbone(model.backbone, weights=weights)
        hidden = self.backbone.hidden_size
        scale = token_scale(self.backbone.embedding.weight)
        self.left = LeftPanel(config, hidden, scale)
        self.latency = LatencyPrediction(model.latency)
        self.start = nn.Parameter(torch.randn(hidden) * scale)
        self.end = nn.Parameter(torch.randn(hidden) * scale)
        self.step = nn.Parameter(torch.randn(hidden) * scale)
        self.request = nn.Linear(3, hidden)
        nn.init.zeros_(self.request.weight)
        nn.init.zeros_(self.request.bias)
        self.drop = nn.Dropout(model.dropout)
        d_text = model.tool_encoder.d_tool
        self.gate = Gate(hidden, model.dropout)
        self.pointer = ToolPointer(hidden, model.tool_set.d_set, model.heads, model.dropout)
        self.edge = EdgePointer(hidden, model.heads, model.dropout)
        self.binding = BindingPointer(hidden, d_text, model.heads)
        self.argument = ArgumentPointer(hidden, d_text, model.heads)
        self.allocation = AllocationHead(hidden, model.temporal.d_temporal, model.allocation, model.dropout)
        self.register_buffer("temperature", torch.ones(()))
        self.apply_strategy()

    temperature: Tensor
    """Divides the tools' logits where a probability is asked for; fitted on held-out examples."""

    def apply_strategy(self) -> None:
        """Say by ``config.training`` which parameters are trained; adapters are put in once."""
        training = self.config.training
        self.backbone.requires_grad_(training.strategy == "full_finetune")
        if training.strategy == "lora":
            self.backbone.adapt(training.lora)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.start.device

    def panels(self, prompt: Prompt, long_tokens: Tensor, short_tokens: Tensor) -> Panels:
        """The left panel's account of a batch."""
        found: Panels = self.left(prompt, long_tokens, short_tokens, self.backbone.embedding)
        return found

    def start_embeds(self, prompt: Prompt) -> Tensor:
        """PLAN, which carries priority and deadline: (B, 1, hidden)."""
        start: Tensor = self.start + self.request(prompt.request)
        return start[:, None]

    def step_embeds(self, panels: Panels, tools: Tensor) -> Tensor:
        """Chosen steps fed back: (B, S) indices of candidates to (B, S, hidden)."""
        index = tools[..., None].expand(-1, -1, panels.tool_embeds.shape[-1])
        chosen = panels.tool_embeds.gather(1, index)
        if not self.config.model.panels.feedback:
            chosen = torch.zeros_like(chosen)
        return self.step + chosen

    def end_embeds(self, size: int) -> Tensor:
        """END: (B, 1, hidden)."""
        return self.end.expand(size, 1, -1)

    def tool_logits(
        self,
        states: Tensor,
        contextual: Tensor,
        panels: Panels,
        selectable: Tensor,
        precedent: Tensor,
        covered: Tensor,
    ) -> Tensor:
        """Logits of the candidates at positions of the plan, (B, Q, K).

        :param precedent: (B, Q, K + 1), as in PlanTensors.
        :param covered: what the steps so far cover of the task, (B, Q, T).
        """
        known = self._of_precedents(precedent)[..., :-1]
        logits: Tensor = self.pointer(
            states,
            contextual,
            panels.tools,
            panels.scores,
            panels.matching,
            selectable,
            known,
            panels.coverage.gains(covered),
        )
        return logits

    def gate_logits(
        self,
        states: Tensor,
        pointer: Tensor,
        panels: Panels,
        selectable: Tensor,
        precedent: Tensor,
        covered: Tensor,
    ) -> Tensor:
        """Logits of text, step, end, refuse at positions of the plan, (B, Q, 4).

        :param precedent: (B, Q, K + 1), as in PlanTensors.
        :param covered: what the steps so far cover of the task, (B, Q, T).
        """
        known = self._of_precedents(precedent)[..., -1]
        gains, over = panels.coverage.gains(covered), panels.coverage.left(covered)
        logits: Tensor = self.gate(states, pointer, panels.scores, selectable, known, gains, over)
        return logits

    def _of_precedents(self, precedent: Tensor) -> Tensor:
        return precedent if self.config.model.panels.retrieval else torch.zeros_like(precedent)

    def step_outputs(
        self,
        states: Tensor,
        request: Tensor,
        task: Tensor,
        panels: Panels,
        plan: PlanTensors,
    ) -> StepOutputs:
        """Edges, bindings and arguments of chosen steps.

        :param states: at the steps, (B, S, hidden).
        :param request: at the inputs and outputs of the request, (B, R, hidden).
        :param task: at the tokens of the task, (B, T, hidden).
        """
        edges = self.edge(states, plan.edge_features)
        bindings = self._bindings(states, request, panels, plan, edges)
        spans = _span_means(task, plan.value_span)
        arguments = self.argument(
            states, panels.short[plan.argument_text], panels.short[plan.value_text], spans, plan.value_mask
        )
        return StepOutputs(edges, bindings, arguments)

    def allocate(self, states: Tensor, mask: Tensor, modes: ModeTensors, panels: Panels) -> tuple[Tensor, Tensor]:
        """Logits of modes (B, S, M) and corrections (B, S, M, 4) of chosen steps, their graph known."""
        logits, corrections = self.allocation(states, mask, modes, panels.classes)
        return logits, corrections

    def _bindings(
        self, states: Tensor, request: Tensor, panels: Panels, plan: PlanTensors, edges: Tensor
    ) -> Tensor:
        given = plan.source_step < 0
        width = states.shape[-1]
        of_step = _gather(states, plan.source_step.clamp_min(0), width)
        of_request = _gather(request, plan.source_io, width)
        sources = torch.where(given[..., None], of_request, of_step)
        index = plan.source_step.clamp_min(0)[:, None].expand(-1, states.shape[1], -1)
        from_steps = edges.gather(2, index) if states.shape[1] else edges.new_zeros(index.shape)
        logits: Tensor = self.binding(
            states,
            panels.short[plan.port_text],
            sources,
            panels.short[plan.source_text],
            from_steps,
            given,
            plan.fits,
        )
        return logits

    def forward(self, batch: Batch) -> Outputs:
        """One pass over prompts, the right steps and the right explanation."""
        prompt, plan, targets = batch.prompt, batch.plan, batch.targets
        panels = self.panels(prompt, batch.long_tokens, batch.short_tokens)
        size, steps = plan.tool.shape
        words = targets.text.shape[1]
        layout = layout_of(prompt, steps + 2, max(0, words - 1))
        counts = plan.mask.sum(dim=1)
        parts = [
            panels.prompt,
            self.start_embeds(prompt),
            self.step_embeds(panels, plan.tool),
            self.end_embeds(size),
        ]
        written = None
        if words > 1:
            parts.append(self.backbone.embedding(targets.text[:, :-1].clamp_min(0)).float())
            written = targets.text[:, :-1] >= 0
        embeds = self.drop(torch.cat(parts, dim=1))
        states = self.backbone(
            embeds, visible(prompt, layout, counts, written), positions_of(prompt, layout, counts)
        )
        planned = states[:, layout.slice("plan")]
        contextual = states[:, layout.slice("tools")]
        choosing = planned[:, : steps + 1]
        covered = panels.coverage.before_each(plan.tool, plan.mask)
        tools = self.tool_logits(choosing, contextual, panels, plan.selectable, plan.precedent, covered)
        gate = self.gate_logits(choosing, tools, panels, plan.selectable, plan.precedent, covered)
        none = torch.zeros_like(plan.precedent[:, -1:])
        last = self.gate_logits(
            planned[:, -1:], tools[:, -1:], panels, plan.selectable[:, -1:], none, covered[:, -1:]
        )
        chosen = planned[:, 1 : steps + 1]
        outputs = self.step_outputs(
            chosen,
            states[:, layout.slice("request")],
            states[:, layout.slice("task")],
            panels,
            plan,
        )
        modes, corrections = self.allocate(chosen, plan.mask, batch.modes, panels)
        text = states.new_zeros(0, self.backbone.vocab_size)
        if words:
            # The vocabulary is the widest layer of all: padding is left out.
            text = self.backbone.logits(states[:, layout.prompt + steps + 1 :][targets.text != IGNORE])
        return Outputs(torch.cat([gate, last], dim=1), tools, outputs, modes, corrections, text)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The mean loss of each segment present in the batch, and ``total``, their weighted sum."""
        return losses(self(batch), batch, self.config.training.loss)

    def decode_states(self, embeds: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
        """Run further positions on a cache, as in :meth:`tomas.model.backbone.Backbone.forward`."""
        states: Tensor = self.backbone(embeds, mask, positions, cache)
        return states


def _gather(states: Tensor, index: Tensor, width: int) -> Tensor:
    if not states.shape[1]:
        return states.new_zeros(*index.shape, width)
    return states.gather(1, index[..., None].expand(-1, -1, width))


def _span_means(states: Tensor, spans: Tensor) -> Tensor:
    """Means of states over spans (first, last + 1): (B, T, h) and (B, …, 2) to (B, …, h); 0 for empty spans."""
    sums = torch.cat([states.new_zeros(len(states), 1, states.shape[-1]), states.cumsum(dim=1)], dim=1)
    flat = spans.flatten(1, -2)
    width = states.shape[-1]
    first, last = (flat[..., side, None].expand(-1, -1, width) for side in (0, 1))
    lengths = (flat[..., 1] - flat[..., 0]).clamp_min(1)[..., None]
    means: Tensor = (sums.gather(1, last) - sums.gather(1, first)) / lengths
    return means.view(*spans.shape[:-1], width)
