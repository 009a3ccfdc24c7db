"""What the planner is evaluated on: requests of the generator's test split with their right answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tomas.errors import DataError
from tomas.model.config import LimitsConfig
from tomas.model.example import PlanningExample, PlanningInput, StepModes
from tomas.model.prior import Prior
from tomas.model.prompt import narrow
from tomas.neural.sketch import with_precedents
from tomas.schedule import schedule
from tomas.tools.registry import Registry
from tomas.training.generate import Generator, specs_of
from tomas.training.generate.examples import Generated
from tomas.training.generate.fleet import Fleet
from tomas.training.generate.label import LIMIT_S, Labeller
from tomas.training.generate.modes import make_problem
from tomas.training.generate.split import Split, split_of_tool

__all__ = ["Allocation", "Case", "generated_cases", "read_by"]

_SEED = 90_210
"""Of the generator; the split keeps the test's phrasings and tools out of training under any seed."""


@dataclass(frozen=True)
class Allocation:
    """The right allocation of a case's steps, by the exact scheduler under the true curves of every bin.

    :ivar modes: of each step, in the order of :attr:`Case.tools`.
    :ivar weights: per step, the probability of each mode; above 0 for all within 1 % of the optimum.
    :ivar residual: per step, ln(right amount ÷ the amount of the scheduler's own mode), four numbers.
    :ivar parents: per step, the steps that it waits for.
    :ivar best_ms: the least makespan.
    """

    modes: tuple[StepModes, ...]
    weights: tuple[tuple[float, ...], ...]
    residual: tuple[tuple[float, ...], ...]
    parents: tuple[tuple[int, ...], ...]
    fleet: Fleet
    step_ms: float
    best_ms: float

    def own(self, step: int) -> int:
        """The mode that the scheduler took."""
        weights = self.weights[step]
        return max(range(len(weights)), key=weights.__getitem__)


@dataclass(frozen=True)
class Case:
    """A request with its right answer.

    :ivar tools: names of the needed tools in the right answer's order; none for a refusal.
    :ivar edges: pairs of names: which tool is waited for by which.
    :ivar unseen: needed tools that no training shows, by any names.
    :ivar family: of its phrasing; empty where it was written by hand.
    :ivar allocation: None where allocations are not labelled.
    """

    id: str
    given: PlanningInput
    tools: tuple[str, ...]
    edges: frozenset[tuple[str, str]]
    unseen: frozenset[str] = frozenset()
    family: str = ""
    allocation: Allocation | None = None

    @property
    def refuse(self) -> bool:
        """Whether no tool serves it."""
        return not self.tools

    @property
    def language(self) -> Literal["en", "zh"]:
        """Of the task."""
        return self.given.language


def read_by(prior: Prior, limits: LimitsConfig, given: PlanningInput) -> PlanningInput:
    """A request as the planner reads it: scored by the prior, narrowed to what the model sees, with precedents."""
    scored = replace(given, retrieval=prior.scores(given.task, given.candidates))
    return with_precedents(prior, narrow(scored, limits.max_candidates))


def generated_cases(
    count: int,
    registry: Registry,
    prior: Prior,
    limits: LimitsConfig,
    *,
    split: Split = "test",
    seed: int = _SEED,
    labels: Path | None = None,
    report: Callable[[int], None] | None = None,
) -> list[Case]:
    """Cases of the generator's worlds, whose phrasings or tools training holds out, with allocations.

    :param labels: folder that keeps labels of the scheduler; None: nowhere.
    :param report: is told how many there are.
    """
    generator = Generator(specs_of(registry), seed=seed, split=split)
    labeller = Labeller(labels)
    found = []
    for number in range(count):
        found.append(_case(generator.generate(number), labeller, prior, limits))
        if report is not None:
            report(number + 1)
    return found


def _case(made: Generated, labeller: Labeller, prior: Prior, limits: LimitsConfig) -> Case:
    example = labeller.label(made)
    names = [example.given.candidates[step.tool].name for step in example.target.steps]
    if len(set(names)) < len(names):
        raise DataError(f"The example {example.id} uses a tool twice.", remedy="Evaluate on plans without repeats.")
    edges = {
        (names[parent], name)
        for name, step in zip(names, example.target.steps, strict=True)
        for parent in step.parents
    }
    family, _, tools = example.group.partition("|")
    unseen = frozenset(tool for tool in tools.split(",") if tool and split_of_tool(tool) != "train")
    return Case(
        id=example.id,
        given=read_by(prior, limits, example.given),
        tools=tuple(names),
        edges=frozenset(edges),
        unseen=unseen,
        family=family,
        allocation=_allocation(example, made.fleet) if example.modes else None,
    )


def _allocation(example: PlanningExample, fleet: Fleet) -> Allocation:
    parents = tuple(step.parents for step in example.target.steps)
    cards = [step.modes for step in example.modes]
    problem, _ = make_problem(parents, cards, fleet, example.given.step_ms)
    return Allocation(
        modes=example.modes,
        weights=tuple(step.mode_weights for step in example.target.steps),
        residual=tuple(step.residual for step in example.target.steps),
        parents=parents,
        fleet=fleet,
        step_ms=example.given.step_ms,
        best_ms=schedule(problem, limit_s=LIMIT_S).makespan_ms,
    )
