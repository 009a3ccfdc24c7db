"""Limits: bounded time and memory for any task, and examples that do not fit are named."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.model import world
from tomas.errors import ConfigError, DataError
from tomas.model.batch import collate
from tomas.model.config import load_config, parse_config, shipped_configs
from tomas.model.decode import decode
from tomas.model.example import PlanningTarget, Source, StepTarget
from tomas.model.layout import layout_of
from tomas.model.network import PlannerNetwork
from tomas.model.prompt import narrow, warp_curve
from tomas.model.task_text import task_tokens
from tomas.model.tokenizer import TextTokenizer

STRANGE = [
    "x" * 200_000,
    "Detect objects. " * 20_000,
    "检测物体" * 30_000,
    "\x00\x01\ufffd" * 2000,
    "🙂" * 5000,
    "Опиши картинки, пожалуйста",
    " ",
    "a",
]


@pytest.mark.parametrize("task", STRANGE, ids=range(len(STRANGE)))
def test_any_task_ends_in_a_plan_or_a_refusal_in_bounded_time(
    task: str, learned: PlannerNetwork, tokenizer: TextTokenizer
) -> None:
    given = replace(world.given("-", "image/png"), task=task)
    batch = collate([replace(world.examples()[0], given=given)], tokenizer, learned.config)
    assert layout_of(batch.prompt, 1).length <= learned.config.model.limits.max_sequence
    begun = time.process_time()
    drafted = decode(learned, tokenizer, given)
    assert time.process_time() - begun < 5.0
    assert drafted.refuse != bool(drafted.steps)
    assert len(drafted.steps) <= learned.config.model.limits.max_steps


def test_of_a_long_task_head_tail_and_what_speaks_of_the_tools_remain(tokenizer: TextTokenizer) -> None:
    filler = "Dear colleagues, the weather was nice and we had lunch together. "
    task = "Hello there. " + filler * 20 + "Please caption the pictures now. " + filler * 20 + "Best wishes."
    cut = task_tokens(task, tokenizer, 60, [card.text for card in world.TOOLS])
    kept = "".join(task[place] for place in sorted({place for a, b in cut.offsets for place in range(a, b)}))
    assert len(cut.ids) == 60
    assert kept.startswith("Hello")
    assert kept.endswith("wishes.")
    assert "caption" in kept


def test_spans_survive_the_cut(tokenizer: TextTokenizer) -> None:
    task = "Scale it " + "very " * 3000 + "much, 7 times"
    cut = task_tokens(task, tokenizer, 40, [])
    begin, end = cut.span(task.index("7"), task.index("7") + 1)
    assert end - begin == 1
    assert task[slice(*cut.offsets[begin])].strip() == "7"
    assert cut.span(5, 5) == (0, 0)


def test_more_steps_than_asked_for_are_never_drafted(learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    given = world.examples()[4].given
    assert len(decode(learned, tokenizer, given, max_steps=2).steps) == 2
    assert decode(learned, tokenizer, given, max_steps=0).refuse


def test_a_tool_whose_input_nothing_makes_is_not_chosen(learned: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    """The task asks for speech; only pictures are given, so speech recognition has no source."""
    given = replace(world.given("Transcribe the interview and translate it into French", "image/png"))
    drafted = decode(learned, tokenizer, given)
    names = [world.TOOLS[step.tool].name for step in drafted.steps]
    assert "speech_recognition" not in names
    for number, step in enumerate(drafted.steps):
        assert all(step.bindings), "every required port is bound"
        assert all(parent < number for parent in step.parents)


@pytest.mark.parametrize(
    ("target", "what"),
    [
        (PlanningTarget((StepTarget(99),)), "no candidate 99"),
        (PlanningTarget((StepTarget(0, (1,)), StepTarget(1))), "does not stand before it"),
        (PlanningTarget((StepTarget(0),), refuse=True), "refuses and has steps"),
        (PlanningTarget(tuple(StepTarget(0) for _ in range(9))), "9 steps"),
        (PlanningTarget((StepTarget(0, (), ((Source(-1, 4),),)),)), "is no source"),
    ],
)
def test_an_example_that_contradicts_itself_is_named(
    target: PlanningTarget, what: str, tokenizer: TextTokenizer, network: PlannerNetwork
) -> None:
    example = replace(world.examples()[0], target=target, modes=(), id="odd")
    with pytest.raises(DataError, match="odd") as caught:
        collate([example], tokenizer, network.config)
    assert what in caught.value.what


def test_arrays_that_disagree_are_named(tokenizer: TextTokenizer, network: PlannerNetwork) -> None:
    example = world.examples()[0]
    short = replace(example.given, retrieval=np.zeros(2, np.float32))
    none = replace(example.given, candidates=(), retrieval=np.zeros(0, np.float32))
    flat = replace(example.given, capacity=np.zeros((1, 4), np.float32))
    for given, what in ((short, "retrieval scores"), (none, "no candidates"), (flat, "capacity")):
        with pytest.raises(DataError, match=what):
            collate([replace(example, given=given, target=PlanningTarget(refuse=True), modes=())], tokenizer,
                    network.config)  # fmt: skip


def test_the_best_candidates_remain_in_their_order() -> None:
    given = replace(world.given("x", "image/png"), retrieval=np.array([0, 5, 1, 5, 2, 9], np.float32))
    kept = narrow(given, 3)
    assert [card.name for card in kept.candidates] == [world.TOOLS[k].name for k in (1, 3, 5)]
    assert kept.retrieval.tolist() == [5.0, 5.0, 9.0]
    assert narrow(given, 6) is given


def test_warped_curves_keep_their_mean_and_look_closer_at_the_beginning() -> None:
    curve = np.linspace(0.0, 1.0, 500, dtype=np.float32)[None]
    warped = warp_curve(curve, 16)
    widths = np.diff(np.linspace(0, 1, 17) ** 2)
    assert float((warped * widths).sum()) == pytest.approx(0.5, abs=1e-3)
    assert np.all(np.diff(warped[0]) > 0)
    assert warped[0, 1] - warped[0, 0] < warped[0, 15] - warped[0, 14]
    assert warp_curve(np.full((2, 4, 1), 0.3, np.float32), 8) == pytest.approx(0.3)


def test_shipped_configurations_load_under_the_founding_names() -> None:
    assert shipped_configs() == ["qwen2_5_7b", "tiny"]
    large = load_config("qwen2_5_7b")
    assert large.model.backbone.name == "Qwen/Qwen2.5-7B-Instruct"
    assert (large.model.tool_encoder.d_tool, large.model.resource_mlp.d_resource) == (768, 256)
    assert (large.training.strategy, large.runtime.naive_mode.enabled) == ("lora", False)
    assert (large.training.lora.r, large.training.lora.alpha, large.training.lora.targets) == (
        16, 32, ("q_proj", "v_proj"),
    )  # fmt: skip
    assert load_config("tiny").model.limits.max_sequence == 128


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"model": {"backbone": {"nmae": "x"}}}, "model.backbone.nmae"),
        ({"training": {"strategy": "magic"}}, "training.strategy"),
        ({"model": {"limits": {"max_sequence": 60}}}, "model.limits.max_sequence"),
        ({"model": {"tool_set": {"d_set": 30}}}, "model.tool_set.d_set"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate"),
    ],
)
def test_a_wrong_field_is_named(data: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(data, "my.yaml")
    assert field in str(caught.value)
    assert "my.yaml" in str(caught.value)


def test_a_missing_configuration_offers_those_shipped() -> None:
    with pytest.raises(ConfigError, match="qwen2_5_7b"):
        load_config("nothing.yaml")
