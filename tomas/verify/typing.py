"""Ports, arguments and declared results: everything bound, everything of the right type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry as SchemaRegistry
from referencing.exceptions import Unresolvable

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
            if len(set(bindings)) != len(bindings):
                yield f"step {step.id}, input {name}: one source is listed twice"
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
        elif plan.request.origin is not None and not given.uris:
            yield f"{where}: the request's {binding.name} names no file, and the plan is to be run"
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
    schemas = {
        name: canonical_json(tools[name].arguments) for name in {step.tool for step in plan.steps} & set(tools)
    }
    for step in plan.steps:
        if step.tool not in schemas:
            continue
        validator = _validator(schemas[step.tool])
        if isinstance(validator, str):
            yield f"step {step.id}: the argument schema of {step.tool} is invalid ({validator})"
            continue
        try:
            for fault in validator.iter_errors(step.arguments):
                place = ".".join(str(part) for part in fault.absolute_path) or "arguments"
                yield f"step {step.id}, {place}: {fault.message[:200]}"
        except (Unresolvable, RecursionError) as error:
            yield f"step {step.id}: the argument schema of {step.tool} refers to what is not in it ({error})"


@lru_cache(maxsize=512)
def _validator(schema: str) -> Draft202012Validator | str:
    """A validator for a JSON Schema, given as canonical JSON, or what is wrong with it; making one takes ms.

    It follows no reference out of the schema: nothing is fetched while a plan is checked.
    """
    content = json.loads(schema)
    try:
        Draft202012Validator.check_schema(content)
    except SchemaError as error:
        return str(error.message)
    return Draft202012Validator(content, registry=SchemaRegistry())


def check_outputs(plan: Plan, tools: Mapping[str, Tool]) -> Iterator[str]:
    """Violations of the results that the request declares."""
    offers = _offers(plan, tools)
    for name, binding in plan.outputs.items():
        offered = offers.get((binding.step, binding.output))
        wanted = plan.request.outputs.get(name)
        if offered is None:
            yield f"the result {name} points at {binding.step}.{binding.output}, which does not exist"
        elif wanted is not None and not media_type_matches(offered, wanted):
            yield f"the result {name} is declared as {wanted}, but {binding.step}.{binding.output} is {offered}"
    for name in plan.request.outputs:
        if name not in plan.outputs:
            yield f"the declared result {name} is not produced"
