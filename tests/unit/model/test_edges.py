"""Edges from their probabilities."""

from __future__ import annotations

from itertools import combinations, product

from hypothesis import assume, given
from hypothesis import strategies as st

from tomas.model.edges import likely_edges


def matrix(values: list[float], steps: int = 3) -> list[list[float]]:
    """A lower triangle, row by row."""
    rest = iter(values)
    return [[next(rest) if j < s else 0.0 for j in range(steps)] for s in range(steps)]


TYPED, BLIND = [False] * 3, [True] * 3


def test_between_typed_tools_an_edge_is_what_is_likelier_than_not() -> None:
    assert likely_edges(matrix([0.9, 0.45, 0.6]), TYPED) == [[], [0], [1]]
    assert likely_edges(matrix([0.4, 0.4, 0.4]), [True, False, False]) == [[], [], []]


def test_where_nothing_is_typed_and_nothing_is_likely_the_likeliest_are_taken() -> None:
    assert likely_edges(matrix([0.4, 0.1, 0.4]), BLIND) == [[], [0], [1]]
    assert likely_edges(matrix([0.98, 0.97, 0.03]), BLIND) == [[], [0], [0]]


def test_where_no_edge_at_all_is_likeliest_untyped_steps_are_done_in_their_order() -> None:
    assert likely_edges(matrix([0.02, 0.01, 0.03]), BLIND) == [[], [0], [1]]
    assert likely_edges(matrix([0.02, 0.01, 0.03]), [True, False, True]) == [[], [], [0]]


def test_a_plan_without_steps_and_one_of_a_single_step() -> None:
    assert likely_edges([], []) == []
    assert likely_edges([[0.0]], [True]) == [[]]


def expected_f1(chosen: frozenset[int], values: list[float]) -> float:
    """Over all graphs, edges independent of each other."""
    total = 0.0
    for graph in product((0, 1), repeat=len(values)):
        right = {i for i, there in enumerate(graph) if there}
        chance = 1.0
        for there, value in zip(graph, values, strict=True):
            chance *= value if there else 1.0 - value
        total += chance * (2 * len(chosen & right) / (len(chosen) + len(right)) if chosen or right else 1.0)
    return total


@given(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6))
def test_what_is_taken_is_nearly_the_best_in_expected_f1(values: list[float]) -> None:
    """Against all choices of an edge or more; the sum stands for the number of edges, so it may fall short."""
    assume(sum(values) > 2.0)  # no edge at all is not the best guess then
    parents = likely_edges(matrix(values, 4), [True] * 4)
    places = {(s, j): i for i, (s, j) in enumerate((s, j) for s in range(4) for j in range(s))}
    taken = frozenset(places[s, j] for s, row in enumerate(parents) for j in row)
    best = max(
        expected_f1(frozenset(chosen), values) for size in range(1, 7) for chosen in combinations(range(6), size)
    )
    assert expected_f1(taken, values) >= best - 0.12
