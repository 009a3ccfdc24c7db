"""The exception tree of TOMAS.

Every error that a user can cause says what was wrong, where, and what to do::

    TomasError
    ├── ConfigError             a setting is missing or malformed
    ├── DataError               a file or row was refused (file, row, field)
    │   └── UnknownToolError    a name that the registry does not hold
    ├── StoreError              Postgres refused or failed
    │   ├── StoreUnavailable    Postgres is down, or slower than its timeout
    │   └── MigrationError      the schema is not the one this version needs
    ├── PlanError               no plan can be released
    │   ├── TaskError           the task text is empty, too long or not text
    │   ├── NoToolMatches       nothing in the registry serves the task
    │   ├── ToolUnavailable     a tool's model or library is not installed
    │   ├── UnboundInput        a required input or argument has no value
    │   ├── FitsNoBin           a step is larger than every bin
    │   ├── Infeasible          no schedule exists within the limits
    │   └── PlanRejected        the verifier refused the plan
    ├── ToolError               a tool run failed
    │   ├── ToolOutOfMemory     it hit its memory limit
    │   │   └── BinTooSmall     which was all the memory of its bin
    │   ├── ToolTimeout         it hit its time limit
    │   └── ToolContractError   it broke the runner contract
    ├── RoutingError            pool, queue, policy or consumer is missing
    └── ModelUnavailable        weights of the neural planner are missing, altered or do not fit
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BinTooSmall",
    "ConfigError",
    "DataError",
    "FitsNoBin",
    "Infeasible",
    "MigrationError",
    "ModelUnavailable",
    "NoToolMatches",
    "PlanError",
    "PlanRejected",
    "RoutingError",
    "StoreError",
    "StoreUnavailable",
    "TaskError",
    "TomasError",
    "ToolContractError",
    "ToolError",
    "ToolOutOfMemory",
    "ToolTimeout",
    "ToolUnavailable",
    "UnboundInput",
    "UnknownToolError",
]


class TomasError(Exception):
    """Root of all errors raised on purpose.

    :param what: one sentence naming the cause and the place.
    :param remedy: one sentence saying what to do about it.
    """

    def __init__(self, what: str, *, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(what, remedy)

    def __str__(self) -> str:
        return f"{self.what} Remedy: {self.remedy}" if self.remedy else self.what

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.remedy))


def _rebuild(kind: type[TomasError], what: str, remedy: str) -> TomasError:
    return kind(what, remedy=remedy)


class ConfigError(TomasError):
    """A setting is missing or malformed."""


class DataError(TomasError):
    """A file or row was refused; the message names file, row and field."""


class UnknownToolError(DataError):
    """A tool name that the registry does not hold."""


class StoreError(TomasError):
    """Postgres refused or failed."""


class StoreUnavailable(StoreError):
    """Postgres is down, or did not answer within its timeout."""


class MigrationError(StoreError):
    """The schema in the database is not the one this version needs."""


class PlanError(TomasError):
    """No plan can be released."""


class TaskError(PlanError):
    """The task text is empty, too long, or not text."""


class NoToolMatches(PlanError):
    """Nothing in the registry serves the task."""


class ToolUnavailable(PlanError):
    """A tool's model or library is not installed here."""


class UnboundInput(PlanError):
    """A required input or argument of a step has no value."""


class FitsNoBin(PlanError):
    """A step needs more than any bin has."""


class Infeasible(PlanError):
    """No schedule exists within horizon, deadline or capacity."""


class PlanRejected(PlanError):
    """The verifier refused the plan; it was not released."""


class ToolError(TomasError):
    """A tool run failed."""

    usage: Any = None
    """The :class:`~tomas.schema.record.StepUsage` of the failed run, where it started."""
    log: str = ""
    """The end of what the tool printed."""


class ToolOutOfMemory(ToolError):
    """A tool run hit its memory limit."""


class BinTooSmall(ToolOutOfMemory):
    """A tool run hit its memory limit where that was all the memory of its bin: no try there can do better."""


class ToolTimeout(ToolError):
    """A tool run hit its time limit."""


class ToolContractError(ToolError):
    """A tool broke the runner contract (outputs missing, wrong type, outside its folder)."""


class RoutingError(TomasError):
    """Pool, queue, policy or consumer is missing, or a step runs off its planned route."""


class ModelUnavailable(TomasError):
    """Weights, tokenizer or adapter of the neural planner are missing, altered, or do not fit its configuration."""
