"""The figures of plans mean what their definitions say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tomas.evaluation.answers import Answer
from tomas.evaluation.cases import Case
from tomas.evaluation.plans import calibration, f1, paired_error, plan_metrics, right_steps
from tomas.evaluation.recall import recall_metrics
from tomas.evaluation.warned import warning_metrics
from tomas.model.example import PlanningInput, PortCard, ToolCard

A_B = frozenset({("a", "b")})
NAMED = ("bleach", "dye", "iron")


def case(*tools: str, edges: frozenset[tuple[str, str]] = frozenset(), unseen: str = "") -> Case:
    cards = tuple(ToolCard(name, name) for name in "abcd")
    given = PlanningInput("do it", "en", cards, np.zeros(4, np.float32))
    return Case("x", given, tools, edges, frozenset(unseen))


def answer(
    *tools: str, edges: frozenset[tuple[str, str]] = frozenset(), sure: tuple[float, ...] | None = None
) -> Answer:
    return Answer(tools, edges, (0.9,) * len(tools) if sure is None else sure, 0.1)


def test_f1_of_sets() -> None:
    assert f1("abc", "bcd") == pytest.approx(2 / 3)
    assert f1("", "") == 1.0
    assert f1("a", "") == 0.0


def test_plans_refusals_and_edges_are_counted_apart() -> None:
    pairs = [
        (case("a", "b", edges=A_B), answer("a", "b", edges=A_B)),
        (case("a", "b", edges=A_B), answer("a", "b")),
        (case("a"), answer("a", "c")),
        (case("a"), answer()),
        (case(), answer()),
        (case(), answer("d")),
    ]
    found = plan_metrics(pairs)
    assert found["requests"] == 6
    assert found["node_f1"] == pytest.approx((1 + 1 + 2 / 3 + 0) / 4)
    assert found["edge_f1"] == pytest.approx((1 + 0 + 1 + 1) / 4)
    assert found["exact_set"] == pytest.approx(2 / 4)
    assert found["exact_plan"] == pytest.approx(1 / 4)
    assert found["tool_accuracy"] == pytest.approx(5 / 7)
    assert found["refusal_precision"] == pytest.approx(1 / 2)
    assert found["refusal_recall"] == pytest.approx(1 / 2)
    assert found["confidence_error"] == pytest.approx(0.9 - 5 / 7)


def test_nothing_to_measure_is_none_and_not_zero() -> None:
    found = plan_metrics([(case("a"), answer("a"))])
    assert found["refusal_precision"] is None
    assert found["refusal_recall"] is None
    assert plan_metrics([(case(), answer())])["node_f1"] is None


def test_a_tool_chosen_before_what_it_waits_for_is_wrong() -> None:
    assert right_steps(case("a", "b", edges=A_B), answer("b", "a", "c")) == [False, True, False]


def test_chance_in_differences_is_told_from_requests_that_ask_for_the_same() -> None:
    def said(language: str, *hits: bool) -> list[tuple[Case, Answer]]:
        return [
            (replace(case("a"), id=f"{language}-{number}"), answer("a" if hit else "b"))
            for number, hit in enumerate(hits)
        ]

    same = paired_error(said("en", True, False, True, False), said("zh", True, False, True, False))
    assert same["node_f1"] == 0.0
    other = paired_error(said("en", True, False, True, False), said("zh", False, True, True, False))
    assert other["exact_set"] == pytest.approx(1.96 * (2 / 3) ** 0.5 / 2)
    assert paired_error(said("en", True), said("zh", True))["node_f1"] is None


def test_calibration_bins() -> None:
    pairs = [(case("a"), answer("a", "b", sure=(0.95, 0.35))), (case("b"), answer("b", sure=(0.31,)))]
    low, high = calibration(pairs)
    assert (low.count, low.right, high.count, high.right) == (2, 0.5, 1, 1.0)
    assert low.confidence == pytest.approx(0.33)


def test_recall_of_tools_that_training_showed_and_others() -> None:
    pairs = [
        (case("a", "b", unseen="b"), answer("a")),
        (case("c"), answer("d")),
        (case("e", unseen="e"), answer("d")),
    ]
    table = recall_metrics(pairs, [{"a": 1, "b": 3}, {"c": 2}, {"e": 5}])
    assert (table["seen"]["tools"], table["seen"]["planned"], table["seen"]["top_n"]) == (2, 0.5, 0.5)
    assert (table["unseen"]["shown"], table["unseen"]["planned"], table["unseen"]["top_n"]) == (0.5, 0.0, 0.0)
    assert table["unseen"]["top_3"] == 0.5
    assert table["difference"]["top_1"] == pytest.approx(0.5)


def test_warnings_are_held_against_what_was_needed() -> None:
    cards = tuple(ToolCard(name, f"{name}. {name}", outputs=(PortCard("out", "text/plain"),)) for name in NAMED)
    given = PlanningInput("Bleach it, dye it", "en", cards, np.zeros(3, np.float32))
    both, one = (Case("x", given, tools, frozenset()) for tools in (("bleach", "dye"), ("bleach",)))
    table = warning_metrics(
        [(both, answer("bleach")), (one, answer("bleach")), (both, answer("bleach", "dye")), (both, answer())]
    )
    assert table["warned"] == {"plans": 2.0, "wrong": 0.5, "needed": 0.5}
    assert table["others"] == {"plans": 1.0, "wrong": 0.0, "needed": None}
    assert warning_metrics([])["warned"] == {"plans": 0.0, "wrong": None, "needed": None}
