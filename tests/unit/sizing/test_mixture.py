"""The belief about one tool: its distribution function, its ranks, its bounds."""

from __future__ import annotations

import math
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.sizing.mixture import FLAT_PRIOR, Mixture, log_size

runs = st.lists(st.tuples(st.floats(0, 30), st.floats(-8, 6)), min_size=1, max_size=25)


def taught(raw: list[tuple[float, float]]) -> Mixture:
    mixture = Mixture(*raw[0], FLAT_PRIOR)
    for size, value in raw[1:]:
        mixture.learn(size, value, FLAT_PRIOR)
    return mixture


@given(runs, st.floats(0, 32))
@settings(max_examples=150, deadline=None)
def test_it_is_a_distribution_whatever_was_seen(raw: list[tuple[float, float]], size: float) -> None:
    mixture = taught(raw)
    mixture.bounds = {"s": (size, 2.0)}
    for bounds in (mixture.bounds, {}):
        mixture.bounds = bounds
        grid, below = mixture.distribution(size)
        assert np.isfinite(grid).all()
        assert (np.diff(grid) >= 0).all()
        assert (np.diff(below) >= -1e-9).all()
        assert below[0] >= -1e-9
        assert below[-1] <= 1 + 1e-9


def test_ranks_of_runs_of_its_own_kind_are_uniform() -> None:
    dice = random.Random(11)  # noqa: S311
    mixture = Mixture(10.0, 1.0, FLAT_PRIOR)
    ranks = []
    for _ in range(600):
        size = dice.uniform(8, 14)
        ranks.append(mixture.learn(size, 1.0 + 0.3 * (size - 10.0) + dice.gauss(0, 0.05), FLAT_PRIOR))
    kept = np.array(ranks[100:])
    for level in (0.1, 0.5, 0.9, 0.97):
        assert abs((kept <= level).mean() - level) < 0.04


def test_the_median_follows_the_input_where_the_value_does_and_not_where_it_does_not() -> None:
    growing = taught([(size, 0.4 * size) for size in (10.0, 11.0, 12.0, 13.0, 14.0)])
    still = taught([(size, 2.0) for size in (10.0, 11.0, 12.0, 13.0, 14.0)])
    assert abs(growing.median(16.0) - 6.4) < 0.1
    assert abs(still.median(16.0) - 2.0) < 0.02


def test_a_bound_raises_the_distribution_and_goes_with_its_step() -> None:
    mixture = taught([(10.0, 1.0 + 0.01 * (i % 3)) for i in range(8)])
    before = mixture.distribution(10.0)
    mixture.bounds["s1"] = (10.0, 2.0)
    grid, below = mixture.distribution(10.0)
    assert float(np.interp(2.0, grid, below)) < float(np.interp(2.0, *before))
    del mixture.bounds["s1"]
    assert np.array_equal(mixture.distribution(10.0)[1], before[1])


def test_log_size_of_nothing_is_that_of_one_byte() -> None:
    assert log_size(0.0) == 0.0
    assert log_size(math.e) == 1.0
