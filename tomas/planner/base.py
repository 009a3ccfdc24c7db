"""What a planner is: it drafts steps and their bindings; sizes, places and times come afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from tomas.schema import Binding, PlanRequest, Resources, StepBinding
from tomas.tools.registry import Registry

if TYPE_CHECKING:
    from tomas.planner.outlook import Outlook

__all__ = ["ContextPlanner", "Draft", "DraftStep", "Planner"]


@dataclass(frozen=True)
class DraftStep:
    """One tool run as drafted."""

    id: str
    tool: str
    arguments: dict[str, Any]
    inputs: dict[str, list[Binding]]
    depends_on: list[str]
    confidence: float
    proposed: Resources | None = None


@dataclass(frozen=True)
class Draft:
    """Steps in topological order, with all inputs and arguments bound.

    ``request`` is the one that was asked, plus the inputs (without files) that the draft still needs.
    """

    request: PlanRequest
    language: Literal["en", "zh"]
    steps: list[DraftStep]
    outputs: dict[str, StepBinding]
    warnings: list[str] = field(default_factory=list)
    tell: Callable[[], str] | None = field(default=None, compare=False)
    """The planner's own words about the draft, where it has any; asked for after the plan's release."""
    version: str = ""
    """What drafted; empty where that is the planner's own version."""
    cites: Mapping[str, str] = field(default_factory=dict)
    """What it was drafted from besides the context, for the plan's snapshots: the model's version."""


class Planner(Protocol):
    """Drafts plans. Planners are found by name in the entry-point group ``tomas.planners``.

    What the entry point names is called once: with the section of the settings that has the planner's name where
    there is one (``neural``, ``instruct``), else without arguments. Several threads may draft at once.
    """

    kind: ClassVar[str]

    @property
    def version(self) -> str:
        """What drafted: the code's version, or the model's where there is one."""
        ...

    def draft(self, request: PlanRequest, registry: Registry) -> Draft:
        """Choose tools for the task, order them, bind their inputs and arguments.

        :raises PlanError: TaskError, NoToolMatches, ToolUnavailable or UnboundInput, each with a remedy.
        """
        ...


@runtime_checkable
class ContextPlanner(Planner, Protocol):
    """A planner that looks at history and forecasts, too, and may propose allocations."""

    def draft_in_context(self, request: PlanRequest, registry: Registry, outlook: Outlook) -> Draft:
        """As :meth:`Planner.draft`; whatever of ``outlook`` is asked for is read then."""
        ...
