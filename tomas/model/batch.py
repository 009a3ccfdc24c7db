"""Examples to one padded batch with its targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tomas.errors import DataError
from tomas.model.config import NeuralConfig
from tomas.model.example import PlanningExample, PlanningTarget, Source, StepTarget
from tomas.model.mode_tensors import ModeTensors, build_mode_tensors
from tomas.model.plan_tensors import PlanTensors, Steps, build_plan_tensors, sources_of, values_of
from tomas.model.prompt import Prompt, build_prompt
from tomas.model.spans import same_value
from tomas.model.tensors import TensorBatch
from tomas.model.texts import TextTable
from tomas.model.tokenizer import TextTokenizer

__all__ = [
    "END",
    "IGNORE",
    "REFUSE",
    "STEP",
    "TEXT",
    "Batch",
    "Targets",
    "collate",
    "reordered",
    "topological_order",
]

TEXT, STEP, END, REFUSE = range(4)
"""Classes of the gate."""
IGNORE = -100
SHORT_TOKENS = 24
"""Tokens of names of ports, arguments and values."""


@dataclass(frozen=True)
class Targets(TensorBatch):
    """What the heads are taught; shapes as in :class:`~tomas.model.plan_tensors.PlanTensors`."""

    gate: Tensor
    """(B, S + 2): before each step and after the last; in the last column, after the end. IGNORE elsewhere."""
    ready: Tensor
    """(B, S, K): tools whose parents have all been chosen, any of which is right."""
    edges: Tensor
    """(B, S, S)."""
    edges_known: Tensor
    """(B, S, S)."""
    bindings: Tensor
    """(B, S, Q, N)."""
    bindings_known: Tensor
    """(B, S, Q, N)."""
    arguments: Tensor
    """(B, S, A) index of the value; IGNORE where it is none of the candidates."""
    modes: Tensor
    """(B, S, M)."""
    modes_known: Tensor
    """(B, S)."""
    residual: Tensor
    """(B, S, 4)."""
    residual_known: Tensor
    """(B, S)."""
    text: Tensor
    """(B, E) token ids of the explanation; IGNORE beyond its end."""


@dataclass(frozen=True)
class Batch(TensorBatch):
    """Everything that one training step needs."""

    long_tokens: Tensor
    short_tokens: Tensor
    prompt: Prompt
    plan: PlanTensors
    modes: ModeTensors
    targets: Targets

    @property
    def size(self) -> int:
        """Examples in the batch."""
        return self.prompt.size


def reordered(example: PlanningExample, order: Sequence[int]) -> PlanningExample:
    """The same example with its steps in another order.

    :param order: old indices in the new order; topological.
    :raises ValueError: a step would stand before one that it waits for.
    """
    new = {old: number for number, old in enumerate(order)}
    steps = []
    for old in order:
        step = example.target.steps[old]
        if any(new[parent] >= new[old] for parent in step.parents):
            raise ValueError(f"order {list(order)} is not topological")
        bindings = tuple(
            tuple(source if source.step < 0 else Source(new[source.step], source.index) for source in port)
            for port in step.bindings
        )
        parents = tuple(sorted(new[parent] for parent in step.parents))
        steps.append(replace(step, parents=parents, bindings=bindings))
    modes = tuple(example.modes[old] for old in order) if example.modes else ()
    return replace(example, target=replace(example.target, steps=tuple(steps)), modes=modes)


def topological_order(target: PlanningTarget, choose: Callable[[int, Sequence[int]], int]) -> list[int]:
    """An order of the steps in which none stands before one that it waits for.

    :param choose: given a position and the steps that may stand there, one of these.
    """
    order: list[int] = []
    waiting = list(range(len(target.steps)))
    while waiting:
        ready = [step for step in waiting if all(parent in order for parent in target.steps[step].parents)]
        order.append(choose(len(order), ready))
        waiting.remove(order[-1])
    return order


def collate(
    examples: Sequence[PlanningExample],
    tokenizer: TextTokenizer,
    config: NeuralConfig,
    *,
    rng: np.random.Generator | None = None,
    explanations: bool = True,
) -> Batch:
    """Examples to a padded batch.

    :param rng: draws one topological order of each example's steps; None keeps the canonical one.
    :param explanations: whether their words are taught; they are most of a sequence, and less of the lesson.
    :raises DataError: an example exceeds ``model.limits``, or its target contradicts its input.
    """
    if not examples:
        raise DataError("A batch of no examples cannot be built.", remedy="Give at least one example.")
    for example in examples:
        _check(example, config)
    if rng is not None:
        examples = [reordered(item, topological_order(item.target, _any_of(rng))) for item in examples]
    long, short = TextTable(config.model.tool_encoder.max_tokens), TextTable(SHORT_TOKENS)
    inputs = [example.given for example in examples]
    prompt, tasks = build_prompt(inputs, tokenizer, config, long, short)
    plans = [Steps(tuple(step.tool for step in example.target.steps)) for example in examples]
    most = config.model.limits.max_values
    repeats = any(len(set(plan.tools)) < len(plan.tools) for plan in plans)
    plan = build_plan_tensors(inputs, plans, tasks, short, max_values=most, repeats=repeats)
    parents = [[step.parents for step in example.target.steps] for example in examples]
    modes = build_mode_tensors(inputs, [example.modes for example in examples], parents, config)
    targets = _targets(examples, tokenizer, config, plan, modes)
    if not explanations:
        targets = replace(targets, text=targets.text[:, :0])
    return Batch(
        long_tokens=long.tokens(tokenizer),
        short_tokens=short.tokens(tokenizer),
        prompt=prompt,
        plan=plan,
        modes=modes,
        targets=targets,
    )


def _check(example: PlanningExample, config: NeuralConfig) -> None:
    steps = example.target.steps
    where = f"The example {example.id or example.given.task[:60]!r}"
    if len(steps) > config.model.limits.max_steps:
        raise DataError(
            f"{where} has {len(steps)} steps; at most {config.model.limits.max_steps} are learned.",
            remedy="Leave it out, or raise model.limits.max_steps.",
        )
    if example.target.refuse and steps:
        raise DataError(f"{where} refuses and has steps.", remedy="Drop one of the two.")
    for number, step in enumerate(steps):
        if not 0 <= step.tool < len(example.given.candidates):
            raise DataError(f"{where}, step {number}: there is no candidate {step.tool}.", remedy="Correct it.")
        if any(not 0 <= parent < number for parent in step.parents):
            raise DataError(f"{where}, step {number}: a parent does not stand before it.", remedy="Reorder it.")
    if example.modes and len(example.modes) != len(steps):
        raise DataError(f"{where} has modes for {len(example.modes)} of {len(steps)} steps.", remedy="Give all.")


def _any_of(rng: np.random.Generator) -> Callable[[int, Sequence[int]], int]:
    def choose(position: int, ready: Sequence[int]) -> int:  # noqa: ARG001
        return ready[int(rng.integers(len(ready)))]

    return choose


def _targets(
    examples: Sequence[PlanningExample],
    tokenizer: TextTokenizer,
    config: NeuralConfig,
    plan: PlanTensors,
    modes: ModeTensors,
) -> Targets:
    size, steps = plan.tool.shape
    tools = plan.selectable.shape[2]
    ports, sources = plan.fits.shape[2:]
    texts = [
        tokenizer.encode_written(example.target.explanation, config.model.limits.max_text - 1)
        if example.target.explanation
        else []
        for example in examples
    ]
    longest = max(len(row) for row in texts) + 1 if any(texts) else 0
    a: dict[str, NDArray[np.generic]] = {
        "gate": np.full((size, steps + 2), IGNORE, np.int64),
        "ready": np.zeros((size, steps, tools), np.bool_),
        "edges": np.zeros((size, steps, steps), np.float32),
        "edges_known": np.zeros((size, steps, steps), np.bool_),
        "bindings": np.zeros((size, steps, ports, sources), np.float32),
        "bindings_known": np.zeros((size, steps, ports, sources), np.bool_),
        "arguments": np.full((size, steps, plan.argument_mask.shape[2]), IGNORE, np.int64),
        "modes": np.zeros((size, steps, modes.mask.shape[2]), np.float32),
        "modes_known": np.zeros((size, steps), np.bool_),
        "residual": np.zeros((size, steps, 4), np.float32),
        "residual_known": np.zeros((size, steps), np.bool_),
        "text": np.full((size, longest), IGNORE, np.int64),
    }
    for b, example in enumerate(examples):
        target = example.target
        count = len(target.steps)
        a["gate"][b, :count] = STEP
        a["gate"][b, count] = REFUSE if target.refuse else END
        a["gate"][b, steps + 1] = TEXT if texts[b] else END
        a["ready"][b] = _ready(target, steps, tools)
        for s, step in enumerate(target.steps):
            a["edges"][b, s, list(step.parents)] = 1.0
            a["edges_known"][b, s, :s] = True
            if len(step.mode_weights) and example.modes:
                a["modes"][b, s, : len(step.mode_weights)] = step.mode_weights
                a["modes_known"][b, s] = True
            if len(step.residual) == 4:
                a["residual"][b, s] = step.residual
                a["residual_known"][b, s] = True
        _bindings(a, b, example)
        _arguments(a, b, example, config.model.limits.max_values)
        if texts[b]:
            a["text"][b, : len(texts[b]) + 1] = [*texts[b], tokenizer.end_id]
    return Targets(**{name: torch.from_numpy(value) for name, value in a.items()})


def _ready(target: PlanningTarget, steps: int, tools: int) -> NDArray[np.bool_]:
    ready = np.zeros((steps, tools), np.bool_)
    for position in range(len(target.steps)):
        for s in range(position, len(target.steps)):
            if all(parent < position for parent in target.steps[s].parents):
                ready[position, target.steps[s].tool] = True
    return ready


def _bindings(a: dict[str, NDArray[np.generic]], b: int, example: PlanningExample) -> None:
    steps = Steps(tuple(step.tool for step in example.target.steps))
    places = {source: n for n, (source, _, _) in enumerate(sources_of(example.given, steps))}
    for s, step in enumerate(example.target.steps):
        for q, port in enumerate(step.bindings):
            for source in port:
                if source not in places:
                    raise DataError(
                        f"The example {example.id!r}, step {s}, port {q}: {source} is no source.",
                        remedy="Bind to an input of the request, or to an output of an earlier step.",
                    )
                a["bindings"][b, s, q, places[source]] = 1.0
            a["bindings_known"][b, s, q] = bool(port)


def _arguments(a: dict[str, NDArray[np.generic]], b: int, example: PlanningExample, most: int) -> None:
    for s, step in enumerate(example.target.steps):
        _step_arguments(a["arguments"][b, s], step, example, most)


def _step_arguments(row: NDArray[np.generic], step: StepTarget, example: PlanningExample, most: int) -> None:
    card = example.given.candidates[step.tool]
    wanted = dict(step.arguments)
    for i, values in enumerate(values_of(card, example.given.task, most)):
        text = wanted.get(card.arguments[i].name)
        if text is None:
            row[i] = 0
            continue
        row[i] = next((v for v, value in enumerate(values) if v and same_value(value.text, text)), IGNORE)
