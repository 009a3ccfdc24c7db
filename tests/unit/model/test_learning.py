"""Eight examples are learned to exact plans: tools, edges, bindings, arguments, modes, refusal, explanation."""

from __future__ import annotations

import pytest

from tests.unit.model import world
from tomas.model.decode import decode
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer


@pytest.mark.parametrize("number", range(8))
def test_what_was_learned_is_planned_exactly(
    number: int, learned: PlannerNetwork, tokenizer: TextTokenizer
) -> None:
    example = world.examples()[number]
    modes = example.modes
    drafted = decode(learned, tokenizer, example.given, modes=lambda steps: modes[: len(steps)], explain=True)
    target = example.target
    assert drafted.refuse == target.refuse
    assert (drafted.refusal > 0.5) == target.refuse
    assert [step.tool for step in drafted.steps] == [step.tool for step in target.steps]
    for step, right in zip(drafted.steps, target.steps, strict=True):
        assert step.parents == right.parents
        assert step.bindings == right.bindings
        assert step.arguments == right.arguments
        assert step.confidence > 0.5
        assert step.proposal is not None
        assert right.mode_weights[step.proposal.mode] == 1.0
        assert sum(step.proposal.probabilities) == pytest.approx(1.0, abs=1e-5)
    assert drafted.explanation == target.explanation
    assert drafted.passes <= len(target.steps) + 1
    assert decode(learned, tokenizer, example.given, ahead=0).passes == len(target.steps) + 1


def test_a_plan_with_a_step_that_no_place_can_run_is_drafted_without_amounts(
    learned: PlannerNetwork, tokenizer: TextTokenizer
) -> None:
    example = world.examples()[0]
    drafted = decode(learned, tokenizer, example.given, modes=lambda _: [])
    assert [step.tool for step in drafted.steps] == [step.tool for step in example.target.steps]
    assert all(step.proposal is None for step in drafted.steps)
