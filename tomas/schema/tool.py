"""Tools as the registry describes them, and the rows of profiling history."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tomas.schema.base import Identifier, MediaType, NonNegative, Schema, UtcDatetime, content_hash
from tomas.schema.resources import Resources

__all__ = [
    "CommandRunner",
    "InputSize",
    "InputSizeThresholds",
    "Port",
    "ProfileRow",
    "ProfileSource",
    "PythonRunner",
    "Requirement",
    "Runner",
    "Tool",
    "media_type_matches",
]


class InputSize(StrEnum):
    """The size classes of the profiling table."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class InputSizeThresholds(Schema):
    """Upper bounds in bytes of ``small`` and ``medium``; what is larger is ``large``."""

    small_max_bytes: Annotated[int, Field(gt=0)]
    medium_max_bytes: Annotated[int, Field(gt=0)]

    @model_validator(mode="after")
    def _ordered(self) -> InputSizeThresholds:
        if self.medium_max_bytes <= self.small_max_bytes:
            raise ValueError("medium_max_bytes must be greater than small_max_bytes")
        return self

    def classify(self, input_bytes: float) -> InputSize:
        """The size class of an input of ``input_bytes`` bytes."""
        if input_bytes <= self.small_max_bytes:
            return InputSize.SMALL
        return InputSize.MEDIUM if input_bytes <= self.medium_max_bytes else InputSize.LARGE


class Port(Schema):
    """One named input or output. A port carries a list of files, all of one media type."""

    name: Identifier
    type: MediaType
    required: bool = True
    description: str = ""


class PythonRunner(Schema):
    """A callable ``run(inputs, arguments, output_dir) -> [{name, type, uri}]``.

    ``inputs`` maps a port to a list of local paths, ``arguments`` is validated JSON,
    ``output_dir`` is an existing empty folder; every ``uri`` returned is a path inside it.
    """

    kind: Literal["python"] = "python"
    callable: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class CommandRunner(Schema):
    """A command as a list of words, run without a shell.

    A word may hold ``{arguments.NAME}``, ``{cores}`` (whole cores allotted), ``{input}`` and
    ``{output}``; the command runs once per file of the single input port. ``{output}`` is a path
    inside the output folder whose name is the input's stem plus ``output_suffix``.
    """

    kind: Literal["command"] = "command"
    argv: Annotated[list[str], Field(min_length=1)]
    output_suffix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._\-]+$")]


Runner = Annotated[PythonRunner | CommandRunner, Field(discriminator="kind")]


class Requirement(Schema):
    """What a tool needs on the machine that runs it.

    ``module`` is an importable module, ``command`` an executable on PATH, ``path_env`` an
    environment variable that names an existing file or folder (a model, say).
    """

    kind: Literal["module", "command", "path_env"]
    name: str
    remedy: str


class Tool(Schema):
    """A row of the tool registry."""

    name: Identifier
    family: Identifier
    description: Annotated[str, Field(min_length=1, max_length=2000)]
    description_zh: Annotated[str, Field(max_length=2000)] = ""
    aliases: list[str] = []
    inputs: Annotated[list[Port], Field(min_length=1)]
    outputs: Annotated[list[Port], Field(min_length=1)]
    arguments: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    """JSON Schema (2020-12) of the arguments; defaults are filled in by the planner."""
    input_size: InputSizeThresholds
    runner: Runner | None = None
    """None where the tool can be planned but nothing here can run it."""
    requires: list[Requirement] = []
    max_cores: Annotated[int, Field(ge=1)] = 1
    """More cores than this do not make the tool faster."""

    @model_validator(mode="after")
    def _ports_are_distinct(self) -> Tool:
        for side in (self.inputs, self.outputs):
            names = [port.name for port in side]
            if len(set(names)) != len(names):
                raise ValueError(f"port names are not distinct: {names}")
        if isinstance(self.runner, CommandRunner) and (len(self.inputs) != 1 or len(self.outputs) != 1):
            raise ValueError("a command runner takes exactly one input port and one output port")
        return self

    def input(self, name: str) -> Port | None:
        """The input port called ``name``, or None."""
        return next((port for port in self.inputs if port.name == name), None)

    def output(self, name: str) -> Port | None:
        """The output port called ``name``, or None."""
        return next((port for port in self.outputs if port.name == name), None)

    def fingerprint(self) -> str:
        """Hash of the whole row; a plan made with another row can be told apart."""
        return content_hash(self.model_dump(mode="json"))


class ProfileSource(StrEnum):
    """Where a profile row comes from."""

    MEASURED = "measured"
    GIVEN = "given"


class ProfileRow(Schema):
    """One measured (or given) run of a tool on one input under one allocation."""

    tool: Identifier
    input_size: InputSize
    input_bytes: Annotated[int, Field(ge=0)]
    cpu_core: NonNegative
    """Cores allotted."""
    cpu_mem_gb: NonNegative
    """Memory allotted, in GB (2^30 bytes)."""
    gpu_sm: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 0.0
    gpu_mem_gb: NonNegative = 0.0
    latency_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    peak_mem_gb: NonNegative
    """Peak of the resident memory of the process tree, in GB."""
    cpu_seconds: NonNegative = 0.0
    output_bytes: Annotated[int, Field(ge=0)] = 0
    source: ProfileSource
    measured_at: UtcDatetime | None = None

    @property
    def allocation(self) -> Resources:
        """What was allotted, as :class:`~tomas.schema.resources.Resources`."""
        return Resources(
            cpu_cores=self.cpu_core, cpu_mem_gb=self.cpu_mem_gb, gpu_sm=self.gpu_sm, gpu_mem_gb=self.gpu_mem_gb
        )


def media_type_matches(offered: str, wanted: str) -> bool:
    """Whether data of type ``offered`` may enter a port of type ``wanted`` (``image/*`` takes ``image/png``)."""
    if offered == wanted or wanted == "*/*":
        return True
    kind, _, subtype = wanted.partition("/")
    return subtype == "*" and offered.partition("/")[0] == kind
