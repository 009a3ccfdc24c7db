"""Requests and plans: the contract between planner, Airflow and the people who read plans."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from tomas.schema.base import Identifier, MediaType, NonNegative, Schema, UtcDatetime
from tomas.schema.capacity import CapacityCurve
from tomas.schema.resources import Resources
from tomas.schema.tool import Tool

__all__ = [
    "MAX_TASK_CHARS",
    "PLAN_SCHEMA_VERSION",
    "AllocationDecision",
    "Binding",
    "Budget",
    "Plan",
    "PlanOrigin",
    "PlanRequest",
    "PlanStatus",
    "PlanStep",
    "PlannerInfo",
    "RequestBinding",
    "RequestInput",
    "SchedulingInfo",
    "StepBinding",
    "new_plan_id",
    "plan_json_schema",
]

PLAN_SCHEMA_VERSION: Literal[1] = 1
MAX_TASK_CHARS = 8000
"""A longer task is refused: it is a document, and belongs in ``inputs``."""


class RequestInput(Schema):
    """A named input of the request: files of one media type."""

    type: MediaType
    uris: list[str]
    bytes: Annotated[int, Field(ge=0)] | None = None
    """Total size where it is known at planning time."""


class PlanOrigin(Schema):
    """The Airflow task instance that asks for a plan."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


class Budget(Schema):
    """What a whole plan may consume, at p90 latencies; None is unlimited."""

    cpu_core_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    cpu_mem_gb_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    gpu_hours: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Hours of whole GPUs: ``gpu_sm`` in hundredths."""
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """In the currency of the settings ``TOMAS__PLANNER__PRICES__*``."""


class PlanRequest(Schema):
    """What a DAG author or a user at the command line asks for."""

    task: str
    inputs: dict[str, RequestInput] = {}
    outputs: dict[str, MediaType] = {}
    """Declared results, by name; the planner must end in steps that produce them."""
    allowed_tools: list[str] | None = None
    """Only these tools may be planned; None allows the whole registry."""
    tools: list[Tool] = []
    """Tools given in the DAG in addition to the registry."""
    deadline_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    budget: Budget = Budget()
    priority: Annotated[int, Field(ge=1, le=100)] = 1
    allow_unavailable: bool = False
    """Whether tools that cannot run here (an absent model) may be planned."""
    idempotency_key: str | None = None
    """The stored plan of the same key is returned instead of a new one."""
    origin: PlanOrigin | None = None
    """The Airflow task that asks; a new plan of the same origin supersedes the older one."""
    seed: int = 0


class RequestBinding(Schema):
    """A port bound to an input of the request."""

    source: Literal["request"] = "request"
    name: str


class StepBinding(Schema):
    """A port bound to an output of an earlier step."""

    source: Literal["step"] = "step"
    step: str
    output: str


Binding = Annotated[RequestBinding | StepBinding, Field(discriminator="source")]


class AllocationDecision(Schema):
    """How the allocation of a step came about."""

    proposed: Resources | None = None
    """By the model; None where the planner proposes none."""
    floor: Resources
    """From history: less would break the step or its latency estimate."""
    final: Resources
    why: str


class PlanStep(Schema):
    """One tool run. Times are milliseconds from the plan's ``release_at``; they are estimates, never holds."""

    id: Identifier
    tool: Identifier
    arguments: dict[str, Any] = {}
    inputs: dict[str, list[Binding]]
    depends_on: list[str] = []
    predicted_input_bytes: NonNegative
    allocation: AllocationDecision
    latency_p50_ms: NonNegative
    latency_p90_ms: NonNegative
    start_ms: NonNegative
    end_ms: NonNegative
    bin: Identifier
    worker_class: Identifier
    queue: Identifier
    pool: Identifier
    pool_slots: int
    confidence: Annotated[float, Field(ge=0, le=1)]
    """Probability that the tool is the right one."""


class PlannerInfo(Schema):
    """Who drafted the plan, and with what."""

    kind: str
    version: str
    model_version: str | None = None
    """Version in the model registry of the sizing and latency models that this plan used."""
    fallback_from: str | None = None
    fallback_reason: str | None = None


class SchedulingInfo(Schema):
    """How good the schedule is known to be."""

    method: Literal["list", "cp-sat"]
    bound_ms: NonNegative
    """No schedule of these steps and allocations ends earlier under this forecast."""
    gap_pct: NonNegative
    """Distance from the makespan to that bound, as a percentage of the makespan; 0 is proven optimal."""
    cost: NonNegative
    """At the prices of the settings, at p90 latencies."""
    limit_s: NonNegative | None = None
    """Deterministic seconds that the search was allowed; None in plans made before it was recorded."""
    interrupted: bool = False
    """Whether a limit in processor time ended the search: only then may a replay differ."""


class PlanStatus(StrEnum):
    """Life of a plan."""

    RELEASED = "released"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"


def new_plan_id() -> str:
    """A fresh plan id: 32 hex digits, random."""
    return uuid.uuid4().hex


class Plan(Schema):
    """An executable plan, proven feasible under ``forecast`` before release."""

    id: str = Field(default_factory=new_plan_id)
    schema_version: Literal[1] = PLAN_SCHEMA_VERSION
    request: PlanRequest
    language: Literal["en", "zh"]
    planner: PlannerInfo
    snapshots: dict[str, str] = {}
    """Hashes and ids of what the planner read: registry, profiles, bins, samples."""
    created_at: UtcDatetime
    release_at: UtcDatetime
    """When the first step can be queued, as predicted: created_at + T_inf + dispatch lag."""
    t_inf_predicted_ms: NonNegative
    t_inf_actual_ms: NonNegative | None = None
    dispatch_lag_predicted_ms: NonNegative
    dispatch_lag_actual_ms: NonNegative | None = None
    hand_over_predicted_ms: NonNegative = 0.0
    """What Airflow takes from one step's end to the next one's start; the times of the steps count it in."""
    forecast: list[CapacityCurve]
    scheduling: SchedulingInfo | None = None
    """None in plans made before it was recorded."""
    steps: list[PlanStep]
    outputs: dict[str, StepBinding] = {}
    makespan_ms: NonNegative
    explanation: str = ""
    """Facts about the plan, put into sentences by the planner's code."""
    narrative: str = ""
    """The model's own words about its draft, written after the release; nothing is derived from them."""
    warnings: list[str] = []
    status: PlanStatus = PlanStatus.RELEASED

    def step(self, step_id: str) -> PlanStep:
        """The step called ``step_id``; KeyError if there is none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)


def plan_json_schema() -> dict[str, Any]:
    """The published JSON Schema of :class:`Plan`."""
    return Plan.model_json_schema()
