"""The retrieval planner: tools by their words, order by stages and types. No model, no network, deterministic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tomas.config import get_settings
from tomas.errors import NoToolMatches
from tomas.lexicon import media_of_type
from tomas.planner.allowed import allowed_tools, unavailable, usable_tools
from tomas.planner.arguments import bind_arguments
from tomas.planner.base import Draft, DraftStep
from tomas.planner.index import ToolIndex, ToolWords
from tomas.planner.selection import Choice, Selection, select
from tomas.planner.text import check_task, clauses, detect_language, normalise
from tomas.planner.wiring import wire
from tomas.schema import PlanRequest, Tool
from tomas.tools.registry import Registry

__all__ = ["RetrievalPlanner"]

_NEARLY_AS_GOOD = 0.85
"""An available tool replaces an unavailable one if its score is at least this share of it."""


class RetrievalPlanner:
    """Drafts plans by lexical retrieval over names, aliases and descriptions in English and Chinese."""

    kind: ClassVar[str] = "retrieval"
    version: ClassVar[str] = "1"

    def __init__(self, threshold: float | None = None) -> None:
        """:param threshold: least retrieval score of a match; None takes ``TOMAS__PLANNER__MATCH_THRESHOLD``."""
        self._threshold = get_settings().planner.match_threshold if threshold is None else threshold
        self._indexed: tuple[str, ToolIndex] | None = None

    def draft(self, request: PlanRequest, registry: Registry) -> Draft:
        """Choose tools for the task, order them, bind their inputs and arguments.

        :raises TaskError: the task is empty, too long or not text.
        :raises UnknownToolError: ``allowed_tools`` names a tool that does not exist.
        :raises NoToolMatches: no tool serves the task, or none produces a declared output.
        :raises ToolUnavailable: a tool that the task needs is not installed, and may not be planned.
        :raises UnboundInput: an input or a required argument has no value.
        """
        check_task(request.task)
        registry = registry.with_tools(request.tools) if request.tools else registry
        tools = allowed_tools(request, registry)
        index = self._index(registry)
        task = normalise(request.task)
        selection = select(
            index,
            task,
            clauses(task),
            among=list(tools),
            given=frozenset(media_of_type(item.type) for item in request.inputs.values()),
            threshold=self._threshold,
        )
        if not selection.choices:
            raise _nothing_matches(request, selection)
        warnings = [f"No tool was found for: “{part[:120]}”." for part in selection.unmatched]
        usable, remedies = usable_tools(tools, request)
        choices = [_available(choice, usable, remedies, warnings) for choice in selection.choices]
        choices = list({choice.tool: choice for choice in choices}.values())
        wiring = wire(choices, request, usable, selection.media)
        steps: list[DraftStep] = []
        for node in wiring.nodes:
            arguments, doubts = bind_arguments(node.tool, request.task, node.choice.text)
            warnings += doubts
            bindings = wiring.bindings(node)
            before = sorted((wiring.ids[key] for key in node.before), key=lambda name: int(name[1:]))
            steps.append(
                DraftStep(wiring.ids[node.key], node.tool.name, arguments, bindings, before, node.choice.confidence)
            )
            if node.tool.name in remedies:
                warnings.append(f"{node.tool.name} cannot run here: {remedies[node.tool.name]}")
        return Draft(
            wiring.request, detect_language(request.task), steps, wiring.outputs, [*warnings, *wiring.warnings]
        )

    def _index(self, registry: Registry) -> ToolIndex:
        """The search index, built again only when the registry changed."""
        fingerprint = registry.fingerprint()
        if self._indexed is None or self._indexed[0] != fingerprint:
            self._indexed = (fingerprint, ToolIndex(map(ToolWords.of, registry)))
        return self._indexed[1]


def _available(
    choice: Choice, usable: Mapping[str, Tool], remedies: Mapping[str, str], warnings: list[str]
) -> Choice:
    """The choice itself, or a nearly equal tool that can run here in its place."""
    if choice.tool in usable:
        return choice
    for rival in choice.rivals:
        if rival.tool in usable and rival.score >= _NEARLY_AS_GOOD * choice.score:
            warnings.append(f"{rival.tool} takes the place of {choice.tool}, which cannot run here.")
            return Choice(rival.tool, rival.score, choice.confidence, choice.stage, choice.text, choice.rivals)
    raise unavailable(choice.tool, remedies)


def _nothing_matches(request: PlanRequest, selection: Selection) -> NoToolMatches:
    nearest = ", ".join(match.tool for match in selection.nearest)
    among = "the allowed tools" if request.allowed_tools is not None else "the registry"
    return NoToolMatches(
        f"No tool in {among} serves the task “{request.task.strip()[:120]}”.",
        remedy=(
            f"Nearest are {nearest}; name what to do with words of theirs, or " if nearest else "Rephrase it, or "
        )
        + "add a tool that does it (tomas registry check).",
    )
