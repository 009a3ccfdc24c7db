"""Soundness of the data itself: everything is what its class promises, and its JSON gives back the same.

Pydantic checks a model when it is made, but ``model_construct`` and ``model_copy`` go past that, and so do lists
and dicts that are changed later. What is stored and run is the plan's JSON, so that is what has to hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel, ValidationError

from tomas.schema import Bin, Plan, Reservation, Tool

__all__ = ["check_context", "check_shape", "short"]

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""The escape of character 0, not of a backslash followed by u0000; Postgres stores no such character."""


def check_shape(plan: Plan) -> Iterator[str]:
    """Violations of the plan's schema: missing or foreign fields, wrong types, NaN, infinity, negative amounts."""
    yield from _faults(Plan, plan)


def check_context(
    plan: Plan, tools: Mapping[str, Tool], bins: Sequence[Bin], reservations: Iterable[Reservation]
) -> Iterator[str]:
    """Violations by what the plan is checked against: the tools that it uses, all bins, others' reservations."""
    for name in sorted({step.tool for step in plan.steps if step.tool in tools}):
        for fault in _faults(Tool, tools[name]):
            yield f"tool {name}: {fault}"
        if getattr(tools[name], "name", name) != name:
            yield f"tool {name}: the registry holds {tools[name].name} under its name"
    for place in bins:
        for fault in _faults(Bin, place):
            yield f"bin {short(getattr(place, 'name', '?'))}: {fault}"
    for item in reservations:
        whose = f"reservation of step {short(getattr(item, 'step_id', '?'))}"
        found = _faults(Reservation, item)
        for fault in found:
            yield f"{whose}: {fault}"
        if not found and item.end_at < item.start_at:
            yield f"{whose}: it ends before it starts"


def _faults(kind: type[BaseModel], item: BaseModel) -> list[str]:
    """What is wrong with ``item`` as a ``kind``."""
    if type(item) is not kind:
        return [f"it is a {type(item).__name__}, not a {kind.__name__}"]
    try:
        again = kind.model_validate(item.model_dump(warnings=False), strict=True)
        text = item.model_dump_json(warnings=False)
    except ValidationError as error:
        listed = error.errors(include_url=False, include_context=False)
        return [_in_words(".".join(map(str, fault["loc"])), fault["input"], fault["msg"]) for fault in listed]
    except Exception as error:  # noqa: BLE001 - anything may be inside
        return [f"it cannot be written as JSON ({type(error).__name__}: {short(error)})"]
    if again != item:
        changed = [name for name in kind.model_fields if _differs(item, again, name)]
        return [f"it is not what its own JSON gives back, in {', '.join(changed)}"]
    if "\\u0000" in text and _NUL.search(text):
        return ["a text of it holds the character 0"]
    return [f"{place}: this is not JSON" for place, value in _free_form(item) if not _is_json(value)]


def _differs(one: BaseModel, other: BaseModel, name: str) -> bool:
    return name not in one.__dict__ or bool(getattr(one, name) != getattr(other, name))


def _free_form(item: BaseModel) -> Iterator[tuple[str, object]]:
    """The parts that no schema of ours types: pydantic takes anything there."""
    if isinstance(item, Tool):
        yield "arguments", item.arguments
    if isinstance(item, Plan):
        for i, step in enumerate(item.steps):
            yield f"steps.{i}.arguments", step.arguments
        for i, tool in enumerate(item.request.tools):
            yield f"request.tools.{i}.arguments", tool.arguments


def _is_json(value: object) -> bool:
    if value == {}:
        return True
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _in_words(place: str, value: object, fault: str) -> str:
    return f"{place} is {short(value)}: {fault}"


def short(value: object) -> str:
    """At most 80 characters of what may be anything, also something that cannot be shown."""
    try:
        text = str(value)
    except Exception:  # noqa: BLE001
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."
