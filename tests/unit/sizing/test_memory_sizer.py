"""Memory learned run by run: shapes, calibration, fallbacks, broken tries, bounded influence."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.sizing import Ladder, LatencySizer, MemoryRun, MemorySizer, MemoryTask


def fed(runs: list[MemoryRun]) -> MemorySizer:
    sizer = MemorySizer()
    for run in runs:
        sizer.update(run)
    return sizer


def constant(count: int, peak: float = 2.0, tool: str = "sort") -> list[MemoryRun]:
    return [MemoryRun(tool, peak, input_bytes=1e6 * (i + 1)) for i in range(count)]


def test_memory_that_never_changes_is_soon_given_exactly() -> None:
    choice = fed(constant(20)).predict(MemoryTask("sort", input_bytes=5e6, cap_gb=16.0))
    assert 2.0 <= choice.gb < 2.1
    assert choice.basis == "tool"
    assert choice.runs == 20
    assert choice.failing < 0.03


def test_one_run_gives_a_wide_answer_wider_for_larger_inputs() -> None:
    sizer = fed(constant(1))
    near = sizer.predict(MemoryTask("sort", input_bytes=1e6)).gb
    far = sizer.predict(MemoryTask("sort", input_bytes=1e8)).gb
    assert 2.0 < near < far


def test_memory_in_proportion_to_the_input_is_foretold_beyond_all_seen() -> None:
    runs = [MemoryRun("index", 0.5 + size, input_bytes=size * 1e9) for size in (1, 2, 3, 4, 5, 6, 7, 8)]
    choice = fed(runs).predict(MemoryTask("index", input_bytes=20e9))
    assert 20.5 <= choice.gb < 26


def test_few_tries_break_on_a_noisy_tool() -> None:
    dice = random.Random(7)  # noqa: S311
    sizer, broken = MemorySizer(), 0
    for number in range(400):
        size = 10 ** dice.uniform(6, 9)
        peak = (0.2 + size / 1e9) * dice.lognormvariate(0, 0.15)
        if number >= 50:
            broken += sizer.predict(MemoryTask("noisy", input_bytes=size)).gb < peak
        sizer.update(MemoryRun("noisy", peak, input_bytes=size))
    assert broken / 350 < 0.05


def test_a_cold_tool_falls_to_family_profile_request_and_prior() -> None:
    runs = [MemoryRun(name, 1.0, family="sorters") for name in ("a", "b", "c") for _ in range(4)]
    runs += [MemoryRun("given", 3.0, profile=True)]
    sizer = fed(runs)
    assert sizer.predict(MemoryTask("new", family="sorters", cap_gb=8)).basis == "family"
    assert sizer.predict(MemoryTask("given", family="others", cap_gb=8)).basis == "profile"
    assert sizer.predict(MemoryTask("new", family="others", cap_gb=8)).gb == 8
    assert sizer.predict(MemoryTask("new")).basis == "prior"
    frugal = fed([MemoryRun(f"t{i}", 0.1, cap_gb=8) for i in range(60)])
    choice = frugal.predict(MemoryTask("new", cap_gb=8))
    assert choice.basis == "request"
    assert choice.gb < 8


def test_a_try_that_broke_says_only_that_more_is_needed() -> None:
    fine = fed(constant(4, 0.5))
    before = fine.predict(MemoryTask("sort", input_bytes=2e6)).gb
    fine.update(MemoryRun("sort", 1.0, input_bytes=2e6, out_of_memory=True, step="s1"))
    assert before < 1.0 < fine.predict(MemoryTask("sort", input_bytes=2e6)).gb


def test_the_tries_of_a_step_are_one_run() -> None:
    tries = [MemoryRun("sort", limit, input_bytes=2e6, out_of_memory=True, step="s1") for limit in (0.6, 1.2)]
    ended = MemoryRun("sort", 2.0, input_bytes=2e6, step="s1")
    with_tries = fed([*constant(4), *tries, ended])
    without = fed([*constant(4), ended])
    task = MemoryTask("sort", input_bytes=2e6)
    assert with_tries.predict(task) == without.predict(task)


def test_a_broken_try_of_an_unknown_tool_is_not_repeated_as_it_was() -> None:
    sizer = fed([MemoryRun("new", 2.0, out_of_memory=True, step="s1")])
    assert sizer.predict(MemoryTask("new")).gb > 2.0


@given(st.floats(1e-3, 1e4), st.integers(1, 10**12))
@settings(max_examples=60, deadline=None)
def test_one_absurd_record_moves_an_answer_by_a_bounded_factor(peak: float, size: int) -> None:
    dice = random.Random(3)  # noqa: S311
    runs = [MemoryRun("sort", 2.0 * dice.lognormvariate(0, 0.02), input_bytes=1e6) for _ in range(60)]
    task = MemoryTask("sort", input_bytes=1e6)
    before = fed(runs).predict(task).gb
    after = fed([*runs, MemoryRun("sort", peak, input_bytes=size)]).predict(task).gb
    assert 0.5 < after / before < 2.0


def test_experience_of_other_tools_is_where_a_sizer_starts() -> None:
    dice = random.Random(5)  # noqa: S311
    runs = [MemoryRun(f"t{i % 9}", 1.0 + i % 9, input_bytes=10 ** dice.uniform(5, 9)) for i in range(180)]
    learned = fed(runs).experience
    assert len(learned.ranks) == 180 - 9
    assert learned.ordinary_gbh == 0, "no time was told"
    started = MemorySizer(experience=learned)
    started.update(MemoryRun("new", 2.0, input_bytes=1e6))
    task = MemoryTask("new", input_bytes=1e7)
    # Nine tools of constant memory: the tenth is given less for a larger input than if nothing were known.
    assert 2.0 <= started.predict(task).gb < fed([MemoryRun("new", 2.0, input_bytes=1e6)]).predict(task).gb
    assert started.experience.ranks == ()


def test_the_price_of_a_failed_try_goes_on_in_another_sizer() -> None:
    runs = [MemoryRun("a", 2.0, input_bytes=1e6, latency_ms=3.6e6, first_gb=1.0) for _ in range(40)]
    learned = fed(runs).experience
    assert learned.ordinary_gbh == pytest.approx(2.0)
    assert learned.raised > 1.0, "every first try failed"
    started = MemorySizer(experience=learned)
    again = started.experience
    assert (again.ordinary_gbh, again.raised) == (learned.ordinary_gbh, learned.raised)


def test_a_loud_tenant_does_not_outvote_the_others() -> None:
    quiet = [MemoryRun("sort", 2.0, tenant=f"t{i % 4}") for i in range(12)]
    loud = [MemoryRun("sort", 0.1, tenant="loud") for _ in range(100)]
    choice = fed([*quiet, *loud]).predict(MemoryTask("sort"))
    assert choice.runs == 12 + 12 + 8
    assert fed(loud).predict(MemoryTask("sort")).runs == 100


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 10**12)), min_size=1, max_size=30), st.floats(0.05, 64)
)
@settings(max_examples=60, deadline=None)
def test_an_answer_keeps_within_the_cap_whatever_was_seen(raw: list[tuple[float, int]], cap: float) -> None:
    sizer = fed([MemoryRun("any", peak, input_bytes=size) for peak, size in raw])
    choice = sizer.predict(MemoryTask("any", input_bytes=1e7, cap_gb=cap))
    assert 0 < choice.gb <= cap
    assert choice.gb >= min(cap, Ladder().least_gb)
    assert 0 < choice.median_gb <= choice.p95_gb
    assert 0.0 <= choice.failing <= 1.0


def test_latency_follows_the_input_and_never_rises_with_cores_or_gpu_share() -> None:
    sizer = LatencySizer()
    for size in (1, 2, 3, 4, 5, 6):
        sizer.update("blur", size * 1e6, 2, 1000.0 * size)
        sizer.update("blur", size * 1e6, 2, 100.0 * size, gpu_sm=50)
    assert sizer.median_ms("blur", 10e6, 2) == pytest.approx(10_000, rel=0.1)
    assert sizer.quantile_ms(0.9, "blur", 4e6, 2) > sizer.median_ms("blur", 4e6, 2)
    assert sizer.median_ms("none", 1e6, 1) is None
    cores = [sizer.median_ms("blur", 4e6, count) for count in (0.5, 1, 2, 4, 8)]
    shares = [sizer.median_ms("blur", 4e6, 2, gpu_sm=share) for share in (10, 25, 50, 100)]
    assert cores == sorted(cores, reverse=True)
    assert shares == sorted(shares, reverse=True)


def test_the_parallel_share_is_learned_once_two_allocations_were_seen() -> None:
    serial, parallel = LatencySizer(), LatencySizer()
    for number in range(16):
        cores = 1 + number % 4
        serial.update("t", 1e6, cores, 1000.0)
        parallel.update("t", 1e6, cores, 1000.0 * (0.05 + 0.95 / cores))
    assert serial.parallel_share("t") == 0.0
    assert parallel.parallel_share("t") == 0.95
    assert serial.median_ms("t", 1e6, 8) == pytest.approx(1000, rel=0.05)
    assert parallel.median_ms("t", 1e6, 8) == pytest.approx(1000 * (0.05 + 0.95 / 8), rel=0.05)
    alone = LatencySizer()
    alone.update("t", 1e6, 2, 1000.0)
    assert alone.parallel_share("t") is None
