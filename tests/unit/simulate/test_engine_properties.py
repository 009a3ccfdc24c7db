"""What holds for every simulation, and a check against queueing theory."""

from __future__ import annotations

import heapq
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.simulate.small import a_bin, from_then, step, times, work
from tomas.schema import POOL_SIZE
from tomas.simulate import Decision, Job, SimBin, SimStep, SimulationResult, Workload, simulate

MS = st.integers(1, 60).map(float)


@st.composite
def workloads(draw: st.DrawFn, *, whole_cores: bool = False) -> Workload:
    steps: list[SimStep] = []
    for i in range(draw(st.integers(1, 7))):
        after = draw(st.sets(st.integers(0, i - 1), max_size=2)) if i else set()
        cores = float(draw(st.integers(0 if not whole_cores else 1, 4)))
        slots = int(max(1, cores * 25)) if whole_cores else draw(st.integers(1, POOL_SIZE))
        p50 = draw(MS)
        p90 = p50 + draw(st.integers(0, 30))
        place = draw(st.sampled_from(["b1", "b2"]))
        steps.append(
            step(
                f"s{i}",
                p50,
                cores,
                *sorted(after),
                slots=slots,
                place=place,
                priority=draw(st.integers(1, 3)),
                p90=p90,
            )
        )
    return work(*steps, hand_over_ms=float(draw(st.sampled_from([0, 0, 7]))))


@st.composite
def changing_bins(draw: st.DrawFn) -> list[SimBin]:
    bins = []
    for name in ("b1", "b2"):
        marks = sorted(draw(st.sets(st.integers(1, 150), max_size=3)))
        changes = [
            from_then(float(mark), cores=draw(st.integers(1, 6)), slots=draw(st.integers(100, 130)))
            for mark in marks
        ]
        bins.append(a_bin(name, 4, 8, *changes))
    return bins


@st.composite
def many_jobs(draw: st.DrawFn) -> list[Job]:
    kinds = draw(st.lists(workloads(), min_size=1, max_size=2))
    return [
        Job(draw(st.sampled_from(kinds)), float(draw(st.integers(0, 80)))) for _ in range(draw(st.integers(1, 5)))
    ]


def held(result: SimulationResult, place: int, instant: float) -> int:
    """Slots taken on a bin at an instant, hand-overs included."""
    hand_over = np.array([job.workload.hand_over_ms for job in result.given])[result.job]
    on = (result.bin == place) & (result.start_ms <= instant) & (instant < result.end_ms + hand_over - 1e-9)
    return int(result.slots[on].sum())


@settings(max_examples=150, deadline=None)
@given(many_jobs(), changing_bins(), st.integers(0, 3))
def test_every_step_runs_once_after_its_predecessors_within_the_pool(
    jobs: list[Job], bins: list[SimBin], seed: int
) -> None:
    done = simulate(jobs, bins, seed=seed)
    assert done.done
    assert done.events == 2 * len(done.start_ms)
    for rank, job in enumerate(done.given):
        rows = done.rows(rank)
        start, end = done.start_ms[rows], done.end_ms[rows]
        for number, one in enumerate(job.workload.steps):
            for before in one.after:
                assert start[number] >= end[before] + job.workload.hand_over_ms - 1e-9
        assert (start >= job.arrival_ms).all()
        assert done.jobs[rank].end_ms == pytest.approx(end.max())
    assert (done.wait_ms >= 0).all()
    assert (done.slowdown >= 1 - 1e-9).all()
    for place, one in enumerate(bins):
        for instant in done.start_ms[done.bin == place]:
            stretch = max((s for s in one.stretches if s.start_ms <= instant), key=lambda s: s.start_ms)
            assert held(done, place, float(instant)) <= stretch.slots


@settings(max_examples=150, deadline=None)
@given(many_jobs(), changing_bins(), st.integers(0, 3))
def test_shared_cores_do_exactly_the_work_there_is(jobs: list[Job], bins: list[SimBin], seed: int) -> None:
    """Integrate each step's speed anew, from starts, ends and capacities alone: it must add up to its work."""
    done = simulate(jobs, bins, seed=seed)
    for place, one in enumerate(bins):
        mine = np.flatnonzero(done.bin == place)
        need = np.array([done.given[done.job[i]].workload.steps[done.step[i]].need[0] for i in mine])
        start, end = done.start_ms[mine], done.end_ms[mine]
        marks = np.unique([*start, *end, *(s.start_ms for s in one.stretches)])
        progress = np.zeros(len(mine))
        for left, right in pairwise(marks.tolist()):
            running = (start <= left) & (end >= right)
            free = max((s for s in one.stretches if s.start_ms <= left), key=lambda s: s.start_ms).free[0]
            demand = need[running].sum()
            speed = 1.0 if demand <= free else free / demand
            progress[running] += (right - left) * np.where(need[running] > 0, speed, 1.0)
        assert progress == pytest.approx(done.work_ms[mine], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(many_jobs(), changing_bins())
def test_no_step_waits_while_its_pool_has_room(jobs: list[Job], bins: list[SimBin]) -> None:
    done = simulate(jobs, bins, latency="p50")
    marks = np.unique(np.concatenate([done.ready_ms, done.start_ms, done.end_ms]))
    for place, one in enumerate(bins):
        for instant in marks:
            waits = (done.bin == place) & (done.ready_ms <= instant) & (instant < done.start_ms)
            stretch = max((s for s in one.stretches if s.start_ms <= instant), key=lambda s: s.start_ms)
            room = stretch.slots - held(done, place, float(instant))
            assert (done.slots[waits] > room).all()


@settings(max_examples=40, deadline=None)
@given(many_jobs(), changing_bins(), st.integers(0, 5))
def test_the_same_seed_gives_the_same_run_and_the_same_work_on_other_bins(
    jobs: list[Job], bins: list[SimBin], seed: int
) -> None:
    first, again = simulate(jobs, bins, seed=seed), simulate(jobs, bins, seed=seed, usage=False)
    assert times(first) == times(again)
    elsewhere = simulate(jobs, [a_bin("b1", 1), a_bin("b2", 1)], seed=seed)
    assert (elsewhere.work_ms == first.work_ms).all()


class PlannedOrder:
    """Starts the steps of each bin strictly in the order of their planned starts: none passes another."""

    def __init__(self, jobs: list[Job]) -> None:
        self.queues: dict[str, list[tuple[int, int]]] = {}
        entries = sorted(
            (one.planned_start_ms, job, number, one.bin)
            for job, given_job in enumerate(jobs)
            for number, one in enumerate(given_job.workload.steps)
        )
        for _, job, number, place in entries:
            self.queues.setdefault(place, []).append((job, number))

    def __call__(self, decision: Decision) -> int | None:
        queue = self.queues[decision.bin]
        for index, one in enumerate(decision.candidates):
            if (one.job, one.step) == queue[0]:
                queue.pop(0)
                return index
        return None


@settings(max_examples=150, deadline=None)
@given(workloads(whole_cores=True), st.integers(0, 100))
def test_in_planned_order_no_step_starts_later_than_planned_if_none_takes_longer(flow: Workload, seed: int) -> None:
    """True for constant capacity; for Airflow's order by weight it is not, see the test that follows."""
    bins = [a_bin("b1"), a_bin("b2")]
    planned = simulate([Job(flow)], bins, latency="p90")
    steps = tuple(
        replace(one, planned_start_ms=float(start)) for one, start in zip(flow.steps, planned.start_ms, strict=True)
    )
    random = np.random.default_rng(seed)
    shorter = tuple(float(one.p90_ms * random.uniform(0.2, 1.0)) for one in steps)
    jobs = [Job(replace(flow, steps=steps), 0.0, shorter)]
    done = simulate(jobs, bins, policy=PlannedOrder(jobs))
    assert (done.start_ms <= planned.start_ms + 1e-6).all()
    assert done.jobs[0].makespan_ms <= planned.jobs[0].makespan_ms + 1e-6


def test_a_shorter_step_can_make_a_plan_end_later_in_airflows_order() -> None:
    """Graham's anomaly (Bell System Technical Journal 1966): why a start time is an estimate and never a hold."""
    flow = work(
        step("head", 4, slots=50, priority=3),
        step("small", 1, 1, 0, slots=50),
        step("long", 8, 1, 0, slots=50),
        step("other", 4, slots=50, priority=2),
        step("last", 5, 1, 3, slots=50),
    )
    assert times(simulate([Job(flow)], [a_bin()])) == [(0, 4), (4, 5), (4, 12), (0, 4), (5, 10)]
    # "other" ends one earlier, "last" takes its room at once, and "long" has to wait for "small".
    early = simulate([Job(flow, 0.0, (4.0, 1.0, 8.0, 3.0, 5.0))], [a_bin()])
    assert times(early) == [(0, 4), (4, 5), (5, 13), (0, 3), (3, 8)]


def erlang_c(servers: int, load: float) -> float:
    """Probability that an arrival waits, with ``load`` = arrival rate x mean service time."""
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(terms) + last)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.7), (4, 3.2)])
def test_waits_of_poisson_arrivals_are_those_of_the_erlang_c_formula(servers: int, load: float) -> None:
    random = np.random.default_rng(7)
    mean, count = 100.0, 60_000
    flow = work(step("a", mean, 1, slots=POOL_SIZE // servers))
    arrivals = np.cumsum(random.exponential(mean / load, count))
    service = random.exponential(mean, count)
    jobs = [Job(flow, float(at), (float(ms),)) for at, ms in zip(arrivals, service, strict=True)]
    done = simulate(jobs, [a_bin(cores=servers)], usage=False)
    waits = done.wait_ms
    expected = erlang_c(servers, load)
    assert (waits > 0).mean() == pytest.approx(expected, rel=0.05)
    assert waits.mean() == pytest.approx(expected * mean / (servers - load), rel=0.1)
    assert done.bins[0].utilisation[0] == pytest.approx(load / servers, rel=0.03)


def test_one_queue_before_several_rooms_is_served_first_come_first_served() -> None:
    """Step by step against the recursion of Kiefer and Wolfowitz: the next arrival takes the room free first."""
    random = np.random.default_rng(3)
    at, service = np.cumsum(random.exponential(11.0, 20_000)), random.exponential(100.0, 20_000)
    flow = work(step("a", 100, 1, slots=10))
    jobs = [Job(flow, float(a), (float(s),)) for a, s in zip(at, service, strict=True)]
    done = simulate(jobs, [a_bin(cores=10)], usage=False)
    rooms = [0.0] * 10
    starts = []
    for arrival, needed in zip(at.tolist(), service.tolist(), strict=True):
        starts.append(max(arrival, heapq.heappop(rooms)))
        heapq.heappush(rooms, starts[-1] + needed)
    assert done.start_ms.tolist() == starts


def test_shared_cores_give_the_mean_response_of_processor_sharing() -> None:
    """M/G/1-PS: E[response] = E[work] / (1 - load), whatever the distribution (here log-normal)."""
    random = np.random.default_rng(11)
    flow = work(step("a", 100, 1, slots=1, p90=300))
    scale = math.log(3) / 1.2815515655446004
    mean = 100 * math.exp(scale**2 / 2)
    load = 0.6
    jobs = [Job(flow, float(at)) for at in np.cumsum(random.exponential(mean / load, 40_000))]
    done = simulate(jobs, [a_bin(cores=1)], seed=5, usage=False)
    assert done.work_ms.mean() == pytest.approx(mean, rel=0.03)
    response = float(np.mean([job.makespan_ms for job in done.jobs]))
    assert response == pytest.approx(mean / (1 - load), rel=0.07)


def test_drawn_latencies_have_the_quantiles_of_the_plan() -> None:
    flow = work(*(step(f"s{i}", 100, 0, slots=1, p90=250) for i in range(20_000)))
    drawn = simulate([Job(flow)], [a_bin()], seed=2, usage=False).work_ms
    assert np.quantile(drawn, [0.5, 0.9]) == pytest.approx([100, 250], rel=0.03)
