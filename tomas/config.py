"""Settings: environment ``TOMAS__SECTION__KEY`` over the defaults below.

The defaults serve a laptop; a deployment sets at least ``TOMAS__STORE__DSN``. Inside Airflow the
connection ``tomas_default`` gives the DSN instead.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tomas.errors import ConfigError

__all__ = ["Settings", "get_settings", "shared_file"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoreSettings(_Section):
    """Postgres of TOMAS (not Airflow's metadata base)."""

    dsn: SecretStr | None = None
    """libpq connection string or ``postgresql://`` URL."""
    max_connections: Annotated[int, Field(ge=1, le=100)] = 4
    connect_timeout_s: Annotated[int, Field(ge=1)] = 5
    statement_timeout_ms: Annotated[int, Field(ge=1)] = 15_000
    lock_timeout_ms: Annotated[int, Field(ge=1)] = 60_000
    """How long a plan's release waits for other plans that are being released on the same bins.

    A client that hangs meanwhile is cut off after 30 s, or twice the statement timeout; this should be longer."""


class DataSettings(_Section):
    """Files the registry is loaded from; None takes the ones shipped with TOMAS."""

    tools_path: Path | None = None
    profiles_path: Path | None = None
    worker_classes_path: Path | None = None


class PriceSettings(_Section):
    """What an hour of each resource costs, in any one currency; only the ratios matter to a schedule."""

    cpu_core_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.04
    mem_gb_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.005
    gpu_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0


class PlannerSettings(_Section):
    """The pipeline from request to plan."""

    kind: str = "retrieval"
    """Name in the entry-point group ``tomas.planners``."""
    max_steps: Annotated[int, Field(ge=1, le=10_000)] = 200
    horizon_s: Positive = 3600.0
    """How far ahead capacity is forecast; later the last value holds."""
    grid_ms: Annotated[int, Field(gt=0)] = 1000
    match_threshold: Annotated[float, Field(ge=0, le=1)] = 0.18
    """A tool whose retrieval score is lower is no match."""
    schedule_limit_s: Annotated[float, Field(ge=0, le=600)] = 1.0
    """Deterministic seconds that improving a schedule may take; 0 keeps the list schedule."""
    prices: PriceSettings = PriceSettings()
    t_inf_default_ms: Positive = 500.0
    """Predicted planner latency until the call log holds enough calls."""
    dispatch_lag_default_ms: Positive = 3000.0
    hand_over_default_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3000.0
    """From a step's end to its successor's start in Airflow, until runs have shown it."""


class InstructSettings(_Section):
    """The planner ``instruct``: a stock chat model without trained heads."""

    model: str | None = None
    """Hub id, folder with safetensors, or GGUF file; for example ``Qwen/Qwen2.5-7B-Instruct``."""
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto`` takes what the weights are stored in on a GPU, and float32 on a processor."""
    candidates: Annotated[int, Field(ge=1, le=256)] = 24
    """Tools that the model reads; retrieval narrows a larger registry down to these."""
    max_steps: Annotated[int, Field(ge=1, le=64)] = 16
    max_new_tokens: Annotated[int, Field(ge=16, le=16_384)] = 1024
    limit_s: Positive = 120.0
    """An answer that takes longer is given up, and the retrieval planner plans."""


class NeuralSettings(_Section):
    """The planner ``neural``: a trained checkpoint."""

    checkpoint: Path | None = None
    """Folder of the checkpoint; None takes the one promoted in the model registry, else the one shipped."""
    device: str = "cpu"
    """As torch names it: ``cpu``, ``cuda``, ``cuda:1``."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of torch in the planner's process. A small model is fastest with one; on a busy machine two threads
    that wait for each other were measured twenty times slower."""
    explain: bool = True
    """Whether the model writes an explanation after the plan; it takes longer than the plan itself."""
    free_text: bool = False
    """Whether it may write what it likes, of refusals too; else it chooses among clauses that its plan makes true.
    The free text of a small model names tools and files that are not in the plan."""


class ModelSettings(_Section):
    """Files of registered models."""

    artifacts: str = ".tomas/registry"
    """Folder, or URL of an object store that fsspec knows, which every planner can read."""
    cache: Path = Path(".tomas/model-cache")
    """Folder of this machine for copies of them."""


class NaiveModeSettings(_Section):
    """Fixed capacity curves instead of worker samples."""

    enabled: bool = False


class RuntimeSettings(_Section):
    """Running steps."""

    naive_mode: NaiveModeSettings = NaiveModeSettings()
    artifacts_dir: Path = Path(".tomas/artifacts")
    """Folder that every worker can read and write; step outputs go to PLAN/STEP/TRY below it."""
    step_timeout_s: Positive = 3600.0
    meter_interval_ms: Annotated[int, Field(ge=10)] = 100
    memory_limit: Literal["auto", "rlimit", "watchdog", "none"] = "auto"


class SamplerSettings(_Section):
    """The worker sampler."""

    interval_s: Positive = 5.0
    recent_s: Positive = 600.0
    """Samples younger than this are used for a forecast."""
    keep_days: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 14.0
    """Older samples are removed, but for those that stored plans cite. Their hourly rollups stay."""


class Settings(BaseSettings):
    """All settings, validated once."""

    model_config = SettingsConfigDict(env_prefix="TOMAS__", env_nested_delimiter="__", extra="forbid", frozen=True)

    store: StoreSettings = StoreSettings()
    data: DataSettings = DataSettings()
    planner: PlannerSettings = PlannerSettings()
    instruct: InstructSettings = InstructSettings()
    neural: NeuralSettings = NeuralSettings()
    model: ModelSettings = ModelSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    sampler: SamplerSettings = SamplerSettings()


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process; :class:`~tomas.errors.ConfigError` names the bad variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "TOMAS__" + "__".join(str(part).upper() for part in first["loc"])
        raise ConfigError(
            f"Setting {name}: {first['msg']}.", remedy=f"Correct or unset the environment variable {name}."
        ) from None


def shared_file(relative: str) -> Path:
    """A file or folder shipped with TOMAS (``sql``, ``data/…``): from the wheel, or from the checkout."""
    package = Path(__file__).resolve().parent
    for root in (package / "_share", package.parent):
        if (root / relative).exists():
            return root / relative
    raise ConfigError(
        f"{relative} is neither in the installed package nor in a checkout.",
        remedy="Reinstall airflow-provider-tomas.",
    )
