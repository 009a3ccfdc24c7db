"""Laws of tools, profiles, fleets and curves: physically sensible, of many shapes."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.model.example import PROFILE_FEATURES
from tomas.training.generate.fleet import draw_fleet
from tomas.training.generate.modes import draw_modes
from tomas.training.generate.portrait import draw_laws, draw_profiles, law_of

SEEDS = st.integers(0, 10**6)
COLUMN = {name: place for place, name in enumerate(PROFILE_FEATURES)}


@given(SEEDS, st.floats(1e3, 1e9))
@settings(max_examples=60, deadline=None)
def test_more_cores_and_more_gpu_never_slow_a_tool_down(seed: int, size: float) -> None:
    law = law_of(draw_laws(np.random.default_rng(seed), 1, gpu=True)[0])
    times = [law.latency_ms(size, cores, 0.0) for cores in (0.5, 1, 2, 4, 8, 16, 32)]
    assert times == sorted(times, reverse=True)
    assert law.latency_ms(size, law.max_cores, 0.0) == law.latency_ms(size, 4 * law.max_cores, 0.0)
    if law.gpu_speed:
        shares = [law.latency_ms(size, 1, share) for share in (25.0, 50.0, 100.0)]
        assert shares == sorted(shares, reverse=True)


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_amdahl_bounds_the_gain_and_memory_is_linear(seed: int) -> None:
    law = law_of(draw_laws(np.random.default_rng(seed), 1, gpu=False)[0])
    assert not law.gpu_only
    one, many = law.latency_ms(1e8, 1, 0.0), law.latency_ms(1e8, 32, 0.0)
    assert many >= (1.0 - law.parallel) * one * 0.999
    slope = law.peak_gb(2e8) - law.peak_gb(1e8)
    assert law.peak_gb(5e8) - law.peak_gb(4e8) == pytest.approx(slope)


def test_input_size_and_allocation_are_drawn_apart_in_profiles() -> None:
    rng = np.random.default_rng(3)
    laws = draw_laws(rng, 300, gpu=True)
    table = draw_profiles(laws, rng, 8)
    assert table.shape == (300, 8, len(PROFILE_FEATURES))
    assert np.isfinite(table).all()
    rows = table.reshape(-1, len(PROFILE_FEATURES))
    sizes, cores = rows[:, COLUMN["log_input_bytes"]], rows[:, COLUMN["cpu_cores"]]
    assert abs(np.corrcoef(sizes, cores)[0, 1]) < 0.1
    peaks = np.expm1(rows[:, COLUMN["log_peak_mem_gb"]])
    assert (rows[:, COLUMN["cpu_mem_gb"]] >= peaks * 0.999).all()
    on_gpu = rows[:, COLUMN["gpu_sm"]] > 0
    assert (on_gpu == (rows[:, COLUMN["gpu_mem_gb"]] > 0)).all()
    assert 0.05 < on_gpu.mean() < 0.4


def test_profiles_follow_their_law() -> None:
    rng = np.random.default_rng(4)
    laws = draw_laws(rng, 50, gpu=True)
    for row, profile in zip(laws, draw_profiles(laws, rng, 8), strict=True):
        law = law_of(row)
        for point in profile:
            size = float(np.expm1(point[COLUMN["log_input_bytes"]]))
            expected = law.latency_ms(size, point[COLUMN["cpu_cores"]], point[COLUMN["gpu_sm"]])
            assert np.expm1(point[COLUMN["log_latency_ms"]]) == pytest.approx(expected, rel=0.5)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_free_shares_stay_within_the_bin_and_devices_that_are_not_there_are_never_free(seed: int) -> None:
    fleet = draw_fleet(Random(seed), np.random.default_rng(seed))  # noqa: S311  (no secret)
    assert fleet.free.shape[0] == sum(fleet.bins)
    assert fleet.curves.shape[:2] == (len(fleet.names), 4)
    assert ((fleet.free >= 0) & (fleet.free <= 1)).all()
    assert len(set(fleet.names)) == len(fleet.names)
    without = fleet.capacity[:, 2] == 0
    assert (fleet.curves[without][:, 2:] == 0).all()
    assert fleet.has_gpu == (not without.all())


def test_curves_of_many_shapes_occur() -> None:
    flat = rising = falling = outage = full = 0
    for seed in range(300):
        fleet = draw_fleet(Random(seed), np.random.default_rng(seed))  # noqa: S311  (no secret)
        for cores in fleet.curves[:, 0]:
            full += bool((cores == 1).all())
            flat += bool(np.ptp(cores) < 1e-6 and cores[0] < 1)
            rising += bool((np.diff(cores) >= -1e-6).all() and np.ptp(cores) > 0.2)
            falling += bool((np.diff(cores[:-1]) <= 1e-6).all() and np.ptp(cores) > 0.2)
            outage += bool((cores == 0).any() and cores[-1] > 0)
    assert min(full, flat, rising, falling, outage) >= 10


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_modes_fit_their_class_and_respect_devices(seed: int) -> None:
    rng, numeric = Random(seed), np.random.default_rng(seed)  # noqa: S311  (no secret)
    fleet = draw_fleet(rng, numeric)
    law = law_of(draw_laws(numeric, 1, gpu=fleet.has_gpu)[0])
    modes = draw_modes(law, 1e7, fleet, rng)
    assert len(modes) <= 8
    for mode in modes:
        assert all(need <= most for need, most in zip(mode.need, fleet.capacity[mode.class_index], strict=True))
        assert mode.need[1] >= law.peak_gb(1e7)
        assert (mode.need[2] > 0) <= (law.gpu_speed > 0)
        assert (mode.need[2] > 0) == (mode.need[3] > 0)
        assert not (law.gpu_only and mode.need[2] == 0)
        assert 0 < mode.p50_ms <= mode.p90_ms
