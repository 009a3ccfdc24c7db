"""The escalation ladder: tries, their cost, and the cheapest first allocation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.sizing import Ladder


def test_every_try_doubles_up_to_the_cap() -> None:
    ladder = Ladder()
    assert [ladder.allocation(1.5, number, 5.0) for number in (1, 2, 3, 4)] == [1.5, 3.0, 5.0, 5.0]
    assert ladder.tries(1.5, 4.0, 5.0) == [1.5, 3.0, 5.0]
    assert ladder.allocation(0.001) == ladder.least_gb
    assert ladder.allocation(0.001, 1, 0.01) == 0.01


def test_a_task_above_its_cap_fails_there_once() -> None:
    assert Ladder().tries(4.0, 7.0, 5.0) == [4.0, 5.0, 7.0]


def test_cost_is_what_was_left_over_and_all_that_failed() -> None:
    assert Ladder().cost(4.0, 3.0) == pytest.approx(1.0)
    assert Ladder().cost(1.0, 3.0) == pytest.approx(1.0 + 2.0 + 4.0 - 3.0)


def test_a_rare_large_peak_is_left_to_the_second_try_and_a_frequent_one_is_not() -> None:
    peaks = np.array([1.0, 1.9])
    assert Ladder().cheapest(peaks, np.array([0.95, 0.05])) == 1.0
    assert Ladder().cheapest(peaks, np.array([0.5, 0.5])) == 1.9
    assert Ladder().cheapest(peaks, np.array([0.95, 0.05]), most_failing=0.03) == 1.9
    assert Ladder().cheapest(peaks, np.array([0.5, 0.5]), cap_gb=1.5) == 1.5


def test_a_restart_weighs_on_small_steps_more_than_on_large_ones() -> None:
    weights = np.array([0.9, 0.1])
    assert Ladder().cheapest(np.array([0.2, 0.39]), weights) == 0.39
    assert Ladder().cheapest(np.array([60.0, 119.0]), weights) == 60.0


# Peaks are measured in pages of 4 kB; what differs by less is the same, as the ladder's own tolerance says.
measured = st.floats(0.07, 64.0).map(lambda peak_gb: round(peak_gb, 6))
histories = st.lists(st.tuples(measured, st.floats(0.01, 1.0)), min_size=1, max_size=12)


@given(histories, st.floats(0.1, 100.0).map(lambda cap_gb: round(cap_gb, 6)))
@settings(max_examples=200, deadline=None)
def test_no_seen_peak_is_a_cheaper_first_allocation(raw: list[tuple[float, float]], cap: float) -> None:
    peaks = np.array(sorted(min(peak, cap) for peak, _ in raw))
    weights = np.array([weight for _, weight in raw])
    weights = weights / weights.sum()
    ladder = Ladder(failure_price=1.0, restart_gb=0.0)

    def expected(first: float) -> float:
        return sum(w * ladder.cost(first, float(p), cap) for p, w in zip(peaks, weights, strict=True))

    best = expected(ladder.cheapest(peaks, weights, cap_gb=cap))
    for first in peaks:
        assert best <= expected(float(first)) * (1 + 1e-6) + 1e-6
