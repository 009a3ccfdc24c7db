"""Precedents count as much as makes the best plans: more where they are right, less where they mislead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from tests.unit.model import world
from tomas.model.example import PlanningExample, Precedent
from tomas.model.lean import lean_on_precedents, plans_worth
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer

_FACTORS = (0.0, 0.5, 8.0)


@pytest.fixture
def network(learned: PlannerNetwork) -> Iterator[PlannerNetwork]:
    """The learned one; what it thought of precedents is put back afterwards."""
    weights = (learned.pointer.precedent, learned.gate.precedent)
    before = [weight.detach().clone() for weight in weights]
    yield learned
    with torch.no_grad():
        for weight, value in zip(weights, before, strict=True):
            weight.copy_(value)


def _told(example: PlanningExample, tools: tuple[int, ...]) -> PlanningExample:
    return replace(example, given=replace(example.given, precedents=(Precedent(tools, 1.0),)))


def _plans() -> list[PlanningExample]:
    return [example for example in world.examples() if example.target.steps]


def test_misleading_precedents_are_not_leant_on(network: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    """The network knows these plans by heart; nothing but a wrong precedent can spoil them."""
    count = len(world.TOOLS)
    held = [_told(item, tuple((step.tool + 1) % count for step in item.target.steps)) for item in _plans()]
    worth = plans_worth(tokenizer, held)
    assert lean_on_precedents(network, worth, _FACTORS) < 8.0
    kept = sum(worth(network))
    assert lean_on_precedents(network, worth, (8.0,)) == 8.0
    assert sum(worth(network)) < kept


def test_right_precedents_mend_what_the_network_does_not_know(
    network: PlannerNetwork, tokenizer: TextTokenizer
) -> None:
    """Tasks that say nothing: only the precedents tell which tools are meant."""
    silent = [replace(item, given=replace(item.given, task="Do it as always")) for item in _plans()]
    held = [_told(item, tuple(step.tool for step in item.target.steps)) for item in silent]
    worth = plans_worth(tokenizer, held)
    assert lean_on_precedents(network, worth, _FACTORS) > 0.0
    kept = sum(worth(network))
    lean_on_precedents(network, worth, (0.0,))
    assert sum(worth(network)) < kept
    assert float(network.pointer.precedent.detach()) == float(network.gate.precedent.detach()) == 0.0


def test_of_factors_that_cannot_be_told_apart_the_largest_is_taken(
    network: PlannerNetwork, tokenizer: TextTokenizer
) -> None:
    """Without precedents, their weight changes nothing."""
    assert lean_on_precedents(network, plans_worth(tokenizer, _plans()), (0.0, 1.0, 0.5)) == 1.0


@pytest.mark.parametrize(
    ("lost", "factor"),
    [
        ((0.0,) * 50 + (0.4,), 1.0),
        ((0.1,) * 30, 0.0),
        ((0.4, -0.3) * 20, 1.0),
        ((0.4, -0.25) * 20, 1.0),
        ((0.4, -0.1) * 20, 0.0),
    ],
)
def test_a_loss_that_may_be_chance_at_95_percent_is_no_loss(
    network: PlannerNetwork, lost: tuple[float, ...], factor: float
) -> None:
    values = iter(([1.0] * len(lost), [1.0 - value for value in lost]))
    assert lean_on_precedents(network, lambda _: next(values), (0.0, 1.0)) == factor
