"""Tools judged by rarity and text, and plans that nobody has asked for before."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tomas.model.example import ToolCard
from tomas.model.prior import load_prior
from tomas.model.prior_catalogue import Catalogue
from tomas.model.prior_memory import KnownRequest, PlanMemory
from tomas.model.prior_plans import Plans, fit_temperature
from tomas.model.prior_scorer import ToolScorer, tool_features

KNOWN = [("query", "book"), ("query", "book"), ("query", "pay"), ("cancel", "query"), ("notes", "notes")]


def test_tools_and_links_add_up_from_plans_and_habits_count_requests() -> None:
    plans = Plans.of(KNOWN, ["query", "map"])
    assert plans.tool_names == ["query", "book", "pay", "cancel", "notes", "map"]
    tools, links, chances = plans.evidence(np.array([[0.5, 0.3, 0.0, 0.2]]))
    np.testing.assert_allclose(tools, [[0.8, 0.5, 0.3, 0.0, 0.2, 0.0]])
    np.testing.assert_allclose(links, [[0.5, 0.3, 0.0, 0.2]])
    np.testing.assert_allclose(chances, [[0.5, 0.3, 0.0, 0.2]])
    habits = plans.habits()
    assert habits.counts.tolist() == [4, 2, 1, 1, 1, 0]
    assert habits.before[0, 1] == 2
    assert habits.before[1, 0] == 0
    assert habits.place[1] > 0.5 > habits.place[3]
    without = plans.habits(np.array([False, False, True, True, True]))
    assert without.counts.tolist() == [2, 0, 1, 1, 1, 0]
    assert without.plans.tolist() == [False, True, True, True]


def test_likely_tools_that_were_never_asked_for_together_are_composed_in_their_usual_order() -> None:
    plans = Plans.of(KNOWN)
    evidence = plans.evidence(np.array([[0.1, 0.0, 0.1, 0.0]]))
    evidence = evidence._replace(tools=np.array([[0.02, 0.9, 0.01, 0.95, 0.01]]))
    habits = plans.habits()
    names, worths = plans.candidates(evidence, habits)[0]
    assert names[int(worths.argmax())] == ("cancel", "book")
    assert len({frozenset(plan) for plan in names}) == len(names)
    recall = plans.recalls(evidence, plans.candidates(evidence, habits), 0.2)[0]
    assert recall.plans[0][0] == ("cancel", "book")
    assert sum(weight for _, weight in recall.plans) <= 1.0 + 1e-9
    assert recall.tools["book"] > 0 > recall.tools["query"]


def test_a_plan_that_only_other_requests_had_is_no_known_one() -> None:
    plans = Plans.of(KNOWN)
    evidence = plans.evidence(np.array([[0.9, 0.0, 0.0, 0.0]]))
    worths = plans.worths(evidence, plans.habits(np.array([False, False, True, True, True])))
    assert worths[0].argmax() != 0
    assert worths[0, 0] == -np.inf


def test_the_temperature_is_low_where_the_worthiest_plan_is_right_and_high_where_it_is_not() -> None:
    plans = Plans.of(KNOWN)
    evidence = plans.evidence(np.eye(4)[[0, 1, 2, 3]])
    candidates = plans.candidates(evidence, plans.habits())
    sure = fit_temperature(candidates, plans.names)
    unsure = fit_temperature(candidates, [plans.names[k] for k in (1, 0, 3, 2)])
    assert sure < unsure
    assert fit_temperature(candidates, [("unheard", "of")] * 4) == 1.0


def test_the_catalogue_finds_tools_by_text_by_name_and_by_the_likeness_of_tokens() -> None:
    tools = {"sun_times": "when the sun rises and sets", "book_table": "reserves a table at a restaurant"}
    plain = Catalogue.of(tools)
    assert plain.likeness("reserve a table").argmax(axis=0).tolist() == [1, 1]
    east, north = np.eye(2, dtype=np.float32)
    states = [np.stack([east, north]), np.stack([-east])]
    full = Catalogue.of(tools, states, np.zeros(2, np.float32))
    told = full.likeness("zzz", np.stack([2.0 * east]))
    np.testing.assert_allclose(told[:, 2], [0.5, -1.0])
    assert not told[:, :2].any()
    again = Catalogue.from_arrays(full.names, full.arrays())
    np.testing.assert_array_equal(again.likeness("a table", states[0]), full.likeness("a table", states[0]))
    with pytest.raises(ValueError, match="catalogue"):
        Catalogue.from_arrays(full.names, full.arrays() | {"starts": np.array([0, 3])})


def test_the_scorer_learns_that_rare_tools_go_by_their_text() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([50.0, 50.0, 0.0, 1.0])
    right = np.zeros((300, 4))
    right[np.arange(300), rng.integers(0, 4, 300)] = 1.0
    likeness = (0.2 + 0.5 * right[..., None] * (counts < 5)[:, None]).astype(np.float32)
    likeness += rng.normal(0.0, 0.02, likeness.shape).astype(np.float32)
    chances = np.where(counts >= 5, 0.1 + 0.8 * right, 0.05)
    features = tool_features(chances, counts, likeness)
    judged = ToolScorer.fit(features[:200], right[:200]).chances(features[200:])
    assert (judged.argmax(axis=1) == right[200:].argmax(axis=1)).mean() > 0.95
    assert (chances[200:, 2] < 0.1).all()
    np.testing.assert_array_equal(judged, ToolScorer.fit(features[:200], right[:200]).chances(features[200:]))


def test_a_tool_that_no_known_plan_holds_is_found_by_its_text(tmp_path: Path) -> None:
    subjects = ["alarm", "train", "flight", "hotel", "parcel", "lamp", "oven", "garden", "piano", "museum"]
    subjects += ["parking", "invoice", "camera", "ticket"]
    cards = [ToolCard(name, f"{name} tool: everything about a {name}") for name in subjects]
    known = [
        KnownRequest(f"{verb} the {a} and the {b}", (a, b))
        for verb in ("Change", "Check", "Order")
        for a, b in pairwise(subjects[:-1])
    ]
    memory, _ = PlanMemory.fit(known, cards)
    task = "Check the ticket and the alarm"
    scores = memory.scores(task, cards)
    assert {cards[k].name for k in np.argsort(-scores)[:2]} == {"ticket", "alarm"}
    assert all("ticket" not in item.plan for item in known)
    first = memory.precedents(task, cards)[0]
    assert {cards[k].name for k in first.tools} == {"ticket", "alarm"}
    files = {name: tmp_path / name for name in memory.files()}
    for name, content in memory.files().items():
        files[name].write_bytes(content)
    assert load_prior(files).precedents(task, cards) == memory.precedents(task, cards)
