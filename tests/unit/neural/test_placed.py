"""Which modes are proposed: the head's likeliest, unless steps would end earlier in others."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.model.example import ModeCard
from tomas.neural.placed import mode_problem, placed_modes
from tomas.schedule import Capacity, OnePass, Problem

CAPACITY = [[4.0, 8.0, 0.0, 0.0], [2.0, 8.0, 0.0, 0.0]]
WIDE = ModeCard(0, (4.0, 1.0, 0.0, 0.0), 90.0, 100.0, 4.0)
NARROW = ModeCard(0, (2.0, 1.0, 0.0, 0.0), 140.0, 150.0, 3.0)
OTHER = ModeCard(1, (2.0, 1.0, 0.0, 0.0), 190.0, 200.0, 1.0)


def bins(free: float = 1.0, slots: float = 100.0) -> list[dict[str, Capacity]]:
    """One of each class; of the first ``free`` is free for a second, then all."""
    starts = np.array([0.0, 1000.0])
    rows = [[4 * free, 8, 0, 0, slots], [4, 8, 0, 0, 100]]
    return [
        {"b1": Capacity(starts, np.array(rows, np.float64))},
        {"b2": Capacity(starts[:1], np.array([[2, 8, 0, 0, 100]], np.float64))},
    ]


def proposed(cards: list[tuple[ModeCard, ...]], chances: list[tuple[float, ...]], **free: float) -> list[int]:
    problem, meant = mode_problem([()] * len(cards), cards, CAPACITY, bins(**free))
    return placed_modes(problem, meant, chances)


def test_the_likeliest_modes_stay_where_nothing_ends_earlier() -> None:
    assert proposed([(WIDE, NARROW)], [(0.9, 0.1)]) == [0]
    # Two steps that are both narrow end at 150 ms, together; one after the other, both wide, at 200 ms.
    assert proposed([(WIDE, NARROW)] * 2, [(0.2, 0.8)] * 2) == [1, 1]


def test_steps_that_would_wait_for_each_other_are_moved() -> None:
    """The head would have both wide, one after the other until 200 ms; the other class is quicker."""
    quick = ModeCard(1, (2.0, 1.0, 0.0, 0.0), 140.0, 150.0, 1.0)
    assert sorted(proposed([(WIDE, quick)] * 2, [(0.9, 0.1)] * 2)) == [0, 1]


def test_of_choices_that_end_at_once_the_cheapest_is_proposed() -> None:
    assert sorted(proposed([(WIDE, OTHER)] * 2, [(0.9, 0.1)] * 2)) == [0, 1]


def test_a_mode_that_does_not_fit_now_is_not_proposed() -> None:
    assert proposed([(WIDE, NARROW)], [(0.99, 0.01)], free=0.5) == [1]


def test_pool_slots_count_as_well() -> None:
    assert proposed([(WIDE, NARROW)], [(0.99, 0.01)], slots=50.0) == [1]


def test_where_nothing_fits_the_likeliest_stays() -> None:
    never = ModeCard(0, (16.0, 1.0, 0.0, 0.0), 90.0, 100.0, 4.0)
    assert proposed([(never,), (NARROW, WIDE)], [(1.0,), (0.3, 0.7)]) == [0, 1]


def test_only_allowed_modes_are_in_the_problem() -> None:
    problem, meant = mode_problem([()], [(WIDE, NARROW, OTHER)], CAPACITY, bins(), {0: (2, 1)})
    assert meant == [[2, 1]]
    assert [mode.bin for mode in problem.activities[0].modes] == ["b2", "b1"]
    assert problem.activities[0].modes[0].need == (2.0, 1.0, 0.0, 0.0, 100.0)


@st.composite
def drafts(draw: st.DrawFn) -> tuple[Problem, list[list[int]], list[tuple[float, ...]]]:
    """Up to six steps in any graph, with one to four modes each."""
    count = draw(st.integers(1, 6))
    parents = [tuple(sorted(draw(st.sets(st.integers(0, s - 1), max_size=2)))) if s else () for s in range(count)]
    cards, chances = [], []
    for _ in range(count):
        some = draw(st.lists(st.sampled_from((WIDE, NARROW, OTHER)), min_size=1, max_size=4))
        cards.append(tuple(some))
        weights = draw(st.lists(st.floats(0.01, 1.0), min_size=len(some), max_size=len(some)))
        chances.append(tuple(weight / sum(weights) for weight in weights))
    problem, meant = mode_problem(parents, cards, CAPACITY, bins(free=draw(st.sampled_from((0.25, 0.5, 1.0)))))
    return problem, meant, chances


@settings(max_examples=60, deadline=None)
@given(drafts())
def test_what_is_proposed_never_ends_later_than_the_likeliest_modes(
    draft: tuple[Problem, list[list[int]], list[tuple[float, ...]]],
) -> None:
    problem, meant, chances = draft
    picks = placed_modes(problem, meant, chances)
    likeliest = [max(range(len(row)), key=row.__getitem__) for row in chances]
    once = OnePass(problem)

    def ends(modes: list[int]) -> float | None:
        rows = [
            [place for place, mode in enumerate(row) if mode == pick]
            for row, pick in zip(meant, modes, strict=True)
        ]
        made = once.place(rows)
        return None if made is None else made.makespan_ms

    before, after = ends(likeliest), ends(picks)
    assert all(0 <= pick < len(row) for pick, row in zip(picks, chances, strict=True))
    if before is not None:
        assert after is not None
        assert after <= before + 1e-6
    if after is None:
        assert picks == likeliest
