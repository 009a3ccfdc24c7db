"""The discrete-event simulator: plans run on bins as Airflow runs them.

A step is ready when its predecessors have ended and the hand-over has passed. It starts when the pool of its bin
has as many slots free as it takes; among the ready ones the highest weight goes first, then the one ready longest,
and one that does not fit lets smaller ones pass, as in Airflow's scheduler. A step holds its slots until the
hand-over after its end. Cores and SMs are shared: where the running steps need more than is free, all of them slow
down in proportion. Memory is held: more than is free is an overload.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from tomas.simulate.collect import collect
from tomas.simulate.core import Engine
from tomas.simulate.decision import Decision, Policy
from tomas.simulate.latency import Latency, Sampler
from tomas.simulate.placing import Placer
from tomas.simulate.result import SimulationResult
from tomas.simulate.workload import Job, SimBin

__all__ = ["decisions", "simulate"]


def simulate(
    jobs: Sequence[Job],
    bins: Sequence[SimBin],
    *,
    seed: int | Sequence[int] = 0,
    latency: Latency = "sampled",
    placer: Placer | None = None,
    policy: Policy | None = None,
    retries: int = 0,
    oom: bool = False,
    usage: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> SimulationResult:
    """Run jobs on bins until nothing more happens; the same arguments give the same result.

    The latencies of a job depend on the seed and its place among the arrivals alone. So runs of the same jobs and
    seed on different bins meet the same work, and can be compared one by one.

    :param latency: ``sampled`` draws from a log-normal distribution through each step's p50 and p90; ``p50`` and
        ``p90`` take these.
    :param placer: places the steps of each arriving job anew, and those that a lost bin leaves behind.
    :param policy: chooses among ready steps that fit; None takes Airflow's order.
    :param retries: how often a failed step is tried again on its bin.
    :param oom: whether memory overload fails the step that started last, until what is left fits.
    :param usage: whether to keep the curves of use; without them long simulations need less memory.
    :param on_progress: called now and then with the steps ended so far and all steps.
    :raises DataError: a job names an unknown bin, two bins share a name, or a policy's answer is no candidate.
    """
    run = decisions(
        jobs, bins, seed=seed, latency=latency, placer=placer, retries=retries, oom=oom, usage=usage,
        on_progress=on_progress, ask=policy is not None,
    )  # fmt: skip
    answer: int | None = None
    try:
        decision = next(run)
        while policy is not None:
            answer = policy(decision)
            decision = run.send(answer)
    except StopIteration as stop:
        result: SimulationResult = stop.value
        return result
    raise AssertionError("a simulation without a policy asked for a decision")


def decisions(
    jobs: Sequence[Job],
    bins: Sequence[SimBin],
    *,
    seed: int | Sequence[int] = 0,
    latency: Latency = "sampled",
    placer: Placer | None = None,
    retries: int = 0,
    oom: bool = False,
    usage: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
    ask: bool = True,
) -> Generator[Decision, int | None, SimulationResult]:
    """The same simulation, step by step, for a learner: yields decisions, is sent answers, returns the result.

    ::

        run = decisions(jobs, bins, seed=1)
        decision = next(run)
        while True:
            decision = run.send(choose(decision))  # StopIteration.value holds the result
    """
    engine = Engine(jobs, bins, Sampler(latency, seed), placer, retries, oom, usage, on_progress)
    yield from engine.run(ask)
    return collect(engine)
