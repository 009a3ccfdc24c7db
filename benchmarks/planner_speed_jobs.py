"""Requests of a given size with the plan that is to come out, and that plan as JSON."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from tomas.evaluation.answers import placed_on
from tomas.model.config import LimitsConfig
from tomas.model.decode import ChooseModes, decode
from tomas.model.example import ModeCard, PlanningExample, PlanningInput, StepModes
from tomas.model.network import PlannerNetwork
from tomas.model.prior import Prior
from tomas.model.tokenizer import TextTokenizer
from tomas.neural.sketch import with_precedents
from tomas.tools.registry import Registry
from tomas.training.generate import specs_of
from tomas.training.generate.examples import Generated, Generator
from tomas.training.generate.fleet import Fleet
from tomas.training.generate.modes import draw_modes, input_sizes

__all__ = ["Job", "Model", "jobs"]

_MOST_GENERATED = 20_000
_MODES = 12


@dataclass(frozen=True)
class Model:
    """What plans.

    :ivar free: whether it drafts freely, with weights that were trained; else its steps are given.
    """

    network: PlannerNetwork
    tokenizer: TextTokenizer
    prior: Prior
    free: bool

    def seen(self, given: PlanningInput) -> PlanningInput:
        """The request with what the prior knows of it; in an order of tools that says nothing."""
        cards = tuple(sorted(given.candidates, key=lambda card: card.name))
        read = replace(given, candidates=cards, retrieval=self.prior.scores(given.task, cards))
        return with_precedents(self.prior, read)


@dataclass(frozen=True)
class Job:
    """A request and the plan that is to come out."""

    given: PlanningInput
    modes: tuple[StepModes, ...]
    tools: tuple[int, ...]
    parents: tuple[tuple[int, ...], ...]
    chosen: tuple[int, ...]
    fleet: Fleet

    @property
    def placed(self) -> ChooseModes:
        """Chooses the proposed mode of each step, as the planner does."""
        return placed_on(self.fleet, self.given.step_ms)

    def compact(self) -> str:
        """Names, edges, modes."""
        rows = [
            [self.given.candidates[tool].name, [parent + 1 for parent in parents], mode]
            for tool, parents, mode in zip(self.tools, self.parents, self.chosen, strict=True)
        ]
        return json.dumps(rows, separators=(",", ":"))

    def plain(self) -> str:
        """As a model without a grammar is commonly asked to write it."""
        steps = []
        for index, (tool, parents, mode) in enumerate(zip(self.tools, self.parents, self.chosen, strict=True)):
            card = self.modes[index].modes[mode]
            cores, memory, share, gpu = card.need
            steps.append(
                {
                    "id": f"s{index + 1}",
                    "tool": self.given.candidates[tool].name,
                    "depends_on": [f"s{parent + 1}" for parent in parents],
                    "worker_class": self.given.classes[card.class_index],
                    "allocation": {
                        "cpu_cores": round(cores, 2),
                        "cpu_mem_gb": round(memory, 2),
                        "gpu_sm": round(share, 2),
                        "gpu_mem_gb": round(gpu, 2),
                    },
                }
            )
        return json.dumps({"steps": steps})

    def grammar(self) -> str:
        """Of :meth:`compact`, in the Lark dialect of llguidance: any plan of that many steps."""
        names = " | ".join(json.dumps(json.dumps(card.name)) for card in self.given.candidates)
        count = len(self.tools)
        lines = [
            'start: "[" ' + ' "," '.join(f"step_{number}" for number in range(1, count + 1)) + ' "]"',
            f"tool: {names}",
            f"mode: /({'|'.join(str(mode) for mode in reversed(range(_MODES)))})/",
        ]
        for number in range(1, count + 1):
            earlier = "|".join(str(step) for step in range(number - 1, 0, -1))
            edges = f"/\\[(({earlier})(,({earlier})){{0,{number}}})?\\]/" if number > 1 else '"[]"'
            lines.append(f'step_{number}: "[" tool "," edges_{number} "," mode "]"')
            lines.append(f"edges_{number}: {edges}")
        return "\n".join(lines) + "\n"


def jobs(
    count: int, steps: int, tools: int, seed: int, limits: LimitsConfig, model: Model | None = None
) -> list[Job]:
    """Generated requests of so many steps over so many tools; their plan is what ``model`` drafts, or given."""
    generator = Generator(specs_of(Registry.load()), seed=seed, split="test" if model is not None else None)
    found: list[Job] = []
    spare: list[PlanningInput] = []
    for number in itertools.count():
        if len(found) == count:
            break
        if number > _MOST_GENERATED:
            raise SystemExit(f"Of {number} requests, {len(found)} came out with {steps} steps.")
        made = generator.generate(number)
        example = made.example
        spare = [*spare[-20:], example.given]
        asked = [step.tool for step in example.target.steps]
        if len(asked) != steps or len(set(asked)) < steps:
            continue
        if len(example.given.inputs) + len(example.given.outputs) > limits.max_inputs:
            continue
        given = _over(example, spare, tools)
        if len(given.candidates) == tools:
            rng = Random(number)  # noqa: S311  (no secret)
            modes = _modes(made, steps, rng)
            if model is None:
                job = _given(replace(example, given=given), modes, made.fleet, rng)
            else:
                job = _drafted(model, model.seen(given), modes, made.fleet)
            found += [job] if len(job.tools) == steps else []
            print(f"\r{len(found)} of {count} requests", end="", flush=True)
    print()
    return found


def _over(example: PlanningExample, spare: Sequence[PlanningInput], tools: int) -> PlanningInput:
    """The request with the tools of its answer first and others up to ``tools``, in an order of its own."""
    cards = [example.given.candidates[step.tool] for step in example.target.steps]
    seen = {card.name for card in cards}
    for card in (card for given in (example.given, *reversed(spare)) for card in given.candidates):
        if len(cards) < tools and card.name not in seen:
            cards.append(card)
            seen.add(card.name)
    return replace(
        example.given, candidates=tuple(cards), retrieval=np.zeros(len(cards), np.float32), precedents=()
    )


def _modes(made: Generated, steps: int, rng: Random) -> tuple[StepModes, ...]:
    found = []
    for law, size in zip(made.laws, input_sizes(made.example, made.laws), strict=True):
        drawn = list(draw_modes(law, size, made.fleet, rng))
        while drawn and len(drawn) < _MODES:
            other = drawn[len(drawn) % len(drawn) - 1]
            drawn.append(ModeCard(other.class_index, other.need, other.p50_ms * 1.1, other.p90_ms * 1.1))
        found.append(StepModes(tuple(drawn[:_MODES])))
    offered = [item for item in found if item.modes]
    return tuple(offered[number % len(offered)] for number in range(steps))


def _given(example: PlanningExample, modes: tuple[StepModes, ...], fleet: Fleet, rng: Random) -> Job:
    parents = tuple(step.parents for step in example.target.steps)
    chosen = tuple(rng.randrange(_MODES) for _ in modes)
    return Job(example.given, modes, tuple(range(len(modes))), parents, chosen, fleet)


def _drafted(model: Model, given: PlanningInput, modes: tuple[StepModes, ...], fleet: Fleet) -> Job:
    job = Job(given, modes, (), (), (), fleet)
    drafted = decode(
        model.network,
        model.tokenizer,
        given,
        max_steps=len(modes),
        modes=lambda steps: modes[: len(steps)],
        choose=job.placed,
    )
    return replace(
        job,
        tools=tuple(step.tool for step in drafted.steps),
        parents=tuple(step.parents for step in drafted.steps),
        chosen=tuple(step.proposal.mode for step in drafted.steps if step.proposal is not None),
    )
