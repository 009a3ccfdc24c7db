"""Many runs together, and where the time went."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.simulate.small import a_bin, from_then, step, work
from tomas.errors import DataError
from tomas.simulate import Job, simulate
from tomas.simulate.arrivals import parse_arrivals
from tomas.simulate.chain import Chain, add_chains
from tomas.simulate.scenario import Scenario, run_many
from tomas.simulate.summary import Spread


def summary_of(*steps, bins=None, runs=1, **given):
    scenario = Scenario((work(*steps, **given.pop("flow", {})),), tuple(bins or [a_bin()]), **given)
    return run_many(scenario, runs)[0]


def test_the_chain_adds_up_to_the_makespan() -> None:
    flow = work(
        step("a", 100),
        step("wide", 80, slots=100, priority=5),
        step("b", 50, 3, 0),
        step("c", 70, 3, 0),
        hand_over_ms=9,
    )
    result = simulate([Job(flow, 7.0), Job(flow, 40.0)], [a_bin()])
    chain = Chain()
    add_chains(result, chain)
    assert chain.total == pytest.approx(sum(job.makespan_ms for job in result.jobs))
    assert chain.wait["b1"] > 0
    assert chain.slow["b1"] > 0
    assert chain.hand_over == pytest.approx(18)


def test_the_chain_counts_work_that_a_failure_undid() -> None:
    bins = [a_bin("b1", 4, 8, from_then(40, lost=True), from_then(60))]
    result = simulate([Job(work(step("a", 100), hand_over_ms=5))], bins, retries=1)
    chain = Chain()
    add_chains(result, chain)
    # Undone: 40 ms; the retry is ready 5 ms later and waits 15 ms for the bin to return.
    assert (chain.lost, chain.hand_over, chain.wait["b1"]) == (40, 5, 15)
    assert chain.total == result.jobs[0].makespan_ms == 160


@pytest.mark.parametrize(
    ("steps", "given", "words"),
    [
        (
            [step("a", 100), step("b", 100, 1, 0)],
            {},
            "100% of the time from arrival to end is work of steps that follow",
        ),
        (
            [step(f"s{i}", 100, slots=100) for i in range(9)],
            {},
            "waiting for room, most of it on b1 (100% of its slots",
        ),
        ([step(f"s{i}", 100, 4, slots=10) for i in range(9)], {}, "slowdown, most of it on b1"),
        (
            [step("a", 10), step("b", 10, 1, 0), step("c", 10, 1, 1)],
            {"flow": {"hand_over_ms": 50}},
            "Airflow's hand-over from step to step",
        ),
        ([step("a", 10, slots=200)], {}, "1 of 1 jobs do not end; most often because step a needs 200 slots of b1"),
    ],
)
def test_the_bottleneck_is_named(steps, given, words) -> None:
    assert words in summary_of(*steps, **given).bottleneck


def test_quantiles_missed_deadlines_and_reasons() -> None:
    found = summary_of(
        step("a", 100, p90=200), runs=400, flow={"deadline_ms": 200.0}, arrivals=parse_arrivals(None, count=1)
    )
    (one,) = found.workloads
    assert (one.jobs, one.done, found.runs) == (400, 400, 400)
    assert one.makespan_ms.p50 == pytest.approx(100, rel=0.1)
    assert one.makespan_ms.p90 == pytest.approx(200, rel=0.15)
    assert one.missed == pytest.approx(0.1, abs=0.05)
    stuck = summary_of(step("a", 100, slots=101), flow={"deadline_ms": 1e9})
    assert (stuck.workloads[0].missed, stuck.workloads[0].done) == (1.0, 0)
    assert list(stuck.workloads[0].reasons.values()) == [1]
    assert np.isnan(stuck.workloads[0].makespan_ms.p50)


def test_bins_tell_waits_use_and_slowness() -> None:
    bins = [a_bin("b1", 4, 8, from_then(50, gb=0.5)), a_bin("b2")]
    found = summary_of(step("a", 100, 8, slots=100), step("b", 100, 1, slots=100), bins=bins, latency="p50")
    one, two = found.bins
    assert (one.steps, two.steps) == (2, 0)
    assert one.wait_ms.max == 200
    assert one.slowed_share == pytest.approx(2 / 3)
    assert one.utilisation["cpu_cores"] == pytest.approx((200 * 4 + 100) / (300 * 4))
    assert set(one.utilisation) == {"cpu_cores", "cpu_mem_gb", "slots"}
    assert one.overloads == 1


def test_the_typical_run_is_the_median_and_runs_can_be_repeated() -> None:
    scenario = Scenario((work(step("a", 100, p90=200)),), (a_bin(),), seed=4)
    _, number = run_many(scenario, 9)
    makespans = [scenario.run(run).jobs[0].makespan_ms for run in range(9)]
    assert makespans[number] == sorted(makespans)[4]
    assert len(set(makespans)) == 9


def test_progress_ends_at_one() -> None:
    told: list[float] = []
    run_many(Scenario((work(step("a", 1)),), (a_bin(),)), 4, on_progress=told.append)
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_each_plan_arrives_by_its_own_process() -> None:
    flows = (work(step("a", 1), name="x"), work(step("a", 1), name="y"))
    scenario = Scenario(flows, (a_bin(),), parse_arrivals("poisson:1/s", count=5))
    jobs = scenario.jobs(0)
    assert [job.workload.name for job in jobs] == ["x"] * 5 + ["y"] * 5
    assert {job.arrival_ms for job in jobs[:5]}.isdisjoint(job.arrival_ms for job in jobs[5:])
    assert [job.arrival_ms for job in scenario.jobs(1)] != [job.arrival_ms for job in jobs]


def test_bad_scenarios_are_refused() -> None:
    flow = work(step("a", 1))
    with pytest.raises(DataError, match="0 runs"):
        run_many(Scenario((flow,), (a_bin(),)), 0)
    for names in ((), (flow, flow)):
        with pytest.raises(DataError, match="are called"):
            Scenario(names, (a_bin(),))


def test_the_spread_of_nothing_is_nothing() -> None:
    assert np.isnan(Spread.of([]).mean)
    assert Spread.of([1.0, 2.0, 3.0]).p50 == 2
