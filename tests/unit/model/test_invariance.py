"""What must not matter does not matter: order of candidates, classes and rows, padding, the cache, the batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.model import world
from tomas.model.batch import Batch, collate, reordered
from tomas.model.config import NeuralConfig
from tomas.model.decode import Decoder
from tomas.model.example import PlanningExample, PlanningInput
from tomas.model.network import Outputs, PlannerNetwork
from tomas.model.tokenizer import TextTokenizer

NEAR = 1e-5


def _run(network: PlannerNetwork, tokenizer: TextTokenizer, *examples: PlanningExample) -> tuple[Batch, Outputs]:
    batch = collate(examples, tokenizer, network.config)
    with torch.inference_mode():
        return batch, network(batch)


def _apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max())


def permuted(example: PlanningExample, order: list[int]) -> PlanningExample:
    """The same example with its candidates in another order."""
    given = example.given
    moved = replace(
        given,
        candidates=tuple(given.candidates[k] for k in order),
        retrieval=given.retrieval[order],
    )
    steps = tuple(replace(step, tool=order.index(step.tool)) for step in example.target.steps)
    return replace(example, given=moved, target=replace(example.target, steps=steps))


@pytest.mark.parametrize("number", [1, 4])
def test_order_of_candidates(number: int, learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    example = world.examples()[number]
    order = [3, 5, 0, 4, 1, 2]
    _, one = _run(learned, tokenizer, example)
    _, two = _run(learned, tokenizer, permuted(example, order))
    assert _apart(one.tools[:, :, order].clamp_min(-100), two.tools.clamp_min(-100)) < NEAR * 10
    assert _apart(one.tools[:, :, order].softmax(-1), two.tools.softmax(-1)) < NEAR
    assert _apart(one.gate.softmax(-1), two.gate.softmax(-1)) < NEAR
    assert _apart(one.steps.edges.sigmoid(), two.steps.edges.sigmoid()) < NEAR
    assert _apart(one.modes.softmax(-1), two.modes.softmax(-1)) < NEAR


def test_order_of_classes(learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    example = world.examples()[1]
    given = example.given
    swapped = replace(
        given, classes=given.classes[::-1], capacity=given.capacity[::-1].copy(), curves=given.curves[::-1].copy()
    )
    modes = tuple(
        replace(step, modes=tuple(replace(mode, class_index=1 - mode.class_index) for mode in step.modes))
        for step in example.modes
    )
    _, one = _run(learned, tokenizer, example)
    _, two = _run(learned, tokenizer, replace(example, given=swapped, modes=modes))
    assert _apart(one.tools.softmax(-1), two.tools.softmax(-1)) < NEAR
    assert _apart(one.gate.softmax(-1), two.gate.softmax(-1)) < NEAR
    assert _apart(one.modes.softmax(-1), two.modes.softmax(-1)) < NEAR


def test_order_of_profile_rows(learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    example = world.examples()[0]
    cards = tuple(replace(card, profile=card.profile[::-1].copy()) for card in example.given.candidates)
    _, one = _run(learned, tokenizer, example)
    _, two = _run(learned, tokenizer, replace(example, given=replace(example.given, candidates=cards)))
    assert _apart(one.tools.softmax(-1), two.tools.softmax(-1)) < NEAR


def test_what_else_is_in_the_batch(learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    """Padding of every segment, and the texts of other requests, leave the logits as they are."""
    examples = world.examples()
    fewer = replace(examples[3], given=world.given("Summarize the report", "text/plain", (3, 4)))
    fewer = replace(fewer, target=replace(fewer.target, steps=(replace(fewer.target.steps[0], tool=0),)))
    _, alone = _run(learned, tokenizer, fewer)
    _, among = _run(learned, tokenizer, examples[4], fewer, examples[7])
    assert _apart(alone.tools[0, :1, :2], among.tools[1, :1, :2]) < NEAR * 10
    assert _apart(alone.gate[0, 0].softmax(-1), among.gate[1, 0].softmax(-1)) < NEAR
    assert _apart(alone.modes[0, 0].softmax(-1), among.modes[1, 0].softmax(-1)) < NEAR


@pytest.mark.parametrize("number", [0, 1, 4])
def test_step_decoding_is_teacher_forcing(number: int, learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    """One pass over the whole plan gives the logits that the cache gives step by step."""
    example = world.examples()[number]
    _, whole = _run(learned, tokenizer, example)
    with torch.inference_mode():
        decoder = Decoder(learned, tokenizer, example.given)
        for position, step in enumerate(example.target.steps):
            assert _apart(decoder.tools.clamp_min(-100), whole.tools[0, position].clamp_min(-100)) < NEAR * 10
            assert _apart(decoder.gate, whole.gate[0, position]) < NEAR * 10
            decoder.choose(step.tool)
        assert _apart(decoder.gate, whole.gate[0, len(example.target.steps)]) < NEAR * 10


def test_later_steps_are_not_seen(learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    example = world.examples()[4]
    shorter = replace(
        example, target=replace(example.target, steps=example.target.steps[:1]), modes=example.modes[:1]
    )
    _, long = _run(learned, tokenizer, example)
    _, short = _run(learned, tokenizer, shorter)
    assert _apart(long.gate[0, 1], short.gate[0, 1]) < NEAR * 10
    assert _apart(long.tools[0, :1].softmax(-1), short.tools[0, :1].softmax(-1)) < NEAR


def test_the_answer_never_stands_in_the_input(network: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    """Other targets on the same input: the first position says the same."""
    examples = world.examples()
    other = replace(examples[1], target=examples[0].target, modes=examples[0].modes)
    _, one = _run(network, tokenizer, examples[1])
    _, two = _run(network, tokenizer, other)
    assert _apart(one.tools[0, 0], two.tools[0, 0]) < NEAR
    assert _apart(one.gate[0, 0], two.gate[0, 0]) < NEAR


@pytest.mark.parametrize("cells", [1, 2, 7, 61, 3600])
def test_curves_of_any_length(cells: int, network: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    given: PlanningInput = world.given("Summarize the report", "text/plain", cells=cells)
    _, out = _run(network, tokenizer, replace(world.examples()[3], given=given))
    assert torch.isfinite(out.tools).all()


def test_the_timeline_is_read(learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    """Other curves, other vectors of the classes; the same curves on a finer grid, the same."""
    given = world.given("Summarize the report", "text/plain", cells=32)
    finer = replace(given, curves=np.repeat(given.curves, 2, axis=2), step_ms=given.step_ms / 2)
    busy = replace(given, curves=given.curves * 0.1)
    example = world.examples()[3]
    vectors = []
    for each in (given, finer, busy):
        batch = collate([replace(example, given=each)], tokenizer, learned.config)
        with torch.inference_mode():
            vectors.append(learned.panels(batch.prompt, batch.long_tokens, batch.short_tokens).classes)
    assert _apart(vectors[0], vectors[1]) < 1e-4
    assert _apart(vectors[0], vectors[2]) > 1e-2


def test_float32_on_a_processor_is_deterministic(config: NeuralConfig, tokenizer: TextTokenizer) -> None:
    def once() -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(7)
        network = PlannerNetwork(config)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        rng = np.random.default_rng(7)
        for _ in range(2):
            loss = network.loss(collate(world.examples(), tokenizer, config, rng=rng))["total"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.detach(), network.start.detach()

    first, second = once(), once()
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_orders_are_topological_and_bindings_follow() -> None:
    example = world.examples()[4]
    with pytest.raises(ValueError, match="topological"):
        reordered(example, [1, 0, 2])
    assert reordered(example, [0, 1, 2]) == example
