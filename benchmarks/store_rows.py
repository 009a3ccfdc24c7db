"""The history that ``benchmarks.store`` loads: samples of a fleet, execution records, plans with long forecasts."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomas.schema import (
    AllocationDecision,
    Bin,
    CapacityCurve,
    Plan,
    PlannerCall,
    PlannerInfo,
    PlanOrigin,
    PlanRequest,
    PlanStep,
    RequestBinding,
    RequestInput,
    Reservation,
    Resources,
    StepBinding,
    WorkerClass,
)
from tomas.store import SampleArrays, Store

__all__ = ["STEPS", "fleet", "record_rows", "sample_blocks", "sample_rows", "store_calls", "store_plans"]

CAPACITY = Resources(cpu_cores=16, cpu_mem_gb=64, gpu_sm=100, gpu_mem_gb=24)
STEPS = 7
"""Of every plan."""
_INTERVAL = timedelta(seconds=5)
_POOL = 4096
_ROUNDS = 10_000
"""About fourteen hours."""
NEED = Resources(cpu_cores=1, cpu_mem_gb=2)


_USAGE = {"peak_cpu_cores": 1.0, "exit_code": 0, "outcome": "success", "memory_limit": "rlimit+watchdog"}
_RECORD = {
    "try_number": 1,
    "host": "worker",
    "dag_id": "captions",
    "task_id": "plan.step",
    "queue": "worker",
    "requested": NEED.model_dump(),
    "waited_ms": 900.0,
    "outputs": [{"name": "out", "type": "application/jsonl", "uri": "/results/captions/1/out.jsonl"}],
}


def fleet(size: int) -> WorkerClass:
    """One class of ``size`` equal bins."""
    names = [f"worker-{number:03}" for number in range(size)]
    bins = [Bin(name=n, worker_class="worker", queue=n, pool=n, capacity=CAPACITY, gpu_index=0) for n in names]
    return WorkerClass(name="worker", capacity=CAPACITY, bins=bins)


def sample_rows(bins: Sequence[Bin], count: int, until: datetime, *, skip: int = 0) -> Iterator[tuple[Any, ...]]:
    """About ``count`` readings, every five seconds of every bin, as rows; all but the last ``skip``."""
    amounts = [tuple(values) for values in _amounts().tolist()]
    names = [item.name for item in bins]
    first = skip // len(names)
    for i in range(first + count // len(names) - 1, first - 1, -1):
        at = until - i * _INTERVAL
        for j, name in enumerate(names):
            yield (name, at, *amounts[(i * 7 + j * 131) % _POOL])


def sample_blocks(bins: Sequence[Bin], count: int, until: datetime) -> Iterator[dict[str, SampleArrays]]:
    """The same readings as arrays, in blocks of :data:`_ROUNDS` per bin, the oldest first."""
    amounts = _amounts()
    unix = datetime(1970, 1, 1, tzinfo=UTC)
    last_us = (until - unix) // timedelta(microseconds=1)
    rounds = count // len(bins)
    for newest in range(rounds, 0, -_ROUNDS):
        i = np.arange(newest - 1, max(0, newest - _ROUNDS) - 1, -1)
        at_us = last_us - i * (_INTERVAL // timedelta(microseconds=1))
        block = {}
        for j, place in enumerate(bins):
            values = amounts[(i * 7 + j * 131) % _POOL]
            block[place.name] = SampleArrays(at_us, values[:, :4], values[:, 4:8], values[:, 8:])
        yield block


def _amounts() -> NDArray[np.float64]:
    """Of shape (pool, 12): what is free, in the background, and reserved."""
    rng = random.Random(1)  # noqa: S311 - made-up load
    amounts = []
    for _ in range(_POOL):
        background = [rng.random() * size for size in CAPACITY]
        reserved = [rng.random() * (size - used) for size, used in zip(CAPACITY, background, strict=True)]
        free = [a - b - c for a, b, c in zip(CAPACITY, background, reserved, strict=True)]
        amounts.append((*(max(0.0, value) for value in free), *background, *reserved))
    return np.array(amounts)


def record_rows(
    bins: Sequence[Bin], tools: Sequence[str], count: int, plans: Sequence[Plan], until: datetime
) -> Iterator[str]:
    """``count`` records as JSON, the last ones of ``plans``; one every 8.64 s: ten thousand a day."""
    rng = random.Random(2)  # noqa: S311 - made-up load
    step = timedelta(seconds=8.64)
    known = [(plan.id, item.id) for plan in plans for item in plan.steps]
    for i in range(count):
        newer = count - i
        plan_id, step_id = known[-newer] if newer <= len(known) else (f"old-{i // STEPS}", f"s{i % STEPS}")
        wall_s = rng.lognormvariate(1.0, 0.8)
        end = until - newer * step
        size = int(rng.lognormvariate(14, 2))
        begin = end - timedelta(seconds=wall_s)
        record = _RECORD | {
            "plan_id": plan_id,
            "run_id": plan_id,
            "step_id": step_id,
            "map_index": i % STEPS,
            "tool": tools[i % len(tools)],
            "bin": bins[i % len(bins)].name,
            "input_bytes": size,
            "output_bytes": size // 10,
            "started_at": begin.isoformat(),
            "ended_at": end.isoformat(),
            "usage": _USAGE
            | {"wall_ms": wall_s * 1000, "peak_mem_gb": 0.2 + size / 2**30, "cpu_seconds": 0.8 * wall_s},
        }
        yield json.dumps(record)


def store_plans(store: Store, bins: Sequence[Bin], tools: Sequence[str], count: int, now: datetime) -> list[Plan]:
    """Release ``count`` plans of seven steps whose forecast is an hour long; the last tenth is still to run."""
    rng = random.Random(3)  # noqa: S311 - made-up load
    curves = [_curve(item, rng, now) for item in bins]
    plans = []
    for number in range(count):
        release_at = (
            now + timedelta(seconds=30) if number >= 0.9 * count else now - timedelta(minutes=2 * (count - number))
        )
        plan = _plan(number, rng, bins, tools, curves, release_at)
        reservations = [
            Reservation(
                plan_id=plan.id,
                step_id=step.id,
                bin=step.bin,
                need=NEED,
                slots=step.pool_slots,
                start_at=release_at + timedelta(milliseconds=step.start_ms),
                end_at=release_at + timedelta(milliseconds=step.end_ms),
            )
            for step in plan.steps
        ]
        store.release_plan(plan, reservations, lambda _: None)
        plans.append(plan)
    return plans


def store_calls(store: Store, kind: str, plans: Sequence[Plan], now: datetime) -> None:
    """The log of the calls that made the plans."""
    for number, plan in enumerate(plans):
        at = now - timedelta(minutes=len(plans) - number)
        store.log_call(
            PlannerCall(
                at=at, planner=kind, task_chars=60, tools=20, steps=STEPS, t_inf_ms=400 + number % 90,
                dispatch_lag_ms=2500, plan_id=plan.id,
            )
        )  # fmt: skip


def _curve(place: Bin, rng: random.Random, start_at: datetime) -> CapacityCurve:
    cells = {
        name: [round(rng.random() * size, 3) for _ in range(3600)] for name, size in CAPACITY.model_dump().items()
    }
    return CapacityCurve(bin=place.name, start_at=start_at, step_ms=1000, source="samples", **cells)


def _plan(
    number: int,
    rng: random.Random,
    bins: Sequence[Bin],
    tools: Sequence[str],
    curves: list[CapacityCurve],
    release_at: datetime,
) -> Plan:
    steps = [
        PlanStep(
            id=f"s{i}",
            tool=tools[(number + i) % len(tools)],
            inputs={
                "images": [StepBinding(step=f"s{i - 1}", output="out") if i else RequestBinding(name="images")]
            },
            depends_on=[f"s{i - 1}"] if i else [],
            predicted_input_bytes=1e6,
            allocation=AllocationDecision(floor=NEED, final=NEED, why="benchmark"),
            latency_p50_ms=4000,
            latency_p90_ms=5000,
            start_ms=6000.0 * i,
            end_ms=6000.0 * i + 5000,
            **_place(rng.choice(bins)),
            pool_slots=7,
            confidence=0.9,
        )
        for i in range(STEPS)
    ]
    origin = PlanOrigin(dag_id="captions", run_id=f"run-{number}", task_id="plan")
    return Plan(
        id=f"benchmark-{number}",
        request=PlanRequest(
            task="Caption", inputs={"images": RequestInput(type="image/*", uris=["a.png"])}, origin=origin
        ),
        language="en",
        planner=PlannerInfo(kind="retrieval", version="1"),
        created_at=release_at - timedelta(seconds=3),
        release_at=release_at,
        t_inf_predicted_ms=500,
        dispatch_lag_predicted_ms=2500,
        forecast=curves,
        steps=steps,
        outputs={"captions": StepBinding(step=steps[-1].id, output="out")},
        makespan_ms=steps[-1].end_ms,
    )


def _place(item: Bin) -> dict[str, str]:
    return {"bin": item.name, "worker_class": item.worker_class, "queue": item.queue, "pool": item.pool}
