"""Forecasts: naive, declared and sampled curves, reservations over time, planner latency."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.forecast import LatencyModel, forecast, predict_latency
from tomas.schema import RESOURCE_NAMES, Bin, PlannerCall, Reservation, Resources, Sample

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
BIN = Bin(
    name="b1", worker_class="c", queue="q", pool="p",
    capacity=Resources(cpu_cores=16, cpu_mem_gb=32, gpu_sm=100, gpu_mem_gb=80),
)  # fmt: skip


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def sample(background_cores: float, background_gb: float, at: float = 0) -> Sample:
    background = Resources(cpu_cores=background_cores, cpu_mem_gb=background_gb)
    return Sample(
        bin="b1", at=after(at), free=BIN.capacity.minus(background), background=background, reserved=Resources()
    )


def held(begin: float, end: float, cores: float = 4, gb: float = 8) -> Reservation:
    return Reservation(
        plan_id="other", step_id="s1", bin="b1", need=Resources(cpu_cores=cores, cpu_mem_gb=gb), slots=25,
        start_at=after(begin), end_at=after(end),
    )  # fmt: skip


def curve(samples=(), reservations=(), *, naive=False, horizon_ms=60_000, step_ms=1000):
    (result,) = forecast(
        [BIN], samples=samples, reservations=reservations, start_at=NOW, horizon_ms=horizon_ms, step_ms=step_ms,
        naive=naive,
    )  # fmt: skip
    return result


def test_without_samples_the_declared_capacity_is_free() -> None:
    result = curve()
    assert result.source == "declared"
    assert len(result) == 1
    assert result.at(after(9999)) == BIN.capacity


def test_naive_curves_are_the_fixed_ones_cut_to_the_bin() -> None:
    result = curve(naive=True, step_ms=100)
    assert result.source == "naive"
    assert [result.at(after(s)).cpu_cores for s in (0, 29.9, 30, 59)] == [8, 8, 16, 16]
    assert [result.at(after(s)).gpu_sm for s in (0, 22.4, 22.5, 44.9, 45)] == [50, 50, 80, 80, 100]
    assert [result.at(after(s)).gpu_mem_gb for s in (0, 30, 45, 999)] == [40, 60, 80, 80]
    assert result.at(NOW).cpu_mem_gb == 32


def test_samples_give_a_low_quantile_per_resource() -> None:
    result = curve([sample(i, 20 - i, at=i) for i in range(1, 7)])
    assert result.source == "samples"
    assert result.at(NOW).cpu_cores == 10
    assert result.at(NOW).cpu_mem_gb == 13


def test_too_few_samples_say_less_than_the_declaration() -> None:
    assert curve([sample(15, 30), sample(15, 30)]).source == "declared"


def test_a_busy_processor_is_shared_but_memory_is_not() -> None:
    result = curve([sample(16, 32, at=i) for i in range(5)])
    assert result.at(NOW).cpu_cores == 8
    assert result.at(NOW).cpu_mem_gb == 0


def test_reservations_are_subtracted_for_their_time() -> None:
    result = curve(reservations=[held(2, 4.5)])
    assert [result.at(after(s)).cpu_cores for s in (0, 1.9, 2, 3.9, 4.9, 5, 50)] == [16, 16, 12, 12, 12, 16, 16]


def test_a_reservation_from_before_counts_until_its_end() -> None:
    assert [curve(reservations=[held(-5, 1)]).at(after(s)).cpu_cores for s in (0, 1)] == [12, 16]


def test_an_overrunning_step_is_taken_to_last_as_long_again() -> None:
    result = curve(reservations=[held(-10, -2)])
    assert [result.at(after(s)).cpu_cores for s in (0, 7.9, 8)] == [12, 12, 16]


def test_a_reservation_beyond_the_horizon_holds_to_the_end() -> None:
    assert curve(reservations=[held(5, 500)], horizon_ms=10_000).at(after(100)).cpu_cores == 12


def test_other_bins_do_not_matter() -> None:
    other = held(0, 10).model_copy(update={"bin": "b2"})
    assert curve(reservations=[other]).at(NOW) == BIN.capacity


@given(
    st.lists(st.tuples(st.floats(0, 40), st.floats(0, 80)), max_size=12),
    st.lists(st.tuples(st.floats(-30, 90), st.floats(0.1, 90), st.floats(0, 20), st.floats(0, 40)), max_size=8),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_free_capacity_is_never_negative_nor_above_what_is_declared(background, reservations, naive) -> None:
    result = curve(
        [sample(c, g, at=i) for i, (c, g) in enumerate(background)],
        [held(begin, begin + length, c, g) for begin, length, c, g in reservations],
        naive=naive,
    )
    assert 1 <= len(result) <= 60
    for i in range(len(result)):
        free = result.at_index(i)
        for name in RESOURCE_NAMES:
            assert 0 <= getattr(free, name) <= getattr(BIN.capacity, name)


def call(t_inf: float, lag: float | None = None, error: str | None = None) -> PlannerCall:
    return PlannerCall(
        at=NOW,
        planner="retrieval",
        task_chars=5,
        tools=3,
        steps=1,
        t_inf_ms=t_inf,
        dispatch_lag_ms=lag,
        error=error,
    )


DEFAULTS = {"t_inf_default_ms": 500.0, "dispatch_lag_default_ms": 3000.0}


def test_few_calls_keep_the_defaults() -> None:
    assert predict_latency([call(10, 20)] * 4, **DEFAULTS) == (500.0, 3000.0)


def test_enough_calls_give_their_median_and_on_demand_their_tail() -> None:
    calls = [call(float(i), float(10 * i)) for i in range(1, 12)]
    assert predict_latency(calls, **DEFAULTS) == (6.0, 60.0)
    assert predict_latency(calls, quantile=0.9, **DEFAULTS) == (11.0, 110.0)


def test_the_next_call_keeps_to_the_upper_quantile_nine_times_in_ten() -> None:
    draw = np.random.default_rng(0)
    for size in (9, 20, 50):
        kept = 0
        for _ in range(1000):
            *seen, following = draw.lognormal(4, 1, size + 1).tolist()
            upper, _ = predict_latency([call(value) for value in seen], quantile=0.9, **DEFAULTS)
            kept += following <= upper
        assert 0.87 <= kept / 1000 <= 0.94


def test_failed_calls_do_not_make_the_planner_look_fast() -> None:
    assert predict_latency([call(1, error="NoToolMatches")] * 20, **DEFAULTS) == (500.0, 3000.0)


def test_a_registered_model_stands_between_defaults_and_recent_calls() -> None:
    model = LatencyModel.fit([call(100.0), call(200.0, 50.0), call(300.0)])
    assert predict_latency([], model=model, **DEFAULTS) == (200.0, 50.0)
    assert predict_latency([call(7.0)] * 5, model=model, **DEFAULTS) == (7.0, 50.0)
    assert LatencyModel.from_payload(model.to_payload()) == model


def test_a_model_without_calls_keeps_the_defaults() -> None:
    assert predict_latency([], model=LatencyModel.fit([]), **DEFAULTS) == (500.0, 3000.0)
    with pytest.raises(ValueError, match="version"):
        LatencyModel.from_payload({})
