"""Plans of similar requests as a guess at the next step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.model import world
from tomas.model.batch import collate
from tomas.model.config import NeuralConfig
from tomas.model.decode import Decoder
from tomas.model.example import PlanningInput, Precedent, ToolCard
from tomas.model.network import PlannerNetwork
from tomas.model.precedents import precedent_scores
from tomas.model.prompt import narrow
from tomas.model.tokenizer import TextTokenizer

KNOWN = (Precedent((0, 1), 0.5), Precedent((0, 2, 1), 0.3), Precedent((2,), 0.1))


def test_precedents_that_began_alike_tell_the_next_step() -> None:
    first = precedent_scores(KNOWN, (), 4)
    assert first[0] == pytest.approx(math.log(0.8 / 0.9 / 0.01))
    assert first[2] == pytest.approx(math.log(0.1 / 0.9 / 0.01))
    assert first[1] == first[3] == 0.0
    second = precedent_scores(KNOWN, (0,), 4)
    assert second[1] > second[2] > 0.0 == second[0]


def test_the_end_is_told_in_log_odds() -> None:
    assert precedent_scores(KNOWN, (), 4)[4] < -4.0
    assert precedent_scores(KNOWN, (0, 1), 4)[4] > 4.0


def test_where_the_order_is_new_those_with_the_same_tools_count() -> None:
    scores = precedent_scores(KNOWN, (1,), 4)
    assert scores[0] > scores[2] == scores[3] == 0.0


def test_where_no_precedent_speaks_nothing_is_said() -> None:
    assert not precedent_scores(KNOWN, (3,), 4).any()
    assert not precedent_scores((), (), 4).any()


def test_narrowing_renumbers_precedents_and_drops_what_it_breaks() -> None:
    cards = tuple(ToolCard(name=name, text=name) for name in "abcd")
    given = PlanningInput("x", "en", cards, np.array([0.0, 3.0, 2.0, 1.0], np.float32), precedents=KNOWN)
    kept = narrow(given, 3)
    assert [card.name for card in kept.candidates] == ["b", "c", "d"]
    assert kept.precedents == (Precedent((1,), 0.1),)


def test_step_decoding_reads_precedents_as_training_does(
    network: PlannerNetwork, tokenizer: TextTokenizer, config: NeuralConfig
) -> None:
    example = next(item for item in world.examples() if len(item.target.steps) == 3)
    right = tuple(step.tool for step in example.target.steps)
    given = replace(example.given, precedents=(Precedent(right, 0.6), Precedent(right[:1], 0.3)))
    with torch.inference_mode():
        outputs = network(collate([replace(example, given=given)], tokenizer, config))
        told, silent = (Decoder(network, tokenizer, item) for item in (given, example.given))
        for position in range(len(right) + 1):
            torch.testing.assert_close(told.tools, outputs.tools[0, position], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(told.gate, outputs.gate[0, position], atol=1e-4, rtol=1e-4)
            if position < len(right):
                gain = told.tools[right[position]] - silent.tools[right[position]]
                scores = precedent_scores(given.precedents, right[:position], len(given.candidates))
                weight = float(network.pointer.precedent)
                assert float(gain) == pytest.approx(weight * float(scores[right[position]]), abs=1e-4)
                told.choose(right[position])
                silent.choose(right[position])
        assert float(told.gate[2] - silent.gate[2]) > 2.0
