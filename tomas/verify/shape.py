"""Soundness of the data itself: everything is what its class promises, and survives its own JSON unchanged.

Pydantic checks a model when it is made, but ``model_construct`` and ``model_copy`` go past that, and so do lists
and dicts that are changed later. What is stored and run is the plan's JSON, so that is what has to hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel, ValidationError

from tomas.schema import Bin, Plan, Reservation, Tool

__all__ = ["check_context", "check_shape"]

_MAX_FAULTS = 20
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
        if tools[name].name != name:
            yield f"tool {name}: the registry holds {tools[name].name} under its name"
    for place in bins:
        for fault in _faults(Bin, place):
            yield f"bin {_short(getattr(place, 'name', '?'))}: {fault}"
    for item in reservations:
        whose = f"reservation of step {_short(getattr(item, 'step_id', '?'))}"
        found = _faults(Reservation, item)
        for fault in found:
            yield f"{whose}: {fault}"
        if not found and item.end_at < item.start_at:
            yield f"{whose}: it ends before it starts"


def _faults(kind: type[BaseModel], item: object) -> list[str]:
    """What is wrong with ``item`` as a ``kind``; nothing, if its JSON gives back an equal one."""
    if type(item) is not kind:
        return [f"it is a {type(item).__name__}, not a {kind.__name__}"]
    assert isinstance(item, kind)  # noqa: S101 - for the type checker
    try:
        text = item.model_dump_json(warnings=False)
        again = kind.model_validate_json(text, strict=True)
        if again == item:
            return ["a text of it holds the character 0"] if _NUL.search(text) else []
    except Exception:  # noqa: BLE001 - anything may be inside; what it is, is found out below
        again = None
    try:
        kind.model_validate(item.model_dump(warnings=False), strict=True)
    except ValidationError as error:
        listed = error.errors(include_url=False, include_context=False)[:_MAX_FAULTS]
        return [_in_words(".".join(map(str, fault["loc"])), fault["input"], fault["msg"]) for fault in listed]
    except Exception as error:  # noqa: BLE001
        return [f"it cannot be read ({type(error).__name__}: {_short(error)})"]
    changed = [name for name in kind.model_fields if again is None or _differs(item, again, name)]
    return [f"it does not survive its own JSON, in {', '.join(changed)}"]


def _differs(one: BaseModel, other: BaseModel, name: str) -> bool:
    return bool(getattr(one, name, None) != getattr(other, name, None))


def _in_words(place: str, value: object, fault: str) -> str:
    return f"{place} is {_short(value)}: {fault}"


def _short(value: object) -> str:
    """At most 80 characters of what may be anything, also something that cannot be shown."""
    try:
        text = str(value)
    except Exception:  # noqa: BLE001
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."
