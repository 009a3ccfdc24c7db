"""The sketch of a plan by retrieval: right tools in an order that can run, and nothing where nothing is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from tomas.config import Settings
from tomas.model.choosable import Choosable
from tomas.model.example import PlanningInput, PortCard, Precedent, ToolCard
from tomas.model.prior import LexicalPrior
from tomas.neural.cards import tool_card
from tomas.neural.sketch import left_out, sketch, with_precedents
from tomas.tools.registry import Registry

CARDS = tuple(tool_card(tool) for tool in Registry.load(Settings().data.tools_path))


def _request(task: str, *inputs: tuple[str, str, float | None]) -> PlanningInput:
    return PlanningInput(task, "en", CARDS, np.zeros(len(CARDS), np.float32), inputs)


def _names(plan: Precedent) -> list[str]:
    return [CARDS[k].name for k in plan.tools]


@pytest.mark.parametrize(
    ("task", "tools"),
    [
        ("Detect objects, then enlarge the images", ["object_detection", "super_resolution"]),
        ("先进行语音识别，然后翻译成英文", ["speech_recognition", "machine_translation"]),
        ("Summarize the letters", ["text_summarization"]),
    ],
)
def test_clauses_name_tools_in_their_order(task: str, tools: list[str]) -> None:
    assert _names(sketch(_request(task))) == tools


def test_a_task_that_names_nothing_has_an_empty_sketch() -> None:
    assert sketch(_request("Book me a table for two tonight")).tools == ()


def test_steps_are_put_where_their_inputs_are() -> None:
    """Said in the wrong order: the transcript cannot be made before the sound is taken from the video."""
    given = _request("Transcribe speech, after the audio extraction from the video", ("clip", "video/mp4", None))
    assert _names(sketch(given))[:2] == ["audio_extraction", "speech_recognition"]


def test_what_is_clearly_named_and_not_planned_is_told_with_the_words_that_name_it() -> None:
    given = _request("Detect objects, tell me more about the pictures, then enlarge the images")
    assert "super_resolution" in _names(sketch(given))
    (item,) = left_out(given, [CARDS.index(card) for card in CARDS if card.name == "object_detection"])
    assert CARDS[item.tool].name == "super_resolution"
    assert "enlarge the images" in item.text
    assert left_out(given, range(len(CARDS))) == []
    assert left_out(_request("Tell me more"), []) == []


def test_plans_of_similar_requests_go_first() -> None:
    class Known(LexicalPrior):
        def precedents(self, task: str, cards: object) -> tuple[Precedent, ...]:
            return (Precedent((2,), 0.7),)

    given = _request("Summarize the letters")
    assert with_precedents(Known(), given).precedents == (Precedent((2,), 0.7),)
    assert with_precedents(LexicalPrior(), given).precedents == (sketch(given),)


def test_a_card_without_aliases_is_found_by_its_description() -> None:
    card = ToolCard("bleach", "bleach. Takes colours out of photographs, and leaves grey. 去色",
                    (PortCard("files", "image/*"),), (PortCard("results", "image/png"),))  # fmt: skip
    given = replace(_request("Bleach the photographs"), candidates=(card,), retrieval=np.zeros(1, np.float32))
    assert sketch(given).tools == (0,)


@settings(max_examples=60, deadline=None)
@drawn(task=st.text(max_size=80), media=st.sampled_from(["image/png", "text/plain", "video/mp4", "application/x"]))
def test_each_tool_once_and_runnable_ones_first(task: str, media: str) -> None:
    given = _request(task + " detect objects, transcribe speech, report; 翻译", ("data", media, None))
    tools = sketch(given).tools
    assert len(set(tools)) == len(tools)
    choosable = Choosable(given)
    for place, tool in enumerate(tools):
        free = choosable.after(tools[:place])
        assert free[tool] or not any(free[later] for later in tools[place:])
