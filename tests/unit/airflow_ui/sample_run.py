"""A run as the pages meet it: a plan of eight steps over two bins, its records and its task instances."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tomas.airflow.run_view import RunFacts, TaskFacts
from tomas.schema import (
    AllocationDecision,
    Artifact,
    Bin,
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
    Resources,
    StepBinding,
    StepUsage,
    pool_slots,
)

RELEASE = datetime(2026, 3, 2, 9, 30, 0, tzinfo=UTC)
BINS = [
    Bin(
        name="small_1",
        worker_class="cpu-small",
        queue="tomas_small_1",
        pool="tomas_small_1",
        capacity=Resources(cpu_cores=1, cpu_mem_gb=2),
    ),
    Bin(
        name="large_1",
        worker_class="cpu-large",
        queue="tomas_large_1",
        pool="tomas_large_1",
        capacity=Resources(cpu_cores=2, cpu_mem_gb=6),
    ),
]
_BY_NAME = {item.name: item for item in BINS}

_STEPS: list[tuple[str, str, list[str], str, float, float, int, int, int]] = [
    # Step and tool, what it follows, bin with cores and GB, then start, p50 and p90 in ms.
    ("s1", "image_denoising", [], "large_1", 1, 1.0, 0, 2400, 3100),
    ("s2", "ocr_layout", [], "small_1", 0.5, 0.5, 0, 1500, 2100),
    ("s3", "language_detection", ["s2"], "small_1", 0.25, 0.25, 2100, 420, 600),
    ("s4", "object_detection", ["s1"], "large_1", 2, 2.5, 3100, 5200, 6400),
    ("s5", "image_classification", ["s1"], "small_1", 1, 1.5, 3100, 3600, 4300),
    ("s6", "keyword_extraction", ["s3"], "small_1", 0.5, 0.5, 7400, 900, 1300),
    ("s7", "image_captioning", ["s4", "s5"], "large_1", 1, 3.0, 9500, 4100, 5300),
    ("s8", "report_join", ["s6", "s7"], "large_1", 0.5, 0.5, 14800, 700, 900),
]


def step(
    id_: str, tool: str, after: list[str], bin_: str, cores: float, memory: float, start: int, p50: int, p90: int
) -> PlanStep:
    """One step; its planned end is its p90."""
    place, need = _BY_NAME[bin_], Resources(cpu_cores=cores, cpu_mem_gb=memory)
    inputs: dict[str, Any] = (
        {"images": [RequestBinding(name="images")]}
        if not after
        else {"items": [StepBinding(step=name, output="items") for name in after]}
    )
    return PlanStep(
        id=id_,
        tool=tool,
        arguments={"max_side": 1600, "language": "auto"} if tool.startswith("image") else {},
        inputs=inputs,
        depends_on=after,
        predicted_input_bytes=4_800_000,
        allocation=AllocationDecision(
            floor=Resources(cpu_cores=cores, cpu_mem_gb=memory * 0.8),
            final=need,
            why=f"p90 of peak memory over 24 runs is {memory * 0.8:.2f} GB; {memory:g} GB with margin.",
        ),
        latency_p50_ms=p50,
        latency_p90_ms=p90,
        start_ms=start,
        end_ms=start + p90,
        bin=bin_,
        worker_class=place.worker_class,
        queue=place.queue,
        pool=place.pool,
        pool_slots=pool_slots(need, place.capacity),
        confidence=0.93,
    )


def plan(
    task: str = "Clean the scanned pages, detect and caption their pictures, extract keywords, join a report",
    **changes: Any,
) -> Plan:
    """The plan of the sample run."""
    steps = [step(*row) for row in _STEPS]
    curves = [
        CapacityCurve(
            bin=item.name,
            start_at=RELEASE,
            step_ms=1000,
            source="samples",
            cpu_cores=[item.capacity.cpu_cores * (1.0 if i < 9 else 0.94) for i in range(60)],
            cpu_mem_gb=[item.capacity.cpu_mem_gb - 0.3 - (0.2 if 4 < i < 12 else 0) for i in range(60)],
            gpu_sm=[0.0] * 60,
            gpu_mem_gb=[0.0] * 60,
        )
        for item in BINS
    ]
    values: dict[str, Any] = {
        "id": "9f2c41d07be94a53a1d06c8e5b7f3a10",
        "request": PlanRequest(
            task=task,
            inputs={
                "images": RequestInput(
                    type="image/*", uris=["s3://key:hunter2@archive/scans/2026-03-02/"], bytes=4_812_331
                )
            },
            outputs={"report": "application/json", "captions": "application/jsonl"},
            origin=PlanOrigin(dag_id="archive", run_id="manual__2026-03-02T09:29:50+00:00", task_id="plan"),
        ),
        "language": "en",
        "planner": PlannerInfo(kind="retrieval", version="1.0", model_version="sizing-20260301"),
        "created_at": RELEASE - timedelta(milliseconds=3600),
        "release_at": RELEASE,
        "t_inf_predicted_ms": 480,
        "t_inf_actual_ms": 512,
        "dispatch_lag_predicted_ms": 3120,
        "dispatch_lag_actual_ms": 3410,
        "forecast": curves,
        "steps": steps,
        "outputs": {
            "report": StepBinding(step="s8", output="report"),
            "captions": StepBinding(step="s7", output="captions"),
        },
        "makespan_ms": 15700,
        "explanation": (
            "Scans are denoised first, since detection and classification both read the cleaned pages.\n"
            "Text and pictures go separate ways and meet in the report."
        ),
    }
    return Plan(**{**values, **changes})


# Of each step: ms it waited and ran, peak GB, CPU seconds, and its start in ms after the release.
_ACTUAL: dict[str, tuple[int, int, float, float, int]] = {
    "s1": (600, 2630, 0.71, 2.5, 930),
    "s2": (900, 1380, 0.22, 1.1, 1220),
    "s3": (700, 510, 0.19, 0.4, 3310),
    "s4": (900, 4870, 2.21, 9.1, 4490),
    "s5": (1000, 4390, 1.46, 4.2, 4580),
    "s6": (6100, 820, 0.2, 0.7, 9950),
    "s7": (1100, 5630, 1.35, 5.2, 10460),
    "s8": (800, 640, 0.16, 0.3, 16900),
}


_PORTS = {"s7": "captions", "s8": "report"}


def record(of: Plan, step_id: str, **changes: Any) -> ExecutionRecord:
    """The successful try of a step."""
    waited, ran, peak, cpu, start = _ACTUAL[step_id]
    planned = of.step(step_id)
    started = RELEASE + timedelta(milliseconds=start)
    values: dict[str, Any] = {
        "plan_id": of.id,
        "step_id": step_id,
        "tool": planned.tool,
        "try_number": 1,
        "bin": planned.bin,
        "host": "worker-1",
        "dag_id": "archive",
        "run_id": "manual__2026-03-02T09:29:50+00:00",
        "task_id": "steps.tool",
        "map_index": [item.id for item in of.steps].index(step_id),
        "queue": planned.queue,
        "requested": planned.allocation.final,
        "input_bytes": 4_812_331,
        "output_bytes": 91_210,
        "started_at": started,
        "ended_at": started + timedelta(milliseconds=ran),
        "waited_ms": waited,
        "usage": usage(ran, peak, cpu),
        "outputs": [
            Artifact(
                name=_PORTS.get(step_id, "items"),
                type="application/json",
                uri=f"file:///data/artifacts/{step_id}/items.json",
            )
        ],
    }
    return ExecutionRecord(**{**values, **changes})


def usage(
    ran_ms: float, peak_gb: float, cpu_s: float, outcome: Outcome = Outcome.SUCCESS, **more: Any
) -> StepUsage:
    """Measured use of a try."""
    return StepUsage(
        wall_ms=ran_ms,
        peak_mem_gb=peak_gb,
        cpu_seconds=cpu_s,
        peak_cpu_cores=1.2,
        exit_code=0,
        outcome=outcome,
        memory_limit="rlimit+watchdog",
        **more,
    )


def task(of: Plan, step_id: str, state: str | None = "success", **changes: Any) -> TaskFacts:
    """The task instance that runs a step."""
    index = [item.id for item in of.steps].index(step_id)
    planned = of.steps[index]
    values: dict[str, Any] = {
        "task_id": "steps.tool",
        "map_index": index,
        "state": state,
        "try_number": 1,
        "queued": RELEASE,
        "start": RELEASE,
        "end": RELEASE + timedelta(seconds=18) if state in {"success", "failed"} else None,
        "queue": planned.queue,
        "pool": planned.pool,
        "pool_slots": planned.pool_slots,
        "label": f"{planned.tool} on {planned.queue}",
    }
    return TaskFacts(**{**values, **changes})


def plan_task(state: str | None = "success") -> TaskFacts:
    """The plan task's own instance."""
    return TaskFacts("plan", -1, state, 1, RELEASE, RELEASE, RELEASE, "tomas_planner", "default_pool", 1, None)


def run(of: Plan, tasks: list[TaskFacts], **changes: Any) -> RunFacts:
    """The run of the sample plan."""
    routes: Any = [{"step": item.id} for item in of.steps]
    values: dict[str, Any] = {
        "dag_id": "archive",
        "run_id": "manual__2026-03-02T09:29:50+00:00",
        "state": "success",
        "start": RELEASE,
        "end": RELEASE + timedelta(seconds=18),
        "plan_tasks": [plan_task()],
        "routing": {"plan": {"steps.tool": routes}},
        "tool_tasks": {(item.task_id, item.map_index): item for item in tasks},
    }
    return RunFacts(**{**values, **changes})


class Source:
    """Holds a plan and its records, and answers as the store does."""

    def __init__(self, of: Plan, records: list[ExecutionRecord]) -> None:
        self._plan, self._records = of, records

    def latest_plan(self, dag_id: str, run_id: str, task_id: str | None = None) -> Plan | None:
        """The plan, whatever is asked."""
        return self._plan

    def records(self, plan_id: str) -> list[ExecutionRecord]:
        """The records of the plan."""
        return self._records

    def bins(self) -> list[Bin]:
        """The two bins."""
        return BINS
