"""How fast the simulator is, and how close to queueing theory: ``python -m benchmarks.simulate``.

Prints progress and ends with one line of JSON: step events (starts and ends) per second of processor time with and
without curves of use, seconds of a plan of 10,000 steps, and simulated against exact mean waits of M/M/c queues.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from tomas.schema import POOL_SIZE, Resources
from tomas.simulate import Job, SimBin, SimStep, SimulationResult, Stretch, Workload, simulate

_REPEATS = 5
_BINS = 4


def main() -> None:
    """Run everything; about half a minute."""
    jobs, bins = _stream()
    figures: dict[str, object] = {}
    for name, usage in (("events_per_s", False), ("events_per_s_with_curves", True)):
        figures[name] = _rate(partial(simulate, jobs, bins, seed=1, usage=usage))
        print(f"{name}: {figures[name]}", file=sys.stderr)
    slow = [
        SimBin(one.name, one.worker_class, one.capacity, (Stretch(0.0, (5.0, 32.0, 0.0, 0.0)),)) for one in bins
    ]
    figures["events_per_s_slowed"] = _rate(partial(simulate, jobs, slow, seed=1, usage=False))
    print(f"events_per_s_slowed: {figures['events_per_s_slowed']}", file=sys.stderr)
    large = [Job(_layers(10_000, 50))]
    begin = time.process_time()
    simulate(large, bins, usage=False)
    figures["plan_of_10000_steps_s"] = round(time.process_time() - begin, 3)
    figures["mmc_mean_wait"] = [_mmc(servers, load) for servers, load in ((1, 0.7), (4, 3.2), (10, 8.0))]
    print(json.dumps(figures))


def _rate(run: Callable[[], SimulationResult]) -> int:
    """Median over repeats of step events per second of processor time."""
    rates = []
    for _ in range(_REPEATS):
        begin = time.process_time()
        result = run()
        rates.append(result.events / (time.process_time() - begin))
    return round(statistics.median(rates))


def _bins() -> list[SimBin]:
    capacity = Resources(cpu_cores=8, cpu_mem_gb=32)
    return [SimBin(f"b{i}", "c", capacity, (Stretch(0.0, (8.0, 32.0, 0.0, 0.0)),)) for i in range(_BINS)]


def _stream() -> tuple[list[Job], list[SimBin]]:
    """5,000 arrivals of a plan of ten steps on four bins that are two thirds busy."""
    draw = random.Random(1)  # noqa: S311  (a fixed plan, no secret)
    steps = [
        SimStep(
            f"s{i}", f"b{draw.randrange(_BINS)}", 25, (2.0, 4.0, 0.0, 0.0), 1000.0, 1500.0,
            (max(0, i - 1 - draw.randrange(3)),) if i else (), 10 - i,
        )
        for i in range(10)
    ]  # fmt: skip
    flow = Workload("stream", tuple(steps), 500.0)
    return [Job(flow, i * 900.0) for i in range(5000)], _bins()


def _layers(count: int, width: int) -> Workload:
    steps = [
        SimStep(
            f"s{i}", f"b{i % _BINS}", 25, (2.0, 1.0, 0.0, 0.0), 100.0, 150.0, (i - width,) if i >= width else ()
        )
        for i in range(count)
    ]  # fmt: skip
    return Workload("layers", tuple(steps))


def _mmc(servers: int, load: float) -> dict[str, float]:
    """Mean wait of 200,000 Poisson arrivals with exponential work, simulated and by the Erlang C formula."""
    draw = np.random.default_rng(servers)
    mean, count = 100.0, 200_000
    flow = Workload("queue", (SimStep("s", "b", POOL_SIZE // servers, (1.0, 0.0, 0.0, 0.0), mean, mean),))
    at = np.cumsum(draw.exponential(mean / load, count)).tolist()
    work = draw.exponential(mean, count).tolist()
    place = SimBin("b", "c", Resources(cpu_cores=servers), (Stretch(0.0, (float(servers), 0.0, 0.0, 0.0)),))
    jobs = [Job(flow, at[i], (work[i],)) for i in range(count)]
    terms = [load**k / math.factorial(k) for k in range(servers)]
    last = load**servers / math.factorial(servers) * servers / (servers - load)
    exact = last / (sum(terms) + last) * mean / (servers - load)
    waits = simulate(jobs, [place], usage=False).wait_ms
    return {"servers": servers, "load": load, "exact_ms": round(exact, 2), "simulated_ms": round(waits.mean(), 2)}


if __name__ == "__main__":
    main()
