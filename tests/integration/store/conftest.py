"""Plans, reservations and records to store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tomas.schema import (
    AllocationDecision,
    CapacityCurve,
    ExecutionRecord,
    Outcome,
    Plan,
    PlannerInfo,
    PlanOrigin,
    PlanRequest,
    PlanStep,
    RequestBinding,
    RequestInput,
    Reservation,
    Resources,
    StepBinding,
    StepUsage,
)

T0 = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
NEED = Resources(cpu_cores=1, cpu_mem_gb=0.5)


@pytest.fixture
def t0() -> datetime:
    """When all plans of these tests are released: far ahead, so nothing is overdue by the wall clock."""
    return T0


@pytest.fixture
def make_plan() -> Callable[..., Plan]:
    """``make_plan(bins=("small_1",), key=None, origin=None, at=T0)``: a chain of 10 s steps, one per bin."""

    def make(
        bins: tuple[str, ...] = ("small_1",),
        key: str | None = None,
        origin: PlanOrigin | None = None,
        at: datetime = T0,
        task: str = "对一批图片进行分类",
    ) -> Plan:
        steps = [
            PlanStep(
                id=f"s{i}",
                tool="thumbnail",
                inputs={
                    "images": [
                        StepBinding(step=f"s{i - 1}", output="images") if i else RequestBinding(name="images")
                    ]
                },
                depends_on=[f"s{i - 1}"] if i else [],
                predicted_input_bytes=1e6,
                allocation=AllocationDecision(floor=NEED, final=NEED, why="test"),
                latency_p50_ms=8_000,
                latency_p90_ms=10_000,
                start_ms=10_000.0 * i,
                end_ms=10_000.0 * (i + 1),
                bin=name,
                worker_class="cpu-small",
                queue=f"tomas_{name}",
                pool=f"tomas_{name}",
                pool_slots=50,
                confidence=0.9,
            )
            for i, name in enumerate(bins)
        ]
        return Plan(
            request=PlanRequest(
                task=task,
                inputs={"images": RequestInput(type="image/*", uris=["a.png"])},
                idempotency_key=key,
                origin=origin,
            ),
            language="zh",
            planner=PlannerInfo(kind="retrieval", version="1"),
            created_at=at - timedelta(seconds=3),
            release_at=at,
            t_inf_predicted_ms=500,
            dispatch_lag_predicted_ms=2500,
            forecast=[
                CapacityCurve(
                    bin="small_1",
                    start_at=at,
                    step_ms=1000,
                    source="declared",
                    cpu_cores=[2.0],
                    cpu_mem_gb=[2.0],
                    gpu_sm=[0.0],
                    gpu_mem_gb=[0.0],
                )
            ],
            steps=steps,
            outputs={"images": StepBinding(step=steps[-1].id, output="images")},
            makespan_ms=10_000.0 * len(steps),
        )

    return make


@pytest.fixture
def reserve() -> Callable[[Plan], list[Reservation]]:
    """The reservations that a plan's steps need."""

    def make(plan: Plan) -> list[Reservation]:
        return [
            Reservation(
                plan_id=plan.id,
                step_id=step.id,
                bin=step.bin,
                need=step.allocation.final,
                slots=step.pool_slots,
                start_at=plan.release_at + timedelta(milliseconds=step.start_ms),
                end_at=plan.release_at + timedelta(milliseconds=step.end_ms),
            )
            for step in plan.steps
        ]

    return make


@pytest.fixture
def make_record() -> Callable[..., ExecutionRecord]:
    """``make_record(plan_id, step_id="s0", started_at=…, ended_at=None, **fields)``: running unless it ended."""

    def make(
        plan_id: str,
        step_id: str = "s0",
        *,
        started_at: datetime,
        ended_at: datetime | None = None,
        outcome: Outcome | None = None,
        wall_ms: float = 1000.0,
        cpu_seconds: float = 0.5,
        peak_mem_gb: float = 0.25,
        **fields: object,
    ) -> ExecutionRecord:
        values = {
            "plan_id": plan_id,
            "step_id": step_id,
            "tool": "thumbnail",
            "try_number": 1,
            "bin": "small_1",
            "host": "here",
            "requested": NEED,
            "input_bytes": 1000,
            "started_at": started_at,
            "ended_at": ended_at,
            "usage": StepUsage(
                wall_ms=wall_ms,
                peak_mem_gb=peak_mem_gb,
                cpu_seconds=cpu_seconds,
                peak_cpu_cores=1.0,
                outcome=outcome or (Outcome.SUCCESS if ended_at else Outcome.RUNNING),
            ),
        }
        return ExecutionRecord.model_validate(values | fields)

    return make
