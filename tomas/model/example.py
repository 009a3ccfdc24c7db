"""What the neural planner reads for one request, and what it is taught to answer. Plain numbers; no torch here.

A :class:`PlanningInput` is made in two places that must agree: from a real request with its context, and by the
generator of training data. The answer never stands in the input.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PROFILE_FEATURES",
    "ArgumentCard",
    "FloatArray",
    "ModeCard",
    "PlanningExample",
    "PlanningInput",
    "PlanningTarget",
    "PortCard",
    "Precedent",
    "Source",
    "StepModes",
    "StepTarget",
    "ToolCard",
]

FloatArray = NDArray[np.float32]

PROFILE_FEATURES = (
    "log_input_bytes",
    "cpu_cores",
    "cpu_mem_gb",
    "gpu_sm",
    "gpu_mem_gb",
    "log_latency_ms",
    "log_peak_mem_gb",
    "log_output_bytes",
)
"""Columns of :attr:`ToolCard.profile`: natural logarithms of 1 + value where so named, else raw units."""


@dataclass(frozen=True)
class PortCard:
    """An input or output of a tool."""

    name: str
    media_type: str
    required: bool = True


@dataclass(frozen=True)
class ArgumentCard:
    """An argument of a tool that the task may set.

    :ivar kind: of the JSON Schema.
    :ivar choices: the enum, as text; empty where values come from spans of the task.
    :ivar required: without a default.
    """

    name: str
    text: str
    """Name and description."""
    kind: Literal["string", "integer", "number", "boolean", "array"]
    choices: tuple[str, ...] = ()
    required: bool = False
    choice_names: tuple[tuple[str, ...], ...] = ()
    """Per choice, other words by which a task may call it: ``zh`` is "Chinese" and "中文". May be empty."""


@dataclass(frozen=True)
class ToolCard:
    """What the model sees of one tool.

    :ivar text: name, aliases and descriptions in all languages; its hash is the key of the encoder's cache.
    :ivar profile: rows of profiling history, shape (rows, len(PROFILE_FEATURES)); rows may be 0.
    """

    name: str
    text: str
    inputs: tuple[PortCard, ...] = ()
    outputs: tuple[PortCard, ...] = ()
    arguments: tuple[ArgumentCard, ...] = ()
    profile: FloatArray = field(default_factory=lambda: np.zeros((0, len(PROFILE_FEATURES)), dtype=np.float32))


@dataclass(frozen=True)
class Source:
    """Where an input port takes its files from: an input of the request, or an output of an earlier step.

    :ivar step: index of the earlier step in the order of the plan; -1: the request.
    :ivar index: of the request's input, or of the step's tool's output port.
    """

    step: int
    index: int


@dataclass(frozen=True)
class Precedent:
    """The plan of a similar known request, as a guess at this one's.

    :ivar tools: indices into the candidates, in the order of the plan.
    :ivar weight: probability that it is the plan asked for; those of one request add up to at most 1.
    """

    tools: tuple[int, ...]
    weight: float


@dataclass(frozen=True)
class PlanningInput:
    """Everything the model reads for one request.

    :ivar inputs: (name, media type, bytes or None) of every input of the request.
    :ivar outputs: media types of the declared results.
    :ivar candidates: tools that may be chosen, in any order; retrieval has narrowed a large registry down.
    :ivar retrieval: score of each candidate before the model, larger is better, shape (candidates,).
    :ivar precedents: plans of similar requests whose answers a learned prior knows; none where it knows none.
    :ivar classes: names of the worker classes, in any order.
    :ivar capacity: of one bin of each class, shape (classes, 4): cores, GB, percent of a GPU, GB.
    :ivar curves: free share of that capacity from the plan's release on, of the class's bins together,
        shape (classes, 4, cells); a cell lasts ``step_ms``; 1 is all free.
    :ivar priority: 1 to 100.
    :ivar deadline_s: None: none.
    """

    task: str
    language: Literal["en", "zh"]
    candidates: tuple[ToolCard, ...]
    retrieval: FloatArray
    inputs: tuple[tuple[str, str, float | None], ...] = ()
    outputs: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    capacity: FloatArray = field(default_factory=lambda: np.zeros((0, 4), dtype=np.float32))
    curves: FloatArray = field(default_factory=lambda: np.zeros((0, 4, 1), dtype=np.float32))
    step_ms: float = 1000.0
    priority: int = 1
    deadline_s: float | None = None
    precedents: tuple[Precedent, ...] = ()


@dataclass(frozen=True)
class ModeCard:
    """One way to run a step, as sized from history.

    :ivar class_index: into :attr:`PlanningInput.classes`.
    :ivar need: cores, GB, percent of a GPU, GB; shape (4,). Zero stays zero: the regressor never adds a device.
    """

    class_index: int
    need: tuple[float, float, float, float]
    p50_ms: float
    p90_ms: float
    cost: float = 0.0


@dataclass(frozen=True)
class StepModes:
    """The modes of one step, for the allocation pass that follows the draft."""

    modes: tuple[ModeCard, ...]


@dataclass(frozen=True)
class StepTarget:
    """One step of the right answer.

    :ivar tool: index into the candidates.
    :ivar parents: indices of earlier steps that it waits for.
    :ivar bindings: per input port of its tool, in the tool's order; empty where ports are not typed.
    :ivar arguments: name of an argument to its value as text, for those that the task sets.
    :ivar mode_weights: probability of each of its modes under the exact scheduler, spread over those within 1 % of
        the optimum; empty where not labelled.
    """

    tool: int
    parents: tuple[int, ...] = ()
    bindings: tuple[tuple[Source, ...], ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()
    mode_weights: tuple[float, ...] = ()
    residual: tuple[float, ...] = ()
    """ln(right amount ÷ the amount of its most probable mode) per resource, four numbers; empty where unknown."""


@dataclass(frozen=True)
class PlanningTarget:
    """The right answer: steps in canonical order (topological, ties by first mention), or a refusal."""

    steps: tuple[StepTarget, ...] = ()
    refuse: bool = False
    explanation: str = ""


@dataclass(frozen=True)
class PlanningExample:
    """One input with its answer.

    :ivar modes: per step of the target; empty where allocations are not taught.
    :ivar group: phrasing family and tool domain, by which splits are made.
    """

    given: PlanningInput
    target: PlanningTarget
    modes: tuple[StepModes, ...] = ()
    group: str = ""
    id: str = ""
