"""The planner's answers to cases: by its own decoding, or along steps that are given."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from tomas.errors import DataError
from tomas.evaluation.cases import Case
from tomas.model.checkpoint import Checkpoint
from tomas.model.config import PanelsConfig
from tomas.model.decode import ChooseModes, Decoder, decode
from tomas.model.drafted import DraftedStep, ModeProposal
from tomas.model.example import PlanningInput, StepModes
from tomas.model.network import PlannerNetwork
from tomas.neural.placed import placed_modes
from tomas.training.generate.fleet import Fleet
from tomas.training.generate.modes import make_problem

__all__ = ["Answer", "answer", "likeliest", "placed_on", "proposals", "with_panels"]

Item = TypeVar("Item")


@dataclass(frozen=True)
class Answer:
    """What the planner drafted for a case.

    :ivar tools: in the order they were chosen.
    :ivar edges: pairs of names.
    :ivar confidences: of each chosen tool.
    :ivar refusal: probability of a refusal at the start.
    :ivar read: false where the request exceeds what the model can read; that counts as a refusal.
    :ivar ms: processor time.
    """

    tools: tuple[str, ...]
    edges: frozenset[tuple[str, str]]
    confidences: tuple[float, ...]
    refusal: float
    read: bool = True
    ms: float = 0.0

    @property
    def refuse(self) -> bool:
        """Whether nothing was planned."""
        return not self.tools


def answer(checkpoint: Checkpoint, given: PlanningInput) -> Answer:
    """Plan one request by the planner's own step decoding, without allocations."""
    begun = time.process_time()
    try:
        drafted = decode(checkpoint.network, checkpoint.tokenizer, given)
    except DataError:
        return Answer((), frozenset(), (), 1.0, read=False)
    names = [given.candidates[step.tool].name for step in drafted.steps]
    edges = {(names[parent], names[s]) for s, step in enumerate(drafted.steps) for parent in step.parents}
    return Answer(
        tuple(names),
        frozenset(edges),
        tuple(step.confidence for step in drafted.steps),
        drafted.refusal,
        ms=(time.process_time() - begun) * 1000.0,
    )


def proposals(
    checkpoint: Checkpoint,
    case: Case,
    order: Sequence[str] | None = None,
    *,
    given: PlanningInput | None = None,
    placed: bool = False,
    own_edges: bool = False,
) -> list[ModeProposal] | None:
    """The allocation that the model proposes once it has chosen the right tools, before any floor or scheduler.

    The graph says which steps hear of each other, and where placed, wait for each other.

    :param order: in which it chose them; None, or an order that contradicts the right edges: the right answer's.
    :param given: the request under other curves.
    :param placed: whether the modes are chosen as the planner chooses them (:mod:`tomas.neural.placed`), by the
        curves of every bin; else each is the head's likeliest.
    :param own_edges: whether the graph is what the model drafts over these steps; else it is the right one.
    :return: in the order of :attr:`Case.tools`; None where the model cannot read the case.
    """
    if case.allocation is None:
        return None
    given = given or case.given
    allocation = case.allocation
    names = [card.name for card in given.candidates]
    if any(name not in names for name in case.tools):
        return None
    order = order or case.tools
    if (parents := _parents(case, order)) is None:
        order, parents = case.tools, list(allocation.parents)
    modes = [allocation.modes[case.tools.index(name)] for name in order]

    choose = placed_on(allocation.fleet, allocation.step_ms) if placed else None
    tools = [names.index(name) for name in order]
    try:
        steps = _forced(
            checkpoint,
            given,
            lambda decoder: _finish(decoder, tools, modes, choose, None if own_edges else parents),
        )
    except DataError:
        return None
    found = dict(zip(order, steps, strict=True))
    return [found[name] for name in case.tools]


def placed_on(fleet: Fleet, step_ms: float) -> ChooseModes:
    """Chooses modes as the planner does, on the bins of a generated fleet."""

    def choose(
        steps: Sequence[DraftedStep], modes: Sequence[StepModes], chances: Sequence[Sequence[float]]
    ) -> list[int]:
        parents, cards = [step.parents for step in steps], [step.modes for step in modes]
        return placed_modes(*make_problem(parents, cards, fleet, step_ms), chances)

    return choose


def likeliest(checkpoint: Checkpoint, given: PlanningInput, count: int) -> dict[str, float]:
    """How probable each candidate is at the likeliest of the first ``count`` positions of a plan.

    The model chooses at each position by itself, and is not asked whether it wants to end.
    """

    def walk(decoder: Decoder) -> torch.Tensor:
        best = torch.zeros(len(given.candidates))
        for position in range(count):
            best = torch.maximum(best, decoder.tools.softmax(dim=0))
            if position + 1 < count:
                decoder.choose(int(decoder.tools.argmax()))
        return best

    values = _forced(checkpoint, given, walk).tolist()
    return {card.name: value for card, value in zip(given.candidates, values, strict=True)}


def with_panels(checkpoint: Checkpoint, panels: PanelsConfig) -> Checkpoint:
    """The same weights with other panels switched off."""
    model = checkpoint.config.model.model_copy(update={"panels": panels})
    config = checkpoint.config.model_copy(update={"model": model})
    network = PlannerNetwork(config, weights=False).to(checkpoint.network.device)
    network.load_state_dict(checkpoint.network.state_dict(), assign=True)
    network.eval()
    return replace(checkpoint, network=network, config=config)


def _forced(checkpoint: Checkpoint, given: PlanningInput, use: Callable[[Decoder], Item]) -> Item:
    with torch.inference_mode():
        return use(Decoder(checkpoint.network, checkpoint.tokenizer, given))


def _parents(case: Case, order: Sequence[str]) -> list[tuple[int, ...]] | None:
    """Of each step in this order by the right edges; None where one would stand before what it waits for."""
    place = {name: number for number, name in enumerate(order)}
    found = [tuple(sorted(place[before] for before, after in case.edges if after == name)) for name in order]
    return found if all(p < s for s, row in enumerate(found) for p in row) else None


def _finish(
    decoder: Decoder,
    tools: Sequence[int],
    modes: Sequence[StepModes],
    choose: ChooseModes | None,
    parents: Sequence[Sequence[int]] | None,
) -> list[ModeProposal]:
    for tool in tools:
        decoder.choose(tool)
    steps = decoder.finish(lambda _: modes, choose, parents=parents)
    return [step.proposal for step in steps if step.proposal is not None]
