"""Quantile forecasts: order, calibration, choice of experts, what is known where, determinism."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.errors import DataError
from tomas.forecast import forecast_quantiles
from tomas.forecast.experts import EXPERTS, LEAST_POINTS, QUICK, expert_atoms
from tomas.forecast.mixture import LEVELS
from tomas.forecast.pool import ATOMS, misses, pinball, pit_bounds

STEPS = np.arange(1, 13)


def walk(points: int, seed: int = 0) -> np.ndarray:
    return 50 + np.cumsum(np.random.default_rng(seed).normal(size=points))


def noise(points: int, seed: int = 0) -> np.ndarray:
    return 20 + np.random.default_rng(seed).normal(size=points)


def rolling(series: list[np.ndarray], origins: range) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts and truths from each origin, each forecast seeing only what is before it."""
    found = [forecast_quantiles(one[None, :o], STEPS).quantiles[0] for one in series for o in origins]
    return np.array(found), np.array([one[o : o + 12] for one in series for o in origins])


@pytest.mark.parametrize("make", [walk, noise])
def test_ninety_per_cent_intervals_hold_about_ninety_per_cent(make) -> None:
    series = np.stack([make(500, seed) for seed in range(24)])
    inside = []
    for origin in range(300, 488, 24):
        found, truth = forecast_quantiles(series[:, :origin], STEPS), series[:, origin : origin + 12]
        below, above = misses(*pit_bounds(found.quantiles, LEVELS, truth), LEVELS)
        inside.append(1 - (below + above).mean())
    assert 0.87 <= np.mean(inside) <= 0.93


def test_a_series_that_is_mostly_zero_keeps_its_zeros() -> None:
    draw = np.random.default_rng(3)
    series = np.where(draw.random(600) < 0.2, draw.uniform(20, 90, 600), 0.0)
    quantiles, truth = rolling([series], range(400, 588, 12))
    assert (quantiles[..., :10] == 0).all()
    assert (quantiles[..., -1] > 0).mean() > 0.1
    last = np.abs(truth - series[np.arange(400, 588, 12) - 1][:, None]).mean() / 2
    assert pinball(quantiles, LEVELS, truth).mean() < 0.7 * last


def test_the_last_value_wins_on_a_walk_and_a_long_window_on_noise() -> None:
    steps = forecast_quantiles(np.stack([walk(600), noise(600)]), STEPS)
    loss = dict(zip(EXPERTS, steps.expert_loss.T, strict=True))
    assert loss["last value"][0] < loss["window of 144"][0]
    assert loss["window of 144"][1] < loss["last value"][1]
    assert steps.weights[0, EXPERTS.index("window of 144")] < 0.01 < steps.weights[0, EXPERTS.index("last value")]


def test_a_period_is_found_by_the_regression() -> None:
    series = 20 + 5 * np.sin(np.arange(400) * 2 * np.pi / 11) + np.random.default_rng(0).normal(size=400) * 0.1
    found = forecast_quantiles(series[None], STEPS)
    assert found.chosen(0) == "regression on lags"
    truth = 20 + 5 * np.sin(np.arange(400, 412) * 2 * np.pi / 11)
    assert np.abs(found.quantiles[0, :, 9] - truth).max() < 0.5


def test_a_constant_is_forecast_as_itself() -> None:
    found = forecast_quantiles(np.full((1, 100), 24.36), STEPS)
    assert np.allclose(found.quantiles, 24.36)


def test_experts_at_an_origin_do_not_see_beyond_it() -> None:
    values, other = walk(300)[None], walk(300)[None].copy()
    other[:, 200:] += 100
    origins = np.array([120, 200])
    for quick, experts in ((True, QUICK), (False, len(EXPERTS))):
        seen = expert_atoms(values, origins, STEPS, quick=quick)
        assert seen.shape == (1, 2, experts, 12, len(ATOMS))
        assert np.allclose(seen, expert_atoms(other, origins, STEPS, quick=quick))


def test_series_of_a_batch_do_not_touch_each_other() -> None:
    both = forecast_quantiles(np.stack([walk(300), noise(300)]), STEPS).quantiles
    assert np.allclose(both[0], forecast_quantiles(walk(300)[None], STEPS).quantiles[0])
    assert np.allclose(both[1], forecast_quantiles(noise(300)[None], STEPS).quantiles[0])


@given(st.lists(st.one_of(st.just(0.0), st.floats(0, 1e6)), min_size=LEAST_POINTS, max_size=80), st.booleans())
@settings(max_examples=80, deadline=None)
def test_quantiles_ascend_and_are_never_negative_and_repeat(values, quick) -> None:
    series = np.array([values])
    found = forecast_quantiles(series, STEPS, quick=quick)
    assert np.isfinite(found.quantiles).all()
    assert (found.quantiles >= 0).all()
    assert (np.diff(found.quantiles, axis=-1) >= -1e-9 * (1 + series.max())).all()
    assert np.allclose(found.weights.sum(axis=1), 1)
    assert np.array_equal(found.quantiles, forecast_quantiles(series, STEPS, quick=quick).quantiles)


def test_too_few_or_bad_points_are_refused() -> None:
    with pytest.raises(DataError, match="at least 8"):
        forecast_quantiles(np.ones((1, 7)), STEPS)
    with pytest.raises(DataError, match="NaN"):
        forecast_quantiles(np.array([[1.0] * 9 + [np.nan]]), STEPS)


def test_the_pit_of_an_atom_is_spread_over_its_mass() -> None:
    levels = np.array([0.1, 0.5, 0.9])
    quantiles = np.array([[0.0, 0.0, 4.0], [0.0, 2.0, 4.0], [1.0, 2.0, 4.0], [1.0, 2.0, 4.0], [3.0, 3.0, 3.0]])
    low, high = pit_bounds(quantiles, levels, np.array([0.0, 3.0, 0.5, 9.0, 3.0]))
    assert low.tolist() == [0.0, 0.7, 0.0, 0.9, 0.0]
    assert high.tolist() == [0.5, 0.7, 0.1, 1.0, 1.0]
    below, above = misses(low, high, levels)
    assert below == pytest.approx([0.2, 0, 1, 0, 0.1])
    assert above == pytest.approx([0, 0, 0, 1, 0.1])
