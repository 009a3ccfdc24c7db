"""The confidence is a probability: an overconfident network is cooled, and its choices stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.unit.model import world
from tomas.errors import DataError
from tomas.model.calibrate import calibrate, expected_error
from tomas.model.decode import decode
from tomas.model.example import PlanningExample
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer


def _wrong(example: PlanningExample) -> PlanningExample:
    """The same request with other tools as its answer."""
    steps = tuple(
        replace(step, tool=(step.tool + 1) % 6, bindings=(), arguments=()) for step in example.target.steps
    )
    return replace(example, target=replace(example.target, steps=steps), modes=())


def test_a_network_that_is_too_sure_is_cooled(learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    """Nearly certain of everything, and wrong in half of it."""
    before = float(learned.temperature)
    examples = world.examples()
    try:
        sure = decode(learned, tokenizer, examples[1].given)
        found = calibrate(learned, tokenizer, [*examples, *map(_wrong, examples)])
        cooled = decode(learned, tokenizer, examples[1].given)
    finally:
        learned.temperature.fill_(before)
    assert found.temperature > 1.5
    assert found.error_after < found.error_before
    assert found.steps == 2 * sum(len(example.target.steps) for example in examples)
    assert [step.tool for step in cooled.steps] == [step.tool for step in sure.steps]
    assert cooled.steps[0].confidence < sure.steps[0].confidence


def test_expected_error() -> None:
    assert expected_error([0.95] * 20, [True] * 19 + [False]) == pytest.approx(0.0, abs=1e-6)
    assert expected_error([0.95] * 10, [False] * 10) == pytest.approx(0.95, abs=1e-6)
    assert expected_error([], []) == 0.0


def test_refusals_alone_cannot_calibrate(learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    with pytest.raises(DataError, match="has a step"):
        calibrate(learned, tokenizer, [world.examples()[7]])
    assert torch.equal(learned.temperature, torch.ones(()))
