"""Run times: calibrated forward in time, upper quantiles of few runs raised, tools pooled, Amdahl's law between."""

from __future__ import annotations

import random

import pytest

from tomas.sizing import LatencySizer


def told(
    count: int, spread: float, *, seed: int = 1, experience: tuple[float, ...] = ()
) -> tuple[LatencySizer, float]:
    """A sizer after noisy runs, and the share of them that its 90 % quantiles had covered."""
    dice, sizer, inside = random.Random(seed), LatencySizer(), []  # noqa: S311
    for _ in range(count):
        size = 10 ** dice.uniform(5, 8)
        latency = (300 + size / 1e5) * dice.lognormvariate(0, spread)
        upper = sizer.quantile_ms(0.9, "t", size, 1)
        if upper is not None:
            inside.append(latency <= upper)
        sizer.update("t", size, 1, latency)
    return sizer, sum(inside) / len(inside)


@pytest.mark.parametrize("spread", [0.02, 0.2, 0.8])
def test_nine_runs_of_ten_keep_to_the_upper_quantile(spread: float) -> None:
    assert 0.87 <= told(500, spread)[1] <= 0.95


def test_few_runs_cover_as_well() -> None:
    covered = [told(12, 0.3, seed=seed)[1] for seed in range(60)]
    assert 0.87 <= sum(covered) / len(covered) <= 0.97


def test_ranks_of_other_tools_correct_a_new_one() -> None:
    loud = LatencySizer(tuple([0.99] * 200))  # others ran far longer than was foretold, nine times in ten
    plain = LatencySizer()
    for sizer in (loud, plain):
        for latency in (1000.0, 1050.0, 980.0, 1010.0):
            sizer.update("t", 1e6, 1, latency)
    upper = loud.quantile_ms(0.5, "t", 1e6, 1), plain.quantile_ms(0.5, "t", 1e6, 1)
    assert upper[0] is not None
    assert upper[1] is not None
    assert upper[0] > 1.02 * upper[1]
    assert len(loud.experience) == 3


def test_several_tools_are_answered_for_as_if_they_were_one() -> None:
    sizer = LatencySizer()
    for _ in range(20):
        sizer.update("quick", 1e6, 1, 1000.0)
        sizer.update("slow", 1e6, 1, 9000.0)
    found = sizer.quantiles_ms([0.25, 0.9], ["quick", "slow", "unknown"], 1e6, [1, 4])
    assert found is not None
    assert found[0, 0] == pytest.approx(1000, rel=0.05)
    assert found[0, 1] == pytest.approx(9000, rel=0.05)
    assert (found[1] <= found[0]).all()
    assert sizer.quantiles_ms([0.5], ["unknown"], 1e6, [1]) is None


def test_runs_on_inputs_far_apart_do_not_tell_the_parallel_share() -> None:
    sizer = LatencySizer()
    for number in range(10):
        sizer.update("t", 1e5, 1, 100.0 + number)
        sizer.update("t", 1e9, 8, 9000.0 + number)  # more cores, much larger input
    assert sizer.parallel_share("t") is None


def test_the_share_follows_a_tool_that_changes() -> None:
    sizer = LatencySizer()
    for number in range(40):
        sizer.update("t", 1e6, 1 + number % 4, 1000.0)
    assert sizer.parallel_share("t") == 0.0
    for number in range(200):
        cores = 1 + number % 4
        sizer.update("t", 1e6, cores, 1000.0 / cores)
    assert sizer.parallel_share("t") == 1.0
    assert sizer.median_ms("t", 1e6, 4) == pytest.approx(250, rel=0.05)
