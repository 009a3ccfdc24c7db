"""The event loop on cases small enough to work out by hand."""

from __future__ import annotations

import math

import pytest

from tests.unit.simulate.small import a_bin, from_then, step, times, work
from tomas.errors import DataError
from tomas.simulate import Decision, Job, JobState, SimStep, StepState, Stretch, decisions, simulate


def test_a_fan_out_takes_turns_in_the_pool() -> None:
    # Five steps of 40 slots: two at a time.
    done = simulate([Job(work(*(step(f"s{i}", 100, slots=40) for i in range(5))))], [a_bin()])
    assert times(done) == [(0, 100), (0, 100), (100, 200), (100, 200), (200, 300)]
    assert list(done.wait_ms) == [0, 0, 100, 100, 200]
    assert done.jobs[0].makespan_ms == 300
    assert done.done


def test_a_small_step_passes_one_that_does_not_fit() -> None:
    steps = [step("a", 100, slots=60), step("wide", 100, slots=50, priority=9), step("c", 50, slots=40)]
    steps[0] = SimStep("a", "b1", 60, (1, 1, 0, 0), 100, 100, (), 10)
    assert times(simulate([Job(work(*steps))], [a_bin()])) == [(0, 100), (100, 200), (0, 50)]


def test_the_higher_weight_goes_first_then_the_one_ready_longest() -> None:
    one = work(step("low", 10, slots=100), step("high", 10, slots=100, priority=3))
    assert times(simulate([Job(one)], [a_bin()])) == [(10, 20), (0, 10)]
    same = [Job(work(step("first", 10, slots=100)), t) for t in (0.0, 2.0, 1.0)]
    done = simulate(same, [a_bin()])
    assert [job.job for job in done.jobs] == [0, 2, 1]
    assert times(done) == [(0, 10), (10, 20), (20, 30)]


def test_the_hand_over_delays_followers_and_whoever_waits_for_the_room() -> None:
    chain = work(step("a", 100), step("b", 50, 1, 0), hand_over_ms=30)
    assert times(simulate([Job(chain)], [a_bin()])) == [(0, 100), (130, 180)]
    room = work(step("a", 100, slots=100), step("b", 50, slots=100), hand_over_ms=30)
    assert times(simulate([Job(room)], [a_bin()])) == [(0, 100), (130, 180)]


def test_cores_are_shared_in_exact_proportion() -> None:
    # 3 + 3 cores needed where 4 are: both at 2/3. "a" (100 ms) ends at 150; "b" has 100 of its 200 left, alone.
    both = work(step("a", 100, 3), step("b", 200, 3))
    done = simulate([Job(both)], [a_bin()])
    assert times(done) == [(0, 150), (0, 250)]
    assert [round(float(x), 6) for x in done.slowdown] == [1.5, 1.25]
    assert done.bins[0].slowed_ms == pytest.approx(150)
    assert done.bins[0].used[0] == pytest.approx((150 * 4 + 100 * 3) / 250)


def test_cores_beyond_the_need_do_not_speed_up() -> None:
    assert times(simulate([Job(work(step("a", 100, 1)))], [a_bin(cores=64)])) == [(0, 100)]


def test_a_drop_of_capacity_midway_slows_what_runs_and_its_end_frees_it() -> None:
    # 60 ms at full speed, then half of the cores until 100 (20 ms of work), then 20 ms at full speed.
    bins = [a_bin("b1", 4, 8, from_then(60, cores=2), from_then(100))]
    assert times(simulate([Job(work(step("a", 100, 4)))], bins)) == [(0, 120)]


def test_a_step_that_arrives_while_others_are_slowed_shares_from_then_on() -> None:
    # One core. a alone until 50; then a and b at 1/2: a's other 50 ms take until 150; b then alone.
    jobs = [Job(work(step("a", 100, 1, slots=1))), Job(work(step("b", 100, 1, slots=1)), 50)]
    assert times(simulate(jobs, [a_bin(cores=1)])) == [(0, 150), (50, 200)]


def test_gpu_is_shared_apart_from_cores() -> None:
    def on_gpu(name: str, cores: float, sm: float) -> SimStep:
        return SimStep(name, "b1", 10, (cores, 1, sm, 1), 100, 100)

    # 160 % of the SMs are wanted: the two GPU steps run at 100/160; the one on cores alone is not slowed.
    done = simulate([Job(work(on_gpu("a", 1, 80), on_gpu("b", 0, 80), step("c", 100)))], [a_bin(sm=100, gpu_gb=8)])
    assert times(done) == [(0, 160), (0, 160), (0, 100)]


def test_no_cores_at_all_stall_a_step_until_they_return() -> None:
    bins = [a_bin("b1", 4, 8, from_then(50, cores=0), from_then(80))]
    assert times(simulate([Job(work(step("a", 100)))], bins)) == [(0, 130)]
    done = simulate([Job(work(step("a", 100)))], [a_bin("b1", 4, 8, from_then(50, cores=0))])
    assert done.jobs[0].state is JobState.STUCK
    assert "no cores or GPU free" in done.jobs[0].reason


def test_memory_beyond_what_is_free_is_reported_with_instant_and_steps() -> None:
    bins = [a_bin("b1", 4, 8, from_then(40, gb=3), from_then(70))]
    done = simulate([Job(work(step("a", 100, gb=2), step("b", 100, gb=2)))], bins)
    (over,) = done.overloads
    assert (over.bin, over.resource, over.start_ms, over.end_ms) == ("b1", "cpu_mem_gb", 40, 70)
    assert (over.used, over.free, over.steps) == (4, 3, ((0, 0), (0, 1)))
    assert times(done) == [(0, 100), (0, 100)]


def test_with_oom_the_step_that_started_last_fails_and_the_others_go_on() -> None:
    bins = [a_bin("b1", 4, 8, from_then(40, gb=3))]
    jobs = [Job(work(step("a", 100, gb=2))), Job(work(step("b", 100, gb=2), step("c", 1, 1, 0)), 10)]
    done = simulate(jobs, bins, oom=True)
    assert times(done)[:2] == [(0, 100), (10, 40)]
    assert [job.state for job in done.jobs] == [JobState.DONE, JobState.FAILED]
    assert done.jobs[1].reason == "step b failed at 0.0 s: out of memory on b1"
    assert list(done.state) == [StepState.DONE, StepState.FAILED, StepState.PENDING]
    assert [(o.start_ms, o.end_ms) for o in done.overloads] == [(40, 40)]


def test_retries_run_a_failed_step_again_from_its_start() -> None:
    bins = [a_bin("b1", 4, 8, from_then(40, lost=True), from_then(60))]
    done = simulate([Job(work(step("a", 100), hand_over_ms=5))], bins, retries=1)
    assert times(done) == [(60, 160)]
    assert list(done.tries) == [2]
    assert done.done
    (bad,) = done.failed_tries
    assert (bad.job, bad.step, bad.bin, bad.start_ms, bad.end_ms, bad.reason) == (
        0,
        0,
        0,
        0,
        40,
        "its bin b1 was lost",
    )


def test_a_lost_bin_fails_what_runs_and_holds_what_waits() -> None:
    bins = [a_bin("b1", 4, 8, from_then(50, lost=True)), a_bin("b2")]
    jobs = [
        Job(work(step("a", 100), step("b", 10, 1, 0, place="b2"))),
        Job(work(step("c", 10, place="b2"))),
        Job(work(step("d", 10)), 60),
    ]
    done = simulate(jobs, bins)
    assert [job.state for job in done.jobs] == [JobState.FAILED, JobState.DONE, JobState.STUCK]
    assert done.jobs[0].reason == "step a failed at 0.1 s: its bin b1 was lost"
    assert done.jobs[2].reason == "step d waits for b1, which is lost"
    assert math.isnan(done.start_ms[3])


def test_a_step_larger_than_its_pool_is_stuck_and_says_why() -> None:
    done = simulate([Job(work(step("a", 10, slots=60)))], [a_bin("b1", 4, 8, from_then(5, slots=50))])
    assert done.done, "it started while there was room"
    done = simulate([Job(work(step("a", 10, slots=60)), 10)], [a_bin("b1", 4, 8, from_then(5, slots=50))])
    assert done.jobs[0].reason == "step a needs 60 slots of b1, whose pool has 50"


def test_deadlines_count_from_the_arrival() -> None:
    jobs = [Job(work(step("a", 100, slots=100), deadline_ms=150), t) for t in (0.0, 20.0)]
    done = simulate(jobs, [a_bin()])
    assert [job.lateness_ms for job in done.jobs] == [-50, 30]
    assert [job.missed for job in done.jobs] == [False, True]


def test_means_and_curves_of_use() -> None:
    done = simulate([Job(work(step("a", 100, 2, gb=4, slots=50), step("b", 50, 1, 0)))], [a_bin()])
    run = done.bins[0]
    assert run.used == pytest.approx(((200 + 50) / 150, (400 + 50) / 150, 0, 0, (5000 + 1250) / 150))
    assert run.utilisation == pytest.approx(((250 / 150) / 4, (450 / 150) / 8, 0, 0, (6250 / 150) / 100))
    assert run.usage is not None
    assert run.usage.times_ms.tolist() == [0, 100, 150]
    assert run.usage.amounts[:, 0].tolist() == [2, 1, 0]


def test_given_work_is_taken_and_checked() -> None:
    assert times(simulate([Job(work(step("a", 100)), 0, (7.0,))], [a_bin()])) == [(0, 7)]
    with pytest.raises(DataError, match="work"):
        simulate([Job(work(step("a", 100)), 0, (7.0, 8.0))], [a_bin()])


def test_a_policy_chooses_among_what_fits() -> None:
    flow = work(step("a", 10, slots=60), step("b", 20, slots=60), step("c", 30, slots=60))
    seen: list[tuple[float, list[str]]] = []

    def longest(decision: Decision) -> int:
        seen.append((decision.now_ms, [one.what.id for one in decision.candidates]))
        return max(range(len(decision.candidates)), key=lambda i: decision.candidates[i].what.p50_ms)

    assert times(simulate([Job(flow)], [a_bin()], policy=longest)) == [(50, 60), (30, 50), (0, 30)]
    assert seen == [(0, ["a", "b", "c"]), (30, ["a", "b"]), (50, ["a"])]


def test_a_policy_that_waits_for_ever_leaves_the_job_stuck_and_a_wrong_answer_is_refused() -> None:
    job = Job(work(step("a", 10)))
    assert simulate([job], [a_bin()], policy=lambda _: None).jobs[0].reason == "step a was never chosen on b1"
    with pytest.raises(DataError, match="candidate 3 of 1"):
        simulate([job], [a_bin()], policy=lambda _: 3)


def test_the_stepwise_interface_gives_what_the_simulator_gives() -> None:
    jobs = [Job(work(*(step(f"s{i}", 10 + i, slots=40, p90=30 + i) for i in range(6))), t) for t in (0.0, 15.0)]
    run = decisions(jobs, [a_bin()], seed=3)
    asked, done = 1, None
    next(run)
    while done is None:
        try:
            run.send(0)
            asked += 1
        except StopIteration as stop:
            done = stop.value
    assert times(done) == times(simulate(jobs, [a_bin()], seed=3))
    assert asked == 12


def test_nothing_to_do_takes_no_time() -> None:
    done = simulate([], [a_bin()])
    assert (done.jobs, done.events, done.end_at_ms) == ((), 0, 0.0)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    flow = work(*(step(f"s{i}", 1) for i in range(2100)))
    simulate([Job(flow)], [a_bin()], on_progress=lambda done, whole: told.append((done, whole)))
    assert told == [(1024, 2100), (2048, 2100)]


@pytest.mark.parametrize(
    ("stretches", "match"),
    [
        ((), "start at"),
        ((Stretch(1.0, (1, 1, 0, 0)),), "start at"),
        ((Stretch(0.0, (1, 1, 0, 0)), Stretch(0.0, (1, 1, 0, 0))), "start at"),
        ((Stretch(0.0, (-1, 1, 0, 0)),), "-1"),
        ((Stretch(0.0, (math.nan, 1, 0, 0)),), "nan"),
    ],
)
def test_a_malformed_bin_is_refused(stretches: tuple[Stretch, ...], match: str) -> None:
    from tomas.schema import Resources
    from tomas.simulate import SimBin

    with pytest.raises(DataError, match=match):
        SimBin("b1", "c", Resources(), stretches)


def test_unknown_bins_and_cycles_are_refused() -> None:
    with pytest.raises(DataError, match="placed on b9"):
        simulate([Job(work(step("a", 1, place="b9")))], [a_bin()])
    with pytest.raises(DataError, match="same name"):
        simulate([], [a_bin(), a_bin()])
    with pytest.raises(DataError, match="a, b of w depend on each other"):
        work(step("a", 1, 1, 1), step("b", 1, 1, 0))
