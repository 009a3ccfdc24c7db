"""What the model says of its plan: every step once, nothing before what it reads, nothing besides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from tests.unit.neural.conftest import KNOWN
from tomas.config import NeuralSettings
from tomas.model.drafted import DraftedStep
from tomas.model.example import PlanningInput, PortCard, Source, ToolCard
from tomas.neural.planner import NeuralPlanner
from tomas.neural.wording import Wording
from tomas.schema import PlanRequest
from tomas.tools.registry import Registry

NAMES = ("resize", "classify; all.", "说明", "re_size", "write report")
CARDS = tuple(
    ToolCard(name, name, (PortCard("in", "t"),), tuple(PortCard(f"{port}_{n}", "t") for port in "ab"[: n % 3]))
    for n, name in enumerate(NAMES)
)


def request(language: str) -> PlanningInput:
    return PlanningInput(
        "t", "zh" if language == "zh" else "en", CARDS, np.zeros(len(CARDS), np.float32), (("my_files", "t", None),)
    )


@st.composite
def plans(draw: st.DrawFn) -> list[DraftedStep]:
    steps: list[DraftedStep] = []
    for _ in range(draw(st.integers(1, 6))):
        counts = [len(CARDS[step.tool].outputs) for step in steps]
        made = [Source(number, port) for number, count in enumerate(counts) for port in range(count)]
        read = draw(st.lists(st.sampled_from([Source(-1, 0), *made]), max_size=3, unique=True))
        parents = tuple(sorted({source.step for source in read if source.step >= 0}))
        steps.append(DraftedStep(draw(st.integers(0, len(CARDS) - 1)), 1.0, parents, (tuple(read),)))
    return steps


@drawn(plans(), st.sampled_from(["en", "zh"]), st.data())
def test_every_step_is_told_of_once_and_after_those_it_waits_for(
    steps: list[DraftedStep], language: str, data: st.DataObject
) -> None:
    wording = Wording(request(language), steps)
    told: list[int] = []
    while clauses := wording.next_clauses(told):
        texts = sorted(clauses)
        assert not any(b.startswith(a) for a in texts for b in texts if a != b)
        clause = data.draw(st.sampled_from(texts))
        assert set(steps[clauses[clause]].parents) <= set(told)
        told.append(clauses[clause])
    assert sorted(told) == list(range(len(steps)))


def test_clauses_say_what_is_read_and_made() -> None:
    steps = [DraftedStep(1, 1.0, (), ((Source(-1, 0),),)), DraftedStep(2, 1.0, (0,), ((Source(0, 0),),))]
    english, chinese = Wording(request("en"), steps), Wording(request("zh"), steps)
    assert english.next_clauses([]) == {"classify all makes a 1 from my files; ": 0, "classify all makes a 1; ": 0}
    assert chinese.next_clauses([0]) == {"再用 说明 由a 1得到a 2、b 2。": 1, "再用 说明 得到a 2、b 2。": 1}
    assert english.next_clauses([0, 1]) == {}


@pytest.mark.parametrize("number", range(5))
def test_the_model_speaks_of_its_own_steps_alone(number: int, checkpoint: Path, registry: Registry) -> None:
    task, inputs, _ = KNOWN[number]
    planner = NeuralPlanner(NeuralSettings(checkpoint=checkpoint))
    draft = planner.draft(PlanRequest(task=task, inputs=inputs, allow_unavailable=True), registry)
    assert draft.tell is not None
    said = draft.tell()
    clauses = [clause for clause in said.replace("；", ";").rstrip(".。").split(";") if clause]
    assert len(clauses) == len(draft.steps)
    for step in draft.steps:
        assert any(step.tool in clause for clause in clauses)
    assert draft.tell() == said
