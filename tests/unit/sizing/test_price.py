"""The price of a failed try: by how long tasks take, by how many failed, whatever a single run says."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.sizing import MemoryRun, MemorySizer, MemoryTask
from tomas.sizing.price import FailurePrice

_HOUR_MS = 3.6e6


def taught(hours: dict[str, float], runs: int = 20) -> FailurePrice:
    price = FailurePrice(0.03)
    for _ in range(runs):
        for tool, time in hours.items():
            price.learn(tool, 14.0, 2.0, time * _HOUR_MS)
    return price


def of(price: FailurePrice, tool: str, size: float = 14.0) -> float:
    found = price.of(tool, size)
    assert found is not None
    return found


def test_a_failed_try_costs_three_ordinary_runs_spread_over_its_time() -> None:
    price = taught({"long": 1.9, "short": 0.1})
    assert of(price, "long") == pytest.approx(3 * 2.0 * 1.0 / 1.9, rel=0.02)
    assert of(price, "short") == pytest.approx(3 * 2.0 * 1.0 / 0.1, rel=0.02)
    assert price.of("unknown", 14.0) is None


def test_run_times_are_foretold_from_the_input() -> None:
    price = FailurePrice(0.03)
    for step in range(40):
        size = 10.0 + step % 8
        price.learn("t", size, 1.0, 60_000.0 * 2.0 ** (step % 8))
    assert of(price, "t", 11.0) / of(price, "t", 15.0) == pytest.approx(2.0**4, rel=0.15)


def test_every_failed_try_raises_the_price_and_the_others_bring_it_back() -> None:
    price = taught({"t": 1.0})
    before = of(price, "t")
    for _ in range(3):
        price.judge(1)
    raised = of(price, "t")
    assert raised > 1.5 * before
    for _ in range(50):
        price.judge(0)
    assert before < of(price, "t") < raised
    for _ in range(500):
        price.judge(0)
    assert of(price, "t") == pytest.approx(before)
    for _ in range(10_000):
        price.judge(9)
    assert of(price, "t") <= 100.1 * before


@given(st.floats(1e-4, 1e5), st.floats(1.0, 1e12))
@settings(max_examples=60, deadline=None)
def test_one_absurd_run_moves_the_price_by_a_bounded_factor(peak: float, latency_ms: float) -> None:
    price = taught({"t": 1.0}, runs=100)
    before = of(price, "t")
    price.learn("t", 14.0, peak, latency_ms)
    assert 0.8 < of(price, "t") / before < 1.4


def test_a_first_run_that_needed_next_to_nothing_is_soon_made_up_for() -> None:
    for first_gb in (0.0, 1e-6):
        price = FailurePrice(0.03)
        price.learn("t", 14.0, first_gb, _HOUR_MS)
        for _ in range(60):
            price.learn("t", 14.0, 2.0, _HOUR_MS)
        assert of(price, "t") == pytest.approx(6.0, rel=0.3)


def test_long_tasks_take_a_risk_that_short_ones_do_not() -> None:
    dice = random.Random(5)  # noqa: S311
    sizer = MemorySizer()
    for _ in range(60):
        peak = 2.0 * dice.lognormvariate(0, 0.3)
        for tool, hours in (("long", 5.0), ("short", 0.01)):
            sizer.update(MemoryRun(tool, peak, latency_ms=hours * _HOUR_MS))
    long, short = (sizer.predict(MemoryTask(tool, input_bytes=1.0, cap_gb=32.0)) for tool in ("long", "short"))
    assert long.failing > 0.01
    assert short.failing < 0.005
    assert long.gb < 0.85 * short.gb
    assert long.p95_gb == pytest.approx(short.p95_gb, rel=0.1)


def test_without_run_times_no_try_may_be_foretold_to_fail_too_often() -> None:
    dice = random.Random(5)  # noqa: S311
    sizer = MemorySizer()
    for _ in range(60):
        sizer.update(MemoryRun("t", 2.0 * dice.lognormvariate(0, 0.3)))
    assert sizer.predict(MemoryTask("t", cap_gb=64.0)).failing <= 0.03


def broken_share(*, told: bool) -> float:
    """Of the last 500 of 800 runs of a tool that now and then needs half as much again, and creeps up."""
    dice = random.Random(2)  # noqa: S311
    sizer, broken = MemorySizer(), 0
    for number in range(800):
        peak = 1.002**number * dice.lognormvariate(0, 0.02) * (1.6 if dice.random() < 0.06 else 1.0)
        given = sizer.predict(MemoryTask("creeping", input_bytes=1.0, cap_gb=64.0)).gb if number else 64.0
        broken += given < peak and number >= 300
        run = MemoryRun("creeping", peak, cap_gb=64.0, latency_ms=_HOUR_MS, first_gb=given if told else None)
        sizer.update(run)
    return broken / 500


def test_of_a_tool_for_which_failing_pays_few_tries_fail_once_they_are_told() -> None:
    assert broken_share(told=True) <= 0.03
    assert broken_share(told=False) > 0.05


def test_where_the_input_is_not_known_a_failed_try_costs_more() -> None:
    price = taught({"t": 1.0})
    blind = price.of("t", 14.0, blind=True)
    assert blind is not None
    assert blind > 2.0 * of(price, "t")
    dice = random.Random(5)  # noqa: S311
    sizer = MemorySizer()
    for _ in range(60):
        sizer.update(MemoryRun("t", 2.0 * dice.lognormvariate(0, 0.3), latency_ms=_HOUR_MS))
    known, unknown = (sizer.predict(MemoryTask("t", input_bytes=size, cap_gb=32.0)) for size in (1.0, None))
    assert unknown.failing < known.failing
