"""Small bins and workloads, written down in one line each."""

from __future__ import annotations

from datetime import UTC, datetime

from tomas.schema import (
    POOL_SIZE,
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
from tomas.simulate import SimBin, SimStep, SimulationResult, Stretch, Workload


def a_bin(
    name: str = "b1", cores: float = 4, gb: float = 8, *changes: Stretch, sm: float = 0, gpu_gb: float = 0
) -> SimBin:
    capacity = Resources(cpu_cores=cores, cpu_mem_gb=gb, gpu_sm=sm, gpu_mem_gb=gpu_gb)
    return SimBin(name, "c", capacity, (Stretch(0.0, (cores, gb, sm, gpu_gb)), *changes))


def from_then(
    start_ms: float, cores: float = 4, gb: float = 8, slots: int = POOL_SIZE, lost: bool = False
) -> Stretch:
    return Stretch(start_ms, (cores, gb, 0.0, 0.0), slots, lost)


def step(
    name: str,
    ms: float,
    cores: float = 1,
    *after: int,
    gb: float = 1,
    slots: int = 25,
    place: str = "b1",
    priority: int = 1,
    p90: float | None = None,
) -> SimStep:
    return SimStep(
        name, place, slots, (cores, gb, 0.0, 0.0), ms, ms if p90 is None else p90, tuple(after), priority, "tool"
    )


def work(*steps: SimStep, hand_over_ms: float = 0.0, deadline_ms: float | None = None, name: str = "w") -> Workload:
    return Workload(name, steps, hand_over_ms, deadline_ms)


def times(result: SimulationResult) -> list[tuple[float, float]]:
    return [(round(float(a), 6), round(float(b), 6)) for a, b in zip(result.start_ms, result.end_ms, strict=True)]


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def plan_step(
    name: str, after: list[str], *, bin_name: str = "b1", slots: int = 25, start_ms: float = 0
) -> PlanStep:
    need = Resources(cpu_cores=1, cpu_mem_gb=1)
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
        start_ms=start_ms,
        end_ms=start_ms + 200,
        bin=bin_name,
        worker_class="c",
        queue=f"tomas_{bin_name}",
        pool=f"tomas_{bin_name}",
        pool_slots=slots,
        confidence=0.9,
    )


def a_plan(
    steps: list[PlanStep], *, priority: int = 1, deadline_s: float | None = None, hand_over_ms: float = 0
) -> Plan:
    return Plan(
        id="a1b2c3d4" * 4,
        request=PlanRequest(
            task="提取关键词 [bold] $x$",
            inputs={"docs": RequestInput(type="text/plain", uris=["a.txt"])},
            priority=priority,
            deadline_s=deadline_s,
        ),
        language="zh",
        planner=PlannerInfo(kind="retrieval", version="1"),
        created_at=NOW,
        release_at=NOW,
        t_inf_predicted_ms=400,
        dispatch_lag_predicted_ms=600,
        hand_over_predicted_ms=hand_over_ms,
        forecast=[
            CapacityCurve(
                bin="b1",
                start_at=NOW,
                step_ms=1000,
                source="declared",
                cpu_cores=[4],
                cpu_mem_gb=[8],
                gpu_sm=[0],
                gpu_mem_gb=[0],
            )
        ],
        steps=steps,
        makespan_ms=max(step.end_ms for step in steps),
    )
