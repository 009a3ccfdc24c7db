"""A small plan to route: two roots, a join, a tail."""

from __future__ import annotations

from datetime import UTC, datetime

from tomas.schema import (
    AllocationDecision,
    CapacityCurve,
    Plan,
    PlannerInfo,
    PlanRequest,
    PlanStep,
    RequestBinding,
    RequestInput,
    Resources,
    StepBinding,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def step(name: str, bin_name: str, slots: int, after: list[str]) -> PlanStep:
    need = Resources(cpu_cores=1, cpu_mem_gb=0.5)
    source = StepBinding(step=after[0], output="texts") if after else RequestBinding(name="docs")
    return PlanStep(
        id=name,
        tool="keyword_extraction",
        inputs={"documents": [source]},
        depends_on=after,
        predicted_input_bytes=10,
        allocation=AllocationDecision(floor=need, final=need, why="history"),
        latency_p50_ms=100,
        latency_p90_ms=200,
        start_ms=0,
        end_ms=200,
        bin=bin_name,
        worker_class="cpu",
        queue=f"tomas_{bin_name}",
        pool=f"tomas_{bin_name}",
        pool_slots=slots,
        confidence=0.9,
    )


def plan(priority: int = 1) -> Plan:
    return Plan(
        id="p" * 32,
        request=PlanRequest(
            task="do it", inputs={"docs": RequestInput(type="text/plain", uris=["a.txt"])}, priority=priority
        ),
        language="en",
        planner=PlannerInfo(kind="retrieval", version="1"),
        created_at=NOW,
        release_at=NOW,
        t_inf_predicted_ms=1,
        dispatch_lag_predicted_ms=1,
        forecast=[
            CapacityCurve(
                bin="small_1",
                start_at=NOW,
                step_ms=1000,
                source="declared",
                cpu_cores=[1],
                cpu_mem_gb=[1],
                gpu_sm=[0],
                gpu_mem_gb=[0],
            )
        ],
        steps=[
            step("s1", "small_1", 40, []),
            step("s2", "large_1", 60, []),
            step("s3", "large_1", 100, ["s1", "s2"]),
            step("s4", "small_1", 10, ["s3"]),
        ],
        makespan_ms=600,
    )
