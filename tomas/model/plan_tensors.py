"""What the heads read about chosen steps, as padded tensors: types, sources, values, modes, the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomas.model.choosable import Choosable
from tomas.model.example import PlanningInput, PortCard, Source, ToolCard
from tomas.model.precedents import precedent_scores
from tomas.model.spans import Value, argument_values
from tomas.model.task_text import TaskTokens
from tomas.model.tensors import TensorBatch
from tomas.model.texts import TextTable
from tomas.schema import media_type_matches

__all__ = ["EDGE_FEATURES", "PlanTensors", "Steps", "build_plan_tensors", "sources_of", "values_of"]

EDGE_FEATURES = 5
"""Types fit; both are typed; is the step right before; ln(distance); the output is the only one that fits."""


@dataclass(frozen=True)
class Steps:
    """Chosen steps of one request, by their tools' indices among the candidates."""

    tools: tuple[int, ...]


@dataclass(frozen=True)
class PlanTensors(TensorBatch):
    """Tensors of B plans of at most S steps.

    Shapes: Q input ports a step, N sources of a plan, A arguments a step, V values of an argument.
    """

    tool: Tensor
    """(B, S) index among the candidates."""
    mask: Tensor
    """(B, S)."""
    selectable: Tensor
    """(B, S + 1, K): tools that may be chosen before each step, and after the last."""
    precedent: Tensor
    """(B, S + 1, K + 1): what precedents say comes next, see :func:`~tomas.model.precedents.precedent_scores`."""
    edge_features: Tensor
    """(B, S, S, EDGE_FEATURES): of the step (row) and one before it (column)."""
    port_text: Tensor
    """(B, S, Q)."""
    port_mask: Tensor
    source_text: Tensor
    """(B, N)."""
    source_step: Tensor
    """(B, N): the step whose output it is; -1: the request."""
    source_io: Tensor
    """(B, N): the request's input; 0 for outputs of steps."""
    fits: Tensor
    """(B, S, Q, N): of a compatible type, and there before the step."""
    argument_text: Tensor
    """(B, S, A)."""
    argument_mask: Tensor
    value_text: Tensor
    """(B, S, A, V)."""
    value_span: Tensor
    """(B, S, A, V, 2): tokens of the task, first and last + 1; equal: none."""
    value_mask: Tensor


def sources_of(given: PlanningInput, steps: Steps) -> list[tuple[Source, str, str]]:
    """All that an input port may be bound to: (source, name, media type); the request first, then step by step."""
    found = [(Source(-1, i), name, media) for i, (name, media, _) in enumerate(given.inputs)]
    for s, tool in enumerate(steps.tools):
        found += [(Source(s, o), p.name, p.media_type) for o, p in enumerate(given.candidates[tool].outputs)]
    return found


def values_of(card: ToolCard, task: str, limit: int) -> list[list[Value]]:
    """Candidate values of every argument of a tool."""
    return [argument_values(argument, task, limit) for argument in card.arguments]


def build_plan_tensors(
    inputs: Sequence[PlanningInput],
    plans: Sequence[Steps],
    tasks: Sequence[TaskTokens],
    short: TextTable,
    *,
    max_values: int,
    repeats: bool = False,
) -> PlanTensors:
    """Pad plans to common lengths.

    :param repeats: whether a tool may be chosen more than once.
    """
    size = len(inputs)
    steps = max(len(plan.tools) for plan in plans)
    tools = max(len(given.candidates) for given in inputs)
    cards = [[given.candidates[k] for k in plan.tools] for given, plan in zip(inputs, plans, strict=True)]
    every = [card for row in cards for card in row]
    ports = max((len(card.inputs) for card in every), default=0)
    arguments = max((len(card.arguments) for card in every), default=0)
    values = [[values_of(card, g.task, max_values) for card in row] for g, row in zip(inputs, cards, strict=True)]
    longest = max((len(v) for row in values for step in row for v in step), default=0)
    sources = [sources_of(given, plan) for given, plan in zip(inputs, plans, strict=True)]
    many = max(len(row) for row in sources)
    a: dict[str, NDArray[np.generic]] = {
        "tool": np.zeros((size, steps), np.int64),
        "mask": np.zeros((size, steps), np.bool_),
        "selectable": np.zeros((size, steps + 1, tools), np.bool_),
        "precedent": np.zeros((size, steps + 1, tools + 1), np.float32),
        "edge_features": np.zeros((size, steps, steps, EDGE_FEATURES), np.float32),
        "port_text": np.zeros((size, steps, ports), np.int64),
        "port_mask": np.zeros((size, steps, ports), np.bool_),
        "source_text": np.zeros((size, many), np.int64),
        "source_step": np.full((size, many), -1, np.int64),
        "source_io": np.zeros((size, many), np.int64),
        "fits": np.zeros((size, steps, ports, many), np.bool_),
        "argument_text": np.zeros((size, steps, arguments), np.int64),
        "argument_mask": np.zeros((size, steps, arguments), np.bool_),
        "value_text": np.zeros((size, steps, arguments, longest), np.int64),
        "value_span": np.zeros((size, steps, arguments, longest, 2), np.int64),
        "value_mask": np.zeros((size, steps, arguments, longest), np.bool_),
    }
    for b, (given, plan) in enumerate(zip(inputs, plans, strict=True)):
        count = len(plan.tools)
        a["tool"][b, :count] = plan.tools
        a["mask"][b, :count] = True
        a["selectable"][b] = _selectable(given, plan, steps, tools, repeats=repeats)
        for s in range(count + 1 if given.precedents else 0):
            scores = precedent_scores(given.precedents, plan.tools[:s], len(given.candidates))
            a["precedent"][b, s, : len(given.candidates)] = scores[:-1]
            a["precedent"][b, s, -1] = scores[-1]
        a["edge_features"][b, :count, :count] = _edge_features(cards[b])
        for n, (source, name, media) in enumerate(sources[b]):
            a["source_text"][b, n] = short.row(f"{name} {media}")
            a["source_step"][b, n] = source.step
            a["source_io"][b, n] = source.index if source.step < 0 else 0
        for s, card in enumerate(cards[b]):
            for q, port in enumerate(card.inputs):
                a["port_text"][b, s, q] = short.row(f"{port.name} {port.media_type}")
                a["port_mask"][b, s, q] = True
                for n, (source, _, media) in enumerate(sources[b]):
                    a["fits"][b, s, q, n] = source.step < s and media_type_matches(media, port.media_type)
            for i, argument in enumerate(card.arguments):
                a["argument_text"][b, s, i] = short.row(argument.text)
                a["argument_mask"][b, s, i] = True
                for v, value in enumerate(values[b][s][i]):
                    a["value_text"][b, s, i, v] = short.row(value.text)
                    a["value_span"][b, s, i, v] = tasks[b].span(value.begin, value.end)
                    a["value_mask"][b, s, i, v] = True
    return PlanTensors(**{name: torch.from_numpy(value) for name, value in a.items()})


def _selectable(given: PlanningInput, plan: Steps, steps: int, tools: int, *, repeats: bool) -> NDArray[np.bool_]:
    """Which tools may be chosen at each position."""
    choosable = Choosable(given, repeats=repeats)
    allowed = np.zeros((steps + 1, tools), np.bool_)
    for s in range(steps + 1):
        allowed[s, : len(given.candidates)] = choosable.after(plan.tools[:s])
    return allowed


def _edge_features(cards: Sequence[ToolCard]) -> NDArray[np.float32]:
    count = len(cards)
    found = np.zeros((count, count, EDGE_FEATURES), np.float32)
    for s in range(count):
        fitting = [float(_feeds(cards[j].outputs, cards[s].inputs)) for j in range(s)]
        for j in range(s):
            typed = bool(cards[s].inputs and cards[j].outputs)
            only = fitting[j] and sum(fitting) == 1.0
            found[s, j] = (fitting[j], float(typed), float(j == s - 1), np.log(s - j), float(only))
    return found


def _feeds(outputs: Sequence[PortCard], inputs: Sequence[PortCard]) -> bool:
    return any(media_type_matches(out.media_type, port.media_type) for out in outputs for port in inputs)
