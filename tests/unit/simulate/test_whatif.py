"""Changes of capacity, losses, additions and arrivals: how they are written, and what they do to bins."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.unit.simulate.small import a_bin, a_plan, plan_step
from tomas.airflow.routing import routing_payload
from tomas.errors import DataError
from tomas.schema import Resources
from tomas.simulate import SimBin, Workload
from tomas.simulate.arrivals import Arrivals, parse_arrivals
from tomas.simulate.whatif import (
    Change,
    Loss,
    Span,
    add_bins,
    apply,
    parse_change,
    parse_loss,
    parse_span,
    parse_time,
)
from tomas.simulate.workload import NEVER, priorities

BINS = [a_bin("large_1"), a_bin("large_2"), a_bin("odd", 2, 2)]


def rows(place: SimBin) -> list[tuple[float, float, float, int, bool]]:
    return [(one.start_ms, one.free[0], one.free[1], one.slots, one.lost) for one in place.stretches]


@pytest.mark.parametrize(
    ("text", "ms"),
    [("90", 90e3), ("90s", 90e3), ("1.5m", 90e3), ("2h", 7.2e6), ("1d", 86.4e6), ("12:30", 45e6), ("0:00:05", 5e3)],
)
def test_times(text: str, ms: float) -> None:
    assert parse_time(text) == ms


def test_a_time_of_day_counts_from_the_clock_and_may_be_tomorrows() -> None:
    eight = parse_time("8:00")
    assert parse_time("9:00", clock_ms=eight) == 3.6e6
    assert parse_time("7:00", clock_ms=eight) == 23 * 3.6e6


def test_spans_may_be_open_at_either_end() -> None:
    assert parse_span("60..2m") == Span(60e3, 120e3)
    assert parse_span("..60") == Span(0, 60e3)
    assert parse_span("60..") == Span(60e3, math.inf)
    assert parse_span("..").whole


def test_changes_and_losses() -> None:
    assert parse_change("gpu_1.cpu_cores=4@60..120") == Change("gpu_1", "cpu_cores", 4, False, Span(60e3, 120e3))
    assert parse_change("cpu-large.v2.slots=x0.5") == Change("cpu-large.v2", "slots", 0.5, True, None)
    assert parse_loss("gpu_1") == Loss("gpu_1")
    assert parse_loss("gpu_1@60..") == Loss("gpu_1", Span(60e3))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("gpu_1", "malformed"),
        ("cpu_cores=4", "malformed"),
        ("gpu_1.cores=4", "no resource 'cores'"),
        ("gpu_1.cpu_cores=many", "neither an amount nor a factor"),
        ("gpu_1.cpu_cores=-1", "not a finite amount"),
        ("gpu_1.cpu_cores=x-1", "not a finite amount"),
        ("gpu_1.cpu_cores=nan", "not a finite amount"),
        ("gpu_1.cpu_cores=inf", "not a finite amount"),
        ("gpu_1.slots=1.5", "whole slots"),
        ("gpu_1.cpu_cores=4@60", "no span"),
        ("gpu_1.cpu_cores=4@120..60", "ends before it starts"),
        ("gpu_1.cpu_cores=4@soon..later", "'soon' is no time"),
    ],
)
def test_malformed_changes_are_refused(text: str, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        parse_change(text)
    assert caught.value.remedy


def test_a_change_for_a_time_leaves_the_pool_and_the_declaration() -> None:
    after = apply(BINS, [parse_change("large_1.cpu_cores=x0.5@60..120")])
    assert rows(after[0]) == [(0, 4, 8, 100, False), (60e3, 2, 8, 100, False), (120e3, 4, 8, 100, False)]
    assert (after[0].capacity.cpu_cores, after[0].redeclared) == (4, False)
    assert after[1:] == BINS[1:]


def test_a_change_for_good_makes_another_worker_whose_slots_are_derived_anew() -> None:
    (small, *_) = apply(BINS, [parse_change("large_1.cpu_cores=x0.5")])
    assert (small.capacity.cpu_cores, small.redeclared, rows(small)) == (2, True, [(0, 2, 8, 100, False)])
    plan = a_plan([plan_step("s1", [], bin_name="large_1")])
    assert Workload.of(plan, {"large_1": BINS[0]}).steps[0].slots == 25
    assert Workload.of(plan, {"large_1": small}).steps[0].slots == 50
    (none, *_) = apply(BINS, [parse_change("large_1.cpu_cores=0")])
    assert Workload.of(plan, {"large_1": none}).steps[0].slots == NEVER


def test_a_class_stands_for_its_bins_and_later_changes_count_on() -> None:
    after = apply(BINS, [parse_change("c.cpu_mem_gb=6@..60"), parse_change("large_2.cpu_mem_gb=x0.5@30..90")])
    assert rows(after[0]) == [(0, 4, 6, 100, False), (60e3, 4, 8, 100, False)]
    assert [row[:3] for row in rows(after[1])] == [(0, 4, 6), (30e3, 4, 3), (60e3, 4, 4), (90e3, 4, 8)]


def test_a_pool_may_shrink() -> None:
    (place, *_) = apply(BINS, [parse_change("large_1.slots=x0.333@10..20")])
    assert [row[3] for row in rows(place)] == [100, 33, 100]


def test_a_lost_bin_comes_back() -> None:
    (place, *_) = apply(BINS, losses=[parse_loss("large_1@60..120")])
    assert [(row[0], row[4]) for row in rows(place)] == [(0, False), (60e3, True), (120e3, False)]
    (gone, *_) = apply(BINS, losses=[parse_loss("large_1")])
    assert [row[4] for row in rows(gone)] == [True]


def test_unknown_targets_name_what_there_is() -> None:
    with pytest.raises(DataError, match="neither a bin nor a worker class 'gpu_9'") as caught:
        apply(BINS, [parse_change("gpu_9.cpu_cores=1")])
    assert "large_1" in caught.value.remedy
    with pytest.raises(DataError, match="gpu_9"):
        apply(BINS, losses=[parse_loss("gpu_9")])


def test_added_bins_are_named_like_the_others() -> None:
    assert [place.name for place in add_bins(BINS, "c", 2)] == ["large_1", "large_2", "odd", "large_3", "large_4"]
    one = [a_bin("worker")]
    assert [place.name for place in add_bins(one, "c", 2)] == ["worker", "worker_1", "worker_2"]
    assert add_bins(one, "c", 1)[1].capacity == one[0].capacity
    for bad in (("d", 1), ("c", -1)):
        with pytest.raises(DataError):
            add_bins(one, *bad)


# -- arrivals -------------------------------------------------------------------------------------------------


def test_arrivals_once_and_evenly() -> None:
    assert parse_arrivals(None).draw(0) == [0]
    assert parse_arrivals(None, count=3).draw(0) == [0, 0, 0]
    assert parse_arrivals("every:300", count=3).draw(0) == [0, 300e3, 600e3]
    assert parse_arrivals("every:5m", duration_ms=900e3).draw(0) == [0, 300e3, 600e3]
    assert parse_arrivals("every:5m", duration_ms=901e3, count=9).draw(0) == [0, 300e3, 600e3, 900e3]
    assert parse_arrivals("every:0.1", duration_ms=1e3).draw(0) == pytest.approx([i * 100 for i in range(10)])


def test_poisson_arrivals_have_the_rate_and_follow_the_seed() -> None:
    process = parse_arrivals("poisson:20/h", duration_ms=1000 * 3.6e6)
    times = process.draw(1)
    assert len(times) == pytest.approx(20_000, rel=0.03)
    gaps = np.diff(times)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.03)
    assert times == process.draw(1) != process.draw(2)
    assert times[-1] < 1000 * 3.6e6
    assert len(parse_arrivals("poisson:3/s", count=7).draw(1)) == 7


@pytest.mark.parametrize("text", ["30\n0\n12.5\n", "[30, 0, 12.5]"])
def test_arrivals_of_a_file(text: str, tmp_path: Path) -> None:
    file = tmp_path / "times.txt"
    file.write_text(text)
    assert parse_arrivals(f"times:{file}").draw(0) == [0, 12.5e3, 30e3]
    assert parse_arrivals(f"times:{file}", duration_ms=20e3).draw(0) == [0, 12.5e3]


@pytest.mark.parametrize(
    ("text", "count", "duration_ms", "match"),
    [
        ("every:300", None, None, "never end"),
        ("poisson:20/h", None, None, "never end"),
        ("every:0", 3, None, "not above 0"),
        ("poisson:0/h", 3, None, "no rate"),
        ("poisson:20", 3, None, "no rate"),
        ("poisson:20/year", 3, None, "no rate"),
        ("often", 3, None, "unknown"),
        ("times:/no/such/file", None, None, "cannot be read"),
        ("every:1", 0, None, "are none"),
        ("every:1", None, 0.0, "duration"),
        ("every:0.001", None, 86.4e6, "86,400,000 arrivals"),
    ],
)
def test_malformed_arrivals_are_refused(
    text: str, count: int | None, duration_ms: float | None, match: str
) -> None:
    with pytest.raises(DataError, match=match) as caught:
        parse_arrivals(text, count=count, duration_ms=duration_ms)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["", "soon", "-1", "nan", '["a"]', "[[1]]"])
def test_files_without_times_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "times.txt"
    file.write_text(text)
    with pytest.raises(DataError, match=r"times\.txt"):
        parse_arrivals(f"times:{file}")


def test_arrivals_of_a_process_need_an_end() -> None:
    with pytest.raises(DataError, match="never end"):
        Arrivals(interval_ms=1.0)


# -- workloads ------------------------------------------------------------------------------------------------


def test_a_workload_is_the_plan_with_the_weights_of_its_routing() -> None:
    steps = [
        plan_step("s1", []),
        plan_step("s2", [], bin_name="b2", slots=60),
        plan_step("s3", ["s1", "s2"]),
        plan_step("s4", ["s3"], start_ms=400),
    ]
    plan = a_plan(steps, priority=3, deadline_s=10, hand_over_ms=50)
    flow = Workload.of(plan, {"b1": a_bin("b1"), "b2": a_bin("b2")})
    routes = routing_payload(plan, ["t"])["t"]
    assert [one.priority for one in flow.steps] == [route["priority"] for route in routes] == [9, 9, 6, 3]
    assert [list(one.after) for one in flow.steps] == [route["after"] for route in routes]
    assert [one.slots for one in flow.steps] == [25, 60, 25, 25]
    assert (flow.hand_over_ms, flow.planned_makespan_ms) == (50, 600)
    # Ten seconds from the request, less 0.4 s of T_inf and 0.6 s of dispatch lag.
    assert flow.deadline_ms == 9000


def test_weights_of_a_wide_and_deep_graph() -> None:
    # A diamond counts its join once.
    assert priorities([(), (0,), (0,), (1, 2)]) == [4, 2, 2, 1]
    assert priorities([(i - 1,) if i else () for i in range(5)], 2) == [10, 8, 6, 4, 2]


def test_a_plan_on_an_unknown_bin_is_refused_with_the_remedy() -> None:
    with pytest.raises(
        DataError, match=r"a1b2c3d4 places step s1 on the bin b1, which is not known.*known: x"
    ) as caught:
        Workload.of(a_plan([plan_step("s1", [])]), {"x": a_bin("x")})
    assert "--add c=1" in caught.value.remedy


def test_resources_of_a_bin_give_slots() -> None:
    place = a_bin("b", 4, 8)
    assert place.slots_for((1, 1, 0, 0)) == 25
    assert place.slots_for((0, 8, 0, 0)) == 100
    assert place.slots_for((0, 0, 10, 0)) == NEVER
    assert place.capacity == Resources(cpu_cores=4, cpu_mem_gb=8)
