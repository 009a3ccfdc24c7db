"""Which tools may stand in a plan, and why others may not."""

from __future__ import annotations

from collections.abc import Mapping

from tomas.errors import ToolUnavailable
from tomas.schema import PlanRequest, Tool
from tomas.tools.availability import availability
from tomas.tools.registry import Registry

__all__ = ["allowed_tools", "unavailable", "usable_tools"]


def allowed_tools(request: PlanRequest, registry: Registry) -> dict[str, Tool]:
    """The tools that may be planned; those given in the request always may.

    :raises UnknownToolError: ``allowed_tools`` names a tool that does not exist.
    """
    if request.allowed_tools is None:
        return {tool.name: tool for tool in registry}
    names = [*request.allowed_tools, *(tool.name for tool in request.tools)]
    return {name: registry.get(name) for name in dict.fromkeys(names)}


def usable_tools(tools: Mapping[str, Tool], request: PlanRequest) -> tuple[dict[str, Tool], dict[str, str]]:
    """The tools that may stand in this plan, and the remedy for each of ``tools`` that cannot run here."""
    remedies: dict[str, str] = {}
    for name, tool in tools.items():
        state = availability(tool)
        if not state.ok:
            remedies[name] = " ".join(part for part in (state.reason, state.remedy) if part)
    if request.allow_unavailable:
        return dict(tools), remedies
    return {name: tool for name, tool in tools.items() if name not in remedies}, remedies


def unavailable(name: str, remedies: Mapping[str, str]) -> ToolUnavailable:
    """The error for a tool that the task needs and that cannot run here."""
    return ToolUnavailable(
        f"The task needs {name}, which cannot run here: {remedies[name]}",
        remedy="Install what is missing, or allow planning without it (allow_unavailable, --allow-unavailable).",
    )
