"""Sizing from history: quantiles, monotony, fallbacks that name themselves, censored peaks, bounded influence."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.schema import (
    Bin,
    ExecutionRecord,
    InputSize,
    InputSizeThresholds,
    Outcome,
    Port,
    ProfileRow,
    ProfileSource,
    Resources,
    StepUsage,
    Tool,
)
from tomas.sizing import QuantileSizer, SizeCurve
from tomas.sizing.estimate import censored_quantile

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def tool(name: str = "blur", family: str = "vision", max_cores: int = 8) -> Tool:
    return Tool(
        name=name, family=family, description="Blur.", inputs=[Port(name="images", type="image/*")],
        outputs=[Port(name="images", type="image/png")], max_cores=max_cores,
        input_size=InputSizeThresholds(small_max_bytes=1000, medium_max_bytes=100_000),
    )  # fmt: skip


def place(cores: float = 8, gb: float = 16, gpu: float = 0) -> Bin:
    capacity = Resources(cpu_cores=cores, cpu_mem_gb=gb, gpu_sm=100 if gpu else 0, gpu_mem_gb=gpu)
    return Bin(name="b1", worker_class="c", queue="q", pool="p", capacity=capacity)


def row(
    size: int, latency_ms: float, *, cores: float = 1, peak: float = 0.4, name: str = "blur", **more
) -> ProfileRow:
    fields = {"source": ProfileSource.MEASURED, "measured_at": NOW, "output_bytes": size // 2, **more}
    return ProfileRow(
        tool=name, input_size=InputSize.SMALL, input_bytes=size, cpu_core=cores, cpu_mem_gb=4,
        latency_ms=latency_ms, peak_mem_gb=peak, **fields,
    )  # fmt: skip


def record(step: str, *, outcome: Outcome = Outcome.SUCCESS, gb: float = 1.0, peak: float = 0.5, wall: float = 1000,
           size: int = 10_000, tries: int = 1) -> ExecutionRecord:  # fmt: skip
    return ExecutionRecord(
        plan_id="p", step_id=step, tool="blur", try_number=tries, bin="b1", host="h",
        requested=Resources(cpu_cores=1, cpu_mem_gb=gb), input_bytes=size, output_bytes=size, started_at=NOW,
        ended_at=NOW + timedelta(milliseconds=wall),
        usage=StepUsage(wall_ms=wall, peak_mem_gb=peak, cpu_seconds=1, peak_cpu_cores=1, outcome=outcome),
    )  # fmt: skip


AMDAHL = [
    row(size, size / 10 * (0.2 + 0.8 / cores) * noise, cores=cores, peak=0.2 + size / 1e6)
    for size in (10_000, 100_000, 1_000_000)
    for cores in (1, 2, 4)
    for noise in (0.97, 1.0, 1.03)
]


def test_latency_interpolates_over_size_and_follows_the_cores() -> None:
    sizer = QuantileSizer.fit(AMDAHL, [], tools=[tool()])
    for size in (10_000, 30_000, 1_000_000):
        for cores in (1, 2, 4, 8):
            p50, p90 = sizer.latency_ms(tool(), size, cores)
            assert p50 == pytest.approx(size / 10 * (0.2 + 0.8 / cores), rel=0.08)
            assert p50 * 1.1 < p90 < p50 * 1.5


def test_modes_offer_cores_up_to_what_tool_and_bin_have() -> None:
    sizer = QuantileSizer.fit(AMDAHL, [], tools=[tool()])
    assert [mode.allocation.cpu_cores for mode in sizer.modes(tool(), 1e5, [place()])] == [1, 2, 4, 8]
    assert [mode.allocation.cpu_cores for mode in sizer.modes(tool(max_cores=3), 1e5, [place()])] == [1, 2, 3]
    assert [mode.allocation.cpu_cores for mode in sizer.modes(tool(), 1e5, [place(cores=2)])] == [1, 2]
    assert [mode.allocation.cpu_cores for mode in sizer.modes(tool(), 1e5, [place(cores=2)], fractions=[0.5])] == [
        0.5, 1, 2,
    ]  # fmt: skip


def test_cores_that_do_not_help_are_not_offered() -> None:
    rows = [row(10_000, 500, cores=cores) for cores in (1, 2, 4) for _ in range(3)]
    assert [mode.allocation.cpu_cores for mode in QuantileSizer.fit(rows, []).modes(tool(), 1e4, [place()])] == [1]


def test_memory_covers_the_quantile_and_is_rounded_to_quarters() -> None:
    peaks = [0.40, 0.41, 0.42, 0.43, 0.60]
    mode = QuantileSizer.fit([row(10_000, 500, peak=peak) for peak in peaks], []).modes(tool(), 1e4, [place()])[0]
    assert mode.allocation.cpu_mem_gb >= 0.60
    assert mode.allocation.cpu_mem_gb % 0.25 == 0
    assert mode.allocation.cpu_mem_gb < 1.25
    assert mode.floor.fits(mode.allocation)
    assert "5 runs of blur" in mode.why


def test_no_mode_where_no_bin_has_the_memory() -> None:
    sizer = QuantileSizer.fit([row(10_000, 500, peak=40) for _ in range(5)], [])
    assert sizer.modes(tool(), 1e4, [place(gb=16)]) == []
    assert sizer.peak_gb(tool(), 1e4) > 40


def test_a_gpu_is_a_mode_of_its_own() -> None:
    rows = AMDAHL + [row(100_000, 300, gpu_sm=50, gpu_mem_gb=8) for _ in range(3)]
    sizer = QuantileSizer.fit(rows, [])
    assert {mode.allocation.gpu_sm for mode in sizer.modes(tool(), 1e5, [place()])} == {0}
    with_gpu = sizer.modes(tool(), 1e5, [place(gpu=24)])
    assert {mode.allocation.gpu_sm for mode in with_gpu} == {0, 50}
    assert {mode.allocation.gpu_mem_gb for mode in with_gpu if mode.allocation.gpu_sm} == {8}


@pytest.mark.parametrize(
    ("other", "family", "basis", "says"),
    [("sharpen", "vision", "family", "family vision"), ("spell", "text", "any", "other tools")],
)
def test_fallbacks_say_whose_history_they_use(other: str, family: str, basis: str, says: str) -> None:
    sizer = QuantileSizer.fit(AMDAHL, [], tools=[tool()])
    mode = sizer.modes(tool(other, family), 1e5, [place()])[0]
    assert mode.basis == basis
    assert says in mode.why


def test_without_any_history_a_guess_says_so() -> None:
    mode = QuantileSizer.fit([], []).modes(tool(), 1e5, [place()])[0]
    assert mode.basis == "prior"
    assert "guess" in mode.why


def test_given_rows_give_way_to_measured_runs() -> None:
    rows = [row(10_000, 9000, source=ProfileSource.GIVEN, measured_at=None) for _ in range(5)]
    assert QuantileSizer.fit(rows, []).latency_ms(tool(), 1e4, 1)[0] == pytest.approx(9000)
    assert QuantileSizer.fit(rows, [record("s1")]).latency_ms(tool(), 1e4, 1)[0] == pytest.approx(1000)


def test_an_out_of_memory_run_raises_the_memory_above_its_limit() -> None:
    fine = [record(f"s{i}", peak=0.5) for i in range(4)]
    killed = record("bad", outcome=Outcome.OUT_OF_MEMORY, gb=1.0, peak=0.97)
    assert QuantileSizer.fit([], fine).peak_gb(tool(), 10_000) < 1.0
    assert QuantileSizer.fit([], [*fine, killed]).peak_gb(tool(), 10_000) > 1.0


def test_retries_of_a_step_are_one_observation() -> None:
    tries = [record("s1", outcome=Outcome.OUT_OF_MEMORY, gb=1, tries=n) for n in (1, 2)]
    fixed = record("s1", gb=2, peak=1.1, tries=3)
    estimate = QuantileSizer.fit([], [*tries, fixed])
    assert estimate.modes(tool(), 10_000, [place()])[0].runs == 1
    assert estimate.peak_gb(tool(), 10_000) == pytest.approx(1.5)


def test_failed_and_killed_runs_teach_nothing() -> None:
    sizer = QuantileSizer.fit([], [record("a", outcome=Outcome.FAILED), record("b", outcome=Outcome.KILLED)])
    assert sizer.known_tools == []


def test_output_sizes_propagate() -> None:
    sizer = QuantileSizer.fit(AMDAHL, [], tools=[tool()])
    assert sizer.output_bytes(tool(), 100_000) == pytest.approx(50_000, rel=0.01)
    assert sizer.output_bytes(tool("other", "none"), 777) == 777


def test_payload_survives_json_and_refuses_what_it_does_not_know() -> None:
    sizer = QuantileSizer.fit(AMDAHL, [], tools=[tool()])
    again = QuantileSizer.from_payload(json.loads(json.dumps(sizer.to_payload(), allow_nan=False)))
    assert again.modes(tool(), 12_345, [place()]) == sizer.modes(tool(), 12_345, [place()])
    with pytest.raises(ValueError, match="version"):
        QuantileSizer.from_payload({"version": 99})
    with pytest.raises(ValueError, match="malformed"):
        QuantileSizer.from_payload({"version": 1})


def test_refreshed_keeps_what_the_base_knows_of_tools_that_did_not_run() -> None:
    base = QuantileSizer.fit([*AMDAHL, *(row(10_000, 777, name="crop") for _ in range(5))], [], tools=[tool()])
    newer = QuantileSizer.fit([row(10_000, 5.0) for _ in range(5)] + [row(10_000, 5.0, name="crop")], [])
    merged = newer.refreshed(base, {"blur"})
    assert merged.latency_ms(tool(), 10_000, 1)[0] == pytest.approx(5.0)
    assert merged.latency_ms(tool("crop"), 10_000, 1)[0] == pytest.approx(777)


runs = st.lists(
    st.tuples(st.integers(1, 10**9), st.sampled_from([0.5, 1, 2, 4, 8]), st.floats(1, 1e6), st.floats(0.01, 64)),
    min_size=1,
    max_size=25,
)


@given(runs, st.integers(0, 10**10))
@settings(max_examples=150, deadline=None)
def test_latency_never_rises_with_cores_and_nothing_falls_with_size(raw, size: int) -> None:
    sizer = QuantileSizer.fit([row(s, ms, cores=c, peak=gb) for s, c, ms, gb in raw], [])
    previous = (math.inf, math.inf)
    for cores in (0.25, 0.5, 1, 2, 3, 4, 8):
        p50, p90 = sizer.latency_ms(tool(), size, cores)
        assert 0 < p50 <= p90 < math.inf
        assert p50 <= previous[0] * (1 + 1e-9)
        assert p90 <= previous[1] * (1 + 1e-9)
        previous = (p50, p90)
    assert sizer.latency_ms(tool(), size * 2, 1)[0] >= sizer.latency_ms(tool(), size, 1)[0] * (1 - 1e-9)
    assert sizer.peak_gb(tool(), size * 2) >= sizer.peak_gb(tool(), size)
    assert sizer.output_bytes(tool(), size) >= 0


@given(st.floats(1e-3, 1e9), st.floats(1e-3, 1e6), st.integers(1, 10**9))
@settings(max_examples=60, deadline=None)
def test_one_absurd_run_moves_an_estimate_by_a_bounded_factor(ms: float, gb: float, size: int) -> None:
    calm = [row(10_000, 500 + i, peak=0.4) for i in range(9)]
    before = QuantileSizer.fit(calm, [])
    after = QuantileSizer.fit([*calm, row(size, ms, peak=gb)], [])
    assert 0.5 < after.latency_ms(tool(), 10_000, 1)[0] / before.latency_ms(tool(), 10_000, 1)[0] < 2
    assert after.latency_ms(tool(), 10_000, 1)[1] / before.latency_ms(tool(), 10_000, 1)[1] < 5
    assert after.peak_gb(tool(), 10_000) / before.peak_gb(tool(), 10_000) < 5


def test_curve_holds_below_its_first_knot_and_rises_beyond_its_last() -> None:
    curve = SizeCurve.fit([(1000, 1.0), (100_000, 10.0)])
    assert curve is not None
    assert curve.at(1) == pytest.approx(1.0)
    assert curve.at(10_000) == pytest.approx(math.sqrt(10), rel=0.01)
    assert curve.at(1_000_000) > 10
    assert SizeCurve.fit([(1, 0.0)]) is None


def test_censored_quantile_counts_lower_bounds_as_at_least_that() -> None:
    assert censored_quantile([(1, False), (2, False), (3, False)], 0.5) == 2
    assert censored_quantile([(1, False), (1, True), (3, False)], 0.5) == 3
    assert censored_quantile([(1, False), (2, True)], 0.9) == pytest.approx(2 + math.log(1.5))
