"""Moments like now: the same shape is found, nothing unknown is looked at."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.forecast import forecast_quantiles
from tomas.forecast.analogs import ANALOGS, lively_alike, shaped_alike


def test_the_shape_before_now_is_found_where_it_was_before() -> None:
    values = np.random.default_rng(0).normal(size=300)
    values[100:108] = values[292:300]
    found = shaped_alike(values[None], np.array([300]), np.array([288]))
    assert found[0, 0, 0] == 107


def test_the_same_shape_at_another_level_is_found_too() -> None:
    values = np.random.default_rng(1).normal(size=300)
    values[100:108] = values[292:300] + 2
    assert 107 in shaped_alike(values[None], np.array([300]), np.array([288]))[0, 0, :5]


def test_lively_moments_follow_lively_ones() -> None:
    draw = np.random.default_rng(2)
    calm = np.tile(np.r_[np.zeros(50), np.ones(50)], 4)
    values = np.cumsum(draw.normal(size=400) * (0.01 + calm))
    found = lively_alike(values[None], np.array([349, 399]), np.array([300, 380]))
    # Index 349 ends a calm stretch, 399 a lively one.
    assert calm[found[0, 0]].mean() < 0.2
    assert calm[found[0, 1]].mean() > 0.8


@given(st.integers(8, 80), st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_only_known_points_are_given(points, reach, seed) -> None:
    values = np.random.default_rng(seed).normal(size=(2, points))
    origins = np.array([points])
    known = np.maximum(origins - reach, 1)
    for found in (shaped_alike(values, origins, known), lively_alike(values, origins - 1, known)):
        assert found.min() >= 0
        assert found.max() < known[0]
    assert shaped_alike(values, origins, known).shape == (2, 1, ANALOGS)


def test_a_pattern_that_returns_at_odd_times_is_forecast_by_its_analogs() -> None:
    """A burst climbs over four points and falls at once, at random times: only the shape says what comes next."""
    draw, burst = np.random.default_rng(3), [5.0, 10.0, 15.0, 20.0]
    values = np.concatenate([np.r_[np.ones(draw.integers(6, 20)), burst] for _ in range(40)])
    found = forecast_quantiles(values[None, :-1], np.arange(1, 4))
    assert found.quantiles[0, 0, 9] == 20
