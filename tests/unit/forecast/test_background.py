"""Backgrounds of bins: learned with enough samples, calibrated, robust to bad clocks and to silent samplers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from tomas.forecast import forecast
from tomas.forecast.background import LEAST_LEARNED, backgrounds
from tomas.schema import Bin, Resources, Sample
from tomas.store import SampleArrays

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CAPACITY = Resources(cpu_cores=16, cpu_mem_gb=64)
BIN = Bin(name="b1", worker_class="c", queue="q", pool="p", capacity=CAPACITY)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def samples(memory: np.ndarray, *, name: str = "b1", step_s: float = 5) -> list[Sample]:
    """The last one is taken now."""
    return [
        Sample(
            bin=name, at=after((i + 1 - len(memory)) * step_s), free=CAPACITY,
            background=Resources(cpu_mem_gb=float(used)), reserved=Resources(),
        )
        for i, used in enumerate(memory)
    ]  # fmt: skip


def curve(readings: list[Sample], start_s: float = 0):
    (result,) = forecast(
        [BIN],
        samples=readings,
        reservations=[],
        start_at=after(start_s),
        horizon_ms=600_000,
        step_ms=1000,
        naive=False,
    )
    return result


def walk(points: int, seed: int) -> np.ndarray:
    return np.clip(30 + np.cumsum(np.random.default_rng(seed).normal(size=points)), 0, 64)


def test_many_samples_are_learned_from_and_few_are_not() -> None:
    assert curve(samples(walk(120, 0))).source == "learned"
    assert curve(samples(walk(LEAST_LEARNED - 1, 0))).source == "samples"


def test_what_is_free_soon_is_nearer_to_now_than_what_is_free_later() -> None:
    rising = curve(samples(np.linspace(5, 40, 120)))
    assert abs(rising.at(after(3)).cpu_mem_gb - 24) < 3
    used = np.r_[np.full(60, 50.0), np.full(60, 10.0)]
    free = curve(samples(used + np.random.default_rng(0).normal(size=120)))
    assert free.at(after(3)).cpu_mem_gb > 40
    assert free.at(after(500)).cpu_mem_gb < 20


def test_nine_of_ten_truths_have_at_least_what_the_curve_says() -> None:
    kept = []
    for seed in range(60):
        used = walk(200, seed)
        found = curve(samples(used[:150]))
        kept += [64 - used[149 + step] >= found.at(after(5 * step - 1)).cpu_mem_gb for step in (1, 2, 5, 8, 16, 24)]
    assert 0.85 <= np.mean(kept) <= 0.97


def test_a_longer_wait_is_less_certain() -> None:
    soon, later = 0.0, 0.0
    for seed in range(20):
        readings = samples(walk(150, seed))
        soon += curve(readings).at(after(1)).cpu_mem_gb
        later += curve(readings, start_s=60).at(after(61)).cpu_mem_gb
    assert later < soon - 20


def test_of_a_sampler_that_fell_silent_only_its_quantile_is_left() -> None:
    used = walk(150, 2)
    assert len(curve(samples(used), start_s=3600)) == 1
    assert curve(samples(used), start_s=3600).at(after(3600)).cpu_mem_gb == np.round(
        64 - np.quantile(used, 0.9, method="higher"), 6
    )


def test_readings_of_a_wrong_clock_do_not_count() -> None:
    good = samples(walk(120, 3))
    wild = [item.model_copy(update={"at": after(86_400 + i)}) for i, item in enumerate(samples(np.full(30, 64.0)))]
    assert curve(good + wild) == curve(good)


def test_order_and_duplicates_do_not_matter() -> None:
    good = samples(walk(120, 4))
    assert curve(good[::-1] + good[10:20]) == curve(good)


def test_bins_are_forecast_alike_alone_and_together() -> None:
    many = {f"b{i}": samples(walk(100 + i, i), name=f"b{i}") for i in range(12)}
    together = backgrounds(many, NOW)
    for name, readings in many.items():
        alone = backgrounds({name: readings}, NOW)[name]
        assert np.allclose(alone.high, together[name].high)
        assert (alone.ends_s == together[name].ends_s).all()


def test_a_bin_that_nobody_else_uses_has_a_flat_curve() -> None:
    result = curve(samples(np.full(120, 8.0)))
    assert (len(result), result.source, result.spread) == (1, "learned", 0)
    assert result.at(NOW) == Resources(cpu_cores=16, cpu_mem_gb=56)


def test_samples_of_a_bin_that_vanished_change_nothing() -> None:
    good = samples(walk(120, 5))
    assert curve(good + samples(walk(120, 6), name="gone_1")) == curve(good)


def test_a_bin_that_comes_back_goes_on_where_it_was_and_its_absence_is_no_plateau() -> None:
    used = walk(160, 7)
    away = [item.model_copy(update={"at": item.at - timedelta(hours=5)}) for item in samples(used)[:80]]
    assert curve(away + samples(used)[80:]) == curve(samples(used))


def test_arrays_of_readings_give_the_curves_that_objects_give() -> None:
    readings = [*samples(walk(90, 1)), *samples(walk(20, 2), name="b2")]
    arrays = {}
    for name in ("b1", "b2"):
        own = [item for item in readings if item.bin == name]
        free, background, reserved = (
            np.array([list(getattr(item, part)) for item in own]) for part in ("free", "background", "reserved")
        )
        at_us = np.array([round(item.at.timestamp() * 1e6) for item in own])
        arrays[name] = SampleArrays(at_us, free, background, reserved)
    assert {name: found.learned for name, found in backgrounds(arrays, NOW).items()} == {"b1": True, "b2": False}
    for name, found in backgrounds({"b1": readings[:90], "b2": readings[90:]}, NOW).items():
        again = backgrounds(arrays, NOW)[name]
        np.testing.assert_array_equal(again.high, found.high)
        np.testing.assert_array_equal(again.median, found.median)
