"""From a graph of tools to a draft: every port bound by media type, every argument valid.

For planners that answer with tools and an order alone; what they answer is data and is checked like data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jsonschema import Draft202012Validator

from tomas.errors import NoToolMatches, UnboundInput
from tomas.planner.arguments import bind_arguments
from tomas.planner.base import Draft, DraftStep
from tomas.planner.results import Producer, results_of
from tomas.planner.text import detect_language, features, normalise
from tomas.schema import (
    Binding,
    PlanRequest,
    Port,
    RequestBinding,
    RequestInput,
    Resources,
    StepBinding,
    Tool,
    media_type_matches,
)

__all__ = ["SkeletonStep", "bind_skeleton"]


@dataclass(frozen=True)
class SkeletonStep:
    """A tool and the earlier steps that it waits for.

    :ivar parents: indices of earlier steps, in any order.
    :ivar arguments: values that the planner read from the task; those that the schema refuses are dropped with a
        warning, and what is missing is looked for in the task.
    :ivar sources: per port, ``(step, output)`` or ``(-1, name of a request input)``, where the planner chose them
        itself; ports that are not in it are bound by type.
    """

    tool: str
    parents: Sequence[int] = ()
    confidence: float = 1.0
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, Sequence[tuple[int, str]]] = field(default_factory=dict)
    proposed: Resources | None = None


def bind_skeleton(
    steps: Sequence[SkeletonStep],
    request: PlanRequest,
    tools: Mapping[str, Tool],
    *,
    warnings: Sequence[str] = (),
    tell: Callable[[], str] | None = None,
) -> Draft:
    """A draft of ``steps`` in their order, with ids ``s1``, ``s2``, ….

    A port takes the outputs of its parents that fit its type, else the request's inputs that do, else the latest
    earlier output that does. A request without any input gets those that the steps still need, without files.

    :param tools: those that may be planned, by name.
    :param tell: the planner's own words, see :class:`~tomas.planner.base.Draft`.
    :raises NoToolMatches: there is no step, a tool may not be planned, or a declared result is never produced.
    :raises UnboundInput: a required port or argument has no source.
    """
    if not steps:
        raise NoToolMatches("The planner chose no tool for the task.", remedy="Rephrase the task, or add a tool.")
    binder = _Binder(request, tools, list(warnings))
    for index, step in enumerate(steps):
        binder.add(index, step)
    return binder.draft(tell)


class _Binder:
    def __init__(self, request: PlanRequest, tools: Mapping[str, Tool], warnings: list[str]) -> None:
        self.request = request
        self.tools = tools
        self.warnings = warnings
        self.inputs: dict[str, RequestInput] = dict(request.inputs)
        self.language: Literal["en", "zh"] = detect_language(request.task)
        self.chosen: list[Tool] = []
        self.steps: list[DraftStep] = []

    def add(self, index: int, step: SkeletonStep) -> None:
        tool = self.tools.get(step.tool)
        if tool is None:
            raise NoToolMatches(
                f"The planner chose {step.tool}, which may not be planned here.",
                remedy="Allow it (allowed_tools), install what it needs, or rephrase the task.",
            )
        parents = sorted({parent for parent in step.parents if 0 <= parent < index})
        bindings: dict[str, list[Binding]] = {}
        used: set[int] = set()
        for port in sorted(tool.inputs, key=lambda item: not item.required):
            sources = self._chosen(step, port, index)
            if not sources:
                sources = self._sources(port, tool, parents, index, used)
            if sources:
                bindings[port.name] = [self._binding(source) for source in sources]
                used.update(source for source, _ in sources if source >= 0)
        self.chosen.append(tool)
        before = [f"s{parent + 1}" for parent in sorted({*parents, *used})]
        self.steps.append(
            DraftStep(
                id=f"s{index + 1}",
                tool=tool.name,
                arguments=self._arguments(tool, step),
                inputs={port.name: bindings[port.name] for port in tool.inputs if port.name in bindings},
                depends_on=before,
                confidence=min(max(step.confidence, 0.0), 1.0),
                proposed=step.proposed,
            )
        )

    def _chosen(self, step: SkeletonStep, port: Port, index: int) -> list[tuple[int, str]]:
        """What the planner bound itself, as far as it exists and fits."""
        fitting = []
        for source, name in step.sources.get(port.name, ()):
            if source < 0:
                given = self.inputs.get(name)
                if given is not None and media_type_matches(given.type, port.type):
                    fitting.append((source, name))
            elif source < index:
                made = self.chosen[source].output(name)
                if made is not None and media_type_matches(made.type, port.type):
                    fitting.append((source, name))
        return fitting

    def _sources(
        self, port: Port, tool: Tool, parents: Sequence[int], index: int, used: set[int]
    ) -> list[tuple[int, str]]:
        made = [item for parent in parents for item in self._outputs(parent, port)]
        if not port.required:
            # An optional port takes what the planner ordered before it and no other port could take.
            spare = [item for item in made if item[0] not in used]
            return spare or [(-1, name) for name in self._given(port) if name == port.name]
        if made:
            return made
        given = self._given(port)
        if given:
            return [(-1, name) for name in given]
        earlier = [item for other in range(index) for item in self._outputs(other, port)]
        if earlier:
            return earlier[-1:]
        if self.request.inputs:
            brought = ", ".join(f"{name} ({item.type})" for name, item in self.inputs.items())
            raise UnboundInput(
                f"The input {port.name} ({port.type}) of {tool.name} has no source; given inputs: {brought}.",
                remedy=f"Give an input of type {port.type}, or name in the task how to make one.",
            )
        return [(-1, self._ask(port))]

    def _outputs(self, step: int, port: Port) -> list[tuple[int, str]]:
        return [(step, out.name) for out in self.chosen[step].outputs if media_type_matches(out.type, port.type)]

    def _given(self, port: Port) -> list[str]:
        """Request inputs of the port's type: one of its name, else those that the task names, else all."""
        fitting = [name for name, item in self.inputs.items() if media_type_matches(item.type, port.type)]
        if len(fitting) <= 1:
            return fitting
        if port.name in fitting:
            return [port.name]
        said = features(normalise(self.request.task)).terms
        named = [name for name in fitting if features(normalise(name.replace("_", " "))).terms & said]
        return named or fitting

    def _ask(self, port: Port) -> str:
        name, number = port.name, 2
        while name in self.inputs:
            name, number = f"{port.name}_{number}", number + 1
        self.inputs[name] = RequestInput(type=port.type, uris=[])
        self.warnings.append(f"The input {name} ({port.type}) is not given yet; the plan cannot run without it.")
        return name

    def _binding(self, source: tuple[int, str]) -> Binding:
        step, name = source
        return RequestBinding(name=name) if step < 0 else StepBinding(step=f"s{step + 1}", output=name)

    def _arguments(self, tool: Tool, step: SkeletonStep) -> dict[str, Any]:
        properties: Mapping[str, Any] = tool.arguments.get("properties", {})
        taken: dict[str, Any] = {}
        for name, value in step.arguments.items():
            if name not in properties:
                self.warnings.append(f"{tool.name} has no argument {name}; it was dropped.")
                continue
            fault = next(Draft202012Validator(properties[name]).iter_errors(value), None)
            if fault is None:
                taken[name] = value
            else:
                self.warnings.append(f"{tool.name}: {name} = {value!r} was not taken ({fault.message}).")
        missing = [name for name in tool.arguments.get("required", []) if name not in taken]
        if missing:
            found, doubts = bind_arguments(tool, self.request.task, normalise(self.request.task))
            self.warnings += doubts
            return {**found, **taken}
        defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
        return {**defaults, **taken}

    def draft(self, tell: Callable[[], str] | None) -> Draft:
        read = {binding.step for step in self.steps for items in step.inputs.values() for binding in items
                if isinstance(binding, StepBinding)}  # fmt: skip
        producers = [
            Producer(index, tool, step.id not in read, index)
            for index, (tool, step) in enumerate(zip(self.chosen, self.steps, strict=True))
        ]
        for name, wanted in self.request.outputs.items():
            if not any(media_type_matches(out.type, wanted) for tool in self.chosen for out in tool.outputs):
                raise NoToolMatches(
                    f"The declared result {name} ({wanted}) is produced by no tool that the planner chose.",
                    remedy="Name in the task the tool that produces it, or declare another type.",
                )
        results = results_of(producers, self.request.outputs)
        taken = {item.name for step in self.steps for items in step.inputs.values() for item in items
                 if isinstance(item, RequestBinding)}  # fmt: skip
        self.warnings += [
            f"The input {name} is used by no step." for name in sorted(set(self.request.inputs) - taken)
        ]
        return Draft(
            self.request.model_copy(update={"inputs": self.inputs}),
            self.language,
            self.steps,
            {name: StepBinding(step=f"s{key + 1}", output=port) for name, (key, port) in results.items()},
            self.warnings,
            tell,
        )
