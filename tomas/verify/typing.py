"""Ports, arguments and declared results: everything bound, everything of the right type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from tomas.schema import Binding, Plan, PlanStep, RequestBinding, Tool, canonical_json, media_type_matches

__all__ = ["check_arguments", "check_outputs", "check_ports"]


def check_ports(plan: Plan, tools: Mapping[str, Tool]) -> Iterator[str]:
    """Violations of the ports: unknown, unbound, or fed with data of another type."""
    offers = _offers(plan, tools)
    for step in plan.steps:
        tool = tools.get(step.tool)
        if tool is None:
            continue
        for port in tool.inputs:
            if port.required and not step.inputs.get(port.name):
                yield f"step {step.id}: the required input {port.name} of {tool.name} is not bound"
        for name, bindings in step.inputs.items():
            wanted = tool.input(name)
            if wanted is None:
                yield f"step {step.id}: {tool.name} has no input {name}"
                continue
            for binding in bindings:
                yield from _source(plan, offers, step, name, wanted.type, binding)


def _source(
    plan: Plan, offers: Mapping[tuple[str, str], str], step: PlanStep, port: str, wanted: str, binding: Binding
) -> Iterator[str]:
    where = f"step {step.id}, input {port}"
    if isinstance(binding, RequestBinding):
        given = plan.request.inputs.get(binding.name)
        if given is None:
            yield f"{where}: the request has no input {binding.name}"
        elif not media_type_matches(given.type, wanted):
            yield f"{where}: takes {wanted}, but the request's {binding.name} is {given.type}"
        return
    offered = offers.get((binding.step, binding.output))
    if offered is None:
        yield f"{where}: there is no output {binding.output} of a step {binding.step}"
    elif not media_type_matches(offered, wanted):
        yield f"{where}: takes {wanted}, but {binding.output} of {binding.step} is {offered}"


def _offers(plan: Plan, tools: Mapping[str, Tool]) -> dict[tuple[str, str], str]:
    """The media type of every (step, output) of the plan."""
    return {
        (step.id, port.name): port.type
        for step in plan.steps
        if step.tool in tools
        for port in tools[step.tool].outputs
    }


def check_arguments(plan: Plan, tools: Mapping[str, Tool]) -> Iterator[str]:
    """Violations of the tools' argument schemas."""
    validators: dict[str, Draft202012Validator] = {}
    for step in plan.steps:
        tool = tools.get(step.tool)
        if tool is None:
            continue
        fault_of_schema = _schema_fault(canonical_json(tool.arguments))
        if fault_of_schema:
            yield f"step {step.id}: the argument schema of {tool.name} is invalid ({fault_of_schema})"
            continue
        validator = validators.setdefault(tool.name, Draft202012Validator(tool.arguments))
        for fault in sorted(validator.iter_errors(step.arguments), key=str)[:5]:
            place = ".".join(str(part) for part in fault.absolute_path) or "arguments"
            yield f"step {step.id}, {place}: {fault.message[:200]}"


@lru_cache(maxsize=512)
def _schema_fault(schema: str) -> str | None:
    """What is wrong with a JSON Schema, given as canonical JSON; checking one takes milliseconds."""
    try:
        Draft202012Validator.check_schema(json.loads(schema))
    except SchemaError as error:
        return str(error.message)
    return None


def check_outputs(plan: Plan, tools: Mapping[str, Tool]) -> Iterator[str]:
    """Violations of the results that the request declares."""
    offers = _offers(plan, tools)
    for name, wanted in plan.request.outputs.items():
        binding = plan.outputs.get(name)
        if binding is None:
            yield f"the declared result {name} is not produced"
            continue
        offered = offers.get((binding.step, binding.output))
        if offered is None:
            yield f"the result {name} points at {binding.step}.{binding.output}, which does not exist"
        elif not media_type_matches(offered, wanted):
            yield f"the result {name} is declared as {wanted}, but {binding.step}.{binding.output} is {offered}"
    for name, binding in plan.outputs.items():
        if name not in plan.request.outputs and (binding.step, binding.output) not in offers:
            yield f"the result {name} points at {binding.step}.{binding.output}, which does not exist"
