"""Steps that are guessed and run together with the next one: the plan is the one that single steps give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.unit.model import world
from tomas.model.batch import END, REFUSE, STEP
from tomas.model.choosable import Choosable
from tomas.model.config import NeuralConfig
from tomas.model.decode import Decoder, decode
from tomas.model.example import PlanningInput, PortCard, Precedent, ToolCard
from tomas.model.network import PlannerNetwork
from tomas.model.plan_tensors import Steps, build_plan_tensors
from tomas.model.reading import Reading
from tomas.model.task_text import TaskTokens
from tomas.model.texts import TextTable
from tomas.model.tokenizer import TextTokenizer
from tomas.schema import media_type_matches

MEDIA = ("image/png", "image/*", "text/plain", "*/*")
TASK = st.sampled_from(["Enlarge the pictures", "把录音转成文字", "summarize, translate, then detect", "z"])
TASK_TOKENS = TaskTokens([0], [(0, 1)])


def _ports(kinds: list[str], *, required: bool) -> tuple[PortCard, ...]:
    return tuple(PortCard(f"p{number}", media, required) for number, media in enumerate(kinds))


@st.composite
def requests(draw: st.DrawFn) -> PlanningInput:
    """Any tools: typed or not, of which some can only follow others; with or without inputs and precedents."""
    kinds = st.lists(st.sampled_from(MEDIA), max_size=2)
    count = draw(st.integers(1, 8).map(lambda k: 9 - k))
    cards = tuple(
        ToolCard(
            f"tool{k}",
            draw(st.sampled_from(world.TOOLS)).text,
            _ports(draw(kinds), required=draw(st.integers(0, 3)) > 2),
            _ports([media for media in draw(kinds) if "*" not in media], required=True),
        )
        for k in range(count)
    )
    order = st.lists(st.integers(0, count - 1), max_size=6, unique=True).map(tuple)
    weights = st.floats(0.0, 0.3)
    inputs = [(f"i{n}", media, None) for n, media in enumerate(draw(kinds)) if "*" not in media]
    return PlanningInput(
        draw(TASK), "en", cards,
        np.array([draw(st.floats(-3, 3)) for _ in cards], np.float32),
        inputs=tuple(inputs),
        precedents=tuple(draw(st.lists(st.builds(Precedent, order, weights), max_size=3))),
    )  # fmt: skip


def _eager(config: NeuralConfig, seed: int) -> PlannerNetwork:
    """An untrained network whose heads have opinions, and choose many steps before the end."""
    torch.manual_seed(seed)
    network = PlannerNetwork(config).eval()
    with torch.no_grad():
        for head in (network.pointer, network.gate):
            for parameter in head.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        network.gate.layers[-1].bias.copy_(torch.tensor([0.0, 2.0 + seed % 3, 0.0, -1.0]))  # type: ignore[operator]
    return network


def _sure(reading: Reading) -> bool:
    """Whether rounding in the last bits changes nothing: the best tool and the gate lead clearly."""
    top = reading.tools.sort(descending=True).values[:2]
    gate = reading.gate[[STEP, END, REFUSE]].sort().values
    return float(gate.diff().min()) > 1e-4 and (len(top) == 1 or float(top[0] - top[1]) > 1e-4)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    asked=requests(),
    seed=st.integers(0, 50),
    repeats=st.booleans(),
    most=st.integers(0, 6).map(lambda n: 6 - n),
    data=st.data(),
)
def test_any_network_plans_the_same_whatever_is_guessed(
    tokenizer: TextTokenizer,
    config: NeuralConfig,
    asked: PlanningInput,
    seed: int,
    repeats: bool,
    most: int,
    data: st.DataObject,
) -> None:
    network = _eager(config, seed)
    numbers = st.integers(0, len(asked.candidates) - 1)
    with torch.inference_mode():
        single = Decoder(network, tokenizer, asked, repeats=repeats)
        # Half of the beginnings are right as far as they go: nothing else would be kept.
        right = Decoder(network, tokenizer, asked, repeats=repeats)
        right.plan(most, ahead=0)
        kept = right.chosen[: data.draw(st.integers(0, most))]
        begin = [*kept, *data.draw(st.lists(numbers, max_size=most - len(kept)))]
        guessing = Decoder(network, tokenizer, asked, repeats=repeats, begin=begin)
        alone = single.plan(most, ahead=0)
        assume(all(_sure(reading) for reading in (*alone, single.present)))
        together = guessing.plan(most, ahead=1 + seed % 6)
        assert guessing.chosen == single.chosen
        assert guessing.passes <= single.passes == 1 + len(single.chosen)
        assert guessing.chosen[: len(kept)] == kept
        torch.testing.assert_close(guessing.first.gate, single.first.gate, atol=1e-4, rtol=1e-4)
        for one, two in zip((*alone, single.present), (*together, guessing.present), strict=True):
            torch.testing.assert_close(two.tools, one.tools, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(two.gate, one.gate, atol=1e-4, rtol=1e-4)
        # What comes after stands on the same cache.
        ends = [item.feed(network.end_embeds(1)) for item in (single, guessing)]
        torch.testing.assert_close(ends[1], ends[0], atol=1e-4, rtol=1e-4)


def test_guesses_spare_passes_and_change_nothing(learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    for example in world.examples():
        alone, together = (decode(learned, tokenizer, example.given, ahead=ahead) for ahead in (0, 6))
        assert alone.passes == 1 + len(example.target.steps)
        assert together.passes <= alone.passes
        assert [replace(step, confidence=0.0) for step in together.steps] == [
            replace(step, confidence=0.0) for step in alone.steps
        ]
    chain = tuple(step.tool for step in world.examples()[4].target.steps)
    known = replace(world.examples()[4].given, precedents=(Precedent(chain, 0.9),))
    assert decode(learned, tokenizer, known).passes == 1
    assert decode(learned, tokenizer, known, ahead=0).passes == 1 + len(chain)


def test_the_same_request_gives_the_same_bits(learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    asked = world.examples()[4].given
    assert decode(learned, tokenizer, asked) == decode(learned, tokenizer, asked)


@settings(max_examples=200)
@given(asked=requests(), data=st.data(), repeats=st.booleans())
def test_a_tool_may_follow_where_its_inputs_are_at_hand(
    asked: PlanningInput, data: st.DataObject, repeats: bool
) -> None:
    numbers = st.integers(0, len(asked.candidates) - 1)
    steps = tuple(data.draw(st.lists(numbers, max_size=5, unique=not repeats)))
    at_hand = {media for _, media, _ in asked.inputs}
    at_hand |= {port.media_type for tool in steps for port in asked.candidates[tool].outputs}
    for k, may in enumerate(Choosable(asked, repeats=repeats).after(steps)):
        wanted = [port.media_type for port in asked.candidates[k].inputs if port.required]
        served = all(any(media_type_matches(media, kind) for media in at_hand) for kind in wanted)
        assert may == ((served or not asked.inputs) and (repeats or k not in steps))
    plan = Steps(steps)
    tensors = build_plan_tensors([asked], [plan], [TASK_TOKENS], TextTable(8), max_values=4, repeats=repeats)
    for count in range(len(steps) + 1):
        free = Choosable(asked, repeats=repeats).after(steps[:count])
        assert tensors.selectable[0, count].tolist() == free
