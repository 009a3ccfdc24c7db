"""Placing again: on what is left, around what is booked, without foreseeing losses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.simulate.small import a_bin, from_then, step, times, work
from tomas.errors import FitsNoBin
from tomas.simulate import Job, JobState, SimStep, Stretch, simulate
from tomas.simulate.placing import Booking
from tomas.simulate.replan import Replanner
from tomas.simulate.scenario import Scenario


def places(flow, bins, **given):
    given = {"now_ms": 0.0, "earliest_ms": dict.fromkeys(range(9), 0.0), "booked": [], "lost": frozenset(), **given}
    return [
        (one.bin, one.slots, one.start_ms, one.end_ms)
        for one in Replanner(bins).place(flow, range(len(flow.steps)), **given)
    ]


def test_steps_spread_over_bins_that_fit_them() -> None:
    flow = work(step("a", 100, 4, slots=100), step("b", 100, 4, slots=100), hand_over_ms=10)
    found = places(flow, [a_bin("b1"), a_bin("b2"), a_bin("tiny", 1, 1)])
    assert sorted(found) == [("b1", 100, 0, 110), ("b2", 100, 0, 110)]


def test_slots_are_the_dominant_share_of_the_new_bin() -> None:
    flow = work(step("a", 100, 4, slots=100, place="b1"))
    assert places(flow, [a_bin("b1"), a_bin("wide", 16, 32)], lost=frozenset({"b1"})) == [("wide", 25, 0, 100)]


def test_gpu_steps_go_only_where_there_is_one() -> None:
    flow = work(SimStep("a", "g1", 50, (1, 1, 50, 4), 100, 100))
    bins = [a_bin("b1"), a_bin("g2", sm=100, gpu_gb=8)]
    assert places(flow, bins)[0][0] == "g2"
    with pytest.raises(FitsNoBin, match="Step a of w fits none of the 1 bins"):
        places(flow, bins[:1])


def test_bookings_and_announced_changes_count() -> None:
    flow = work(step("a", 100, 4, slots=100))
    booked = [Booking("b1", (2, 1, 0, 0), 50, 900.0, 1300.0)]
    assert places(flow, [a_bin()], booked=booked, now_ms=1000.0) == [("b1", 100, 1300, 1400)]
    assert places(flow, [a_bin("b1", 4, 8, from_then(1050, cores=2), from_then(1200))], now_ms=1000.0) == [
        ("b1", 100, 1200, 1300)
    ]


def test_each_arriving_plan_goes_where_the_earlier_ones_are_not() -> None:
    flow = work(step("a", 100, 4, slots=100))
    bins = [a_bin("b1"), a_bin("b2")]
    jobs = [Job(flow, t) for t in (0.0, 10.0, 20.0)]
    stay = simulate(jobs, bins)
    assert [job.makespan_ms for job in stay.jobs] == [100, 190, 280]
    moved = simulate(jobs, bins, placer=Replanner(bins))
    assert list(moved.bin) == [0, 1, 0]
    assert times(moved) == [(0, 100), (10, 110), (100, 200)]


def test_what_a_lost_bin_leaves_behind_runs_elsewhere() -> None:
    flow = work(step("a", 100), step("b", 50, 1, 0), step("c", 30, 1, 1), hand_over_ms=5)
    bins = [a_bin("b1", 4, 8, from_then(50, lost=True)), a_bin("b2", 2)]
    assert simulate([Job(flow)], bins).jobs[0].state is JobState.FAILED
    done = simulate([Job(flow)], bins, placer=Replanner(bins))
    # The hand-over passes before Airflow tries again.
    assert times(done) == [(55, 155), (160, 210), (215, 245)]
    assert list(done.bin) == [1, 1, 1]
    assert list(done.tries) == [2, 1, 1]
    assert list(done.slots) == [50, 50, 50]


def test_steps_that_wait_are_moved_too_and_their_old_entries_forgotten() -> None:
    bins = [a_bin("b1", 4, 8, from_then(50, lost=True), from_then(60)), a_bin("b2")]
    jobs = [Job(work(*(step(f"s{i}", 40, 4, slots=100) for i in range(3))))]
    done = simulate(jobs, bins, placer=Replanner([bins[0], a_bin("b2")]))
    assert done.done
    assert done.events == 2 * 3 + 2 * int((done.tries > 1).sum())
    assert sorted(done.tries) in ([1, 1, 1], [1, 1, 2])


def test_a_plan_without_a_place_is_refused_and_the_others_go_on() -> None:
    bins = [a_bin("b1", 4, 8)]
    jobs = [Job(work(step("a", 10, 8, slots=100), name="large")), Job(work(step("b", 10), name="small"))]
    done = simulate(jobs, bins, placer=Replanner(bins))
    assert [job.state for job in done.jobs] == [JobState.REFUSED, JobState.DONE]
    assert "fits none of the 1 bins" in done.jobs[0].reason
    assert np.isnan(done.ready_ms[0])


def test_a_loss_with_nowhere_to_go_leaves_the_job_stuck_until_the_bin_returns() -> None:
    flow = work(step("a", 100))
    gone = [a_bin("b1", 4, 8, from_then(50, lost=True))]
    done = simulate([Job(flow)], gone, placer=Replanner(gone))
    assert done.jobs[0].state is JobState.STUCK
    assert "fits none of the 0 bins" in done.jobs[0].reason
    back = [a_bin("b1", 4, 8, from_then(50, lost=True), from_then(80))]
    assert times(simulate([Job(flow)], back, placer=Replanner(back))) == [(80, 180)]


def test_a_better_scheduler_gives_a_shorter_plan() -> None:
    # 3 + 3 + 2 + 2 + 2 over two bins of one step at a time: 6 is best, longest first makes 7.
    steps = [step(f"s{i}", ms, 4, slots=100) for i, ms in enumerate((300, 300, 200, 200, 200))]
    bins = (a_bin("b1"), a_bin("b2"))
    makespans = [
        Scenario((work(*steps),), bins, replan=True, schedule_limit_s=limit).run().jobs[0].makespan_ms
        for limit in (0.0, 1.0)
    ]
    assert makespans == [700, 600]


def test_a_bin_declared_anew_gives_other_slots() -> None:
    place = replace(a_bin("b1", 2, 8), redeclared=True, stretches=(Stretch(0.0, (2.0, 8.0, 0.0, 0.0)),))
    assert places(work(step("a", 10, 1, slots=25)), [place])[0][1] == 50
