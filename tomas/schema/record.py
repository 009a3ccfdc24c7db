"""What really happened: execution records and the planner's call log."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from tomas.schema.base import Identifier, MediaType, NonNegative, Schema, UtcDatetime
from tomas.schema.resources import Resources

__all__ = ["Artifact", "ExecutionRecord", "ModelArtifact", "ModelVersion", "Outcome", "PlannerCall", "StepUsage"]


class Artifact(Schema):
    """A file that a step produced."""

    name: Identifier
    """The output port."""
    type: MediaType
    uri: str


class Outcome(StrEnum):
    """How a try ended."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    KILLED = "killed"


class StepUsage(Schema):
    """Measured use of one try: peaks and integrals over the process tree."""

    wall_ms: NonNegative
    peak_mem_gb: NonNegative
    """Largest of the sampled sum over the tree and the largest VmHWM of a process in it, GB."""
    cpu_seconds: NonNegative
    peak_cpu_cores: NonNegative
    gpu_peak_mem_gb: NonNegative = 0.0
    gpu_sm_mean: NonNegative = 0.0
    exit_code: int | None = None
    outcome: Outcome
    evidence: str = ""
    """What showed an out-of-memory, a time-out or a kill."""
    memory_limit: Literal["cgroup", "rlimit", "watchdog", "rlimit+watchdog", "none"] = "none"


class ExecutionRecord(Schema):
    """One try of one step."""

    plan_id: str
    step_id: str
    tool: Identifier
    try_number: Annotated[int, Field(ge=1)]
    bin: Identifier
    host: str
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    queue: str | None = None
    requested: Resources
    input_bytes: Annotated[int, Field(ge=0)]
    output_bytes: Annotated[int, Field(ge=0)] = 0
    started_at: UtcDatetime
    ended_at: UtcDatetime | None = None
    waited_ms: NonNegative = 0.0
    """From the moment the step was ready until it started."""
    usage: StepUsage
    outputs: list[Artifact] = []
    error: str | None = None


class PlannerCall(Schema):
    """One call of a planner: what T_inf and the dispatch lag are learned from."""

    at: UtcDatetime
    planner: str
    task_chars: Annotated[int, Field(ge=0)]
    tools: Annotated[int, Field(ge=0)]
    steps: Annotated[int, Field(ge=0)]
    t_inf_ms: NonNegative
    dispatch_lag_ms: NonNegative | None = None
    plan_id: str | None = None
    error: str | None = None


class ModelArtifact(Schema):
    """Files of a model outside the database: a folder of a file system or an object store."""

    uri: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Over the names and the SHA-256 of all files, sorted by name."""
    bytes: Annotated[int, Field(ge=0)]
    """Of all files together."""


class ModelVersion(Schema):
    """A fitted model in the model registry: JSON payload, the data interval it saw, how good it is."""

    version: str
    kind: str
    """What it predicts: ``sizing``, ``latency`` or ``forecast``; or ``planner``: what it drafts."""
    payload: dict[str, Any]
    interval_start: UtcDatetime
    interval_end: UtcDatetime
    """Nothing that ended at or after this instant was used to fit it."""
    metrics: dict[str, float] = {}
    parent: str | None = None
    """The version it was refitted from."""
    created_at: UtcDatetime
    promoted: bool = False
    code_version: str = ""
    """Of the TOMAS that made it."""
    data_hash: str | None = None
    artifact: ModelArtifact | None = None
