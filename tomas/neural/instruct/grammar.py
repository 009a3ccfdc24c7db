"""The grammar of a plan as compact JSON: what a language model may answer, and nothing else.

The grammar is in the Lark dialect of llguidance. Whatever the model would like to say, it can only name tools
that may be planned, earlier steps, and argument values of the tools' schemas; free text exists in the reason of
a refusal alone, which is shown and never run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tomas.errors import DataError
from tomas.planner.skeleton import SkeletonStep
from tomas.schema import Tool

__all__ = ["Answer", "answered_tools", "closed_arguments", "plan_grammar", "read_answer"]

_MAX_REASON_CHARS = 160
_KEPT = ("type", "enum", "minItems", "maxItems", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
"""Keywords that narrow a value and that llguidance knows; the whole schema judges the value afterwards."""


@dataclass(frozen=True)
class Answer:
    """What a model answered: steps in topological order, or why there are none."""

    steps: tuple[SkeletonStep, ...]
    refusal: str | None = None


def closed_arguments(tool: Tool) -> dict[str, Any]:
    """The JSON Schemas of the arguments whose values are closed: listed, numbers, truth values.

    Free strings are not among them; they are taken from quoted text of the task afterwards.
    """
    closed = {}
    for name, schema in tool.arguments.get("properties", {}).items():
        kind = schema.get("type")
        listed = "enum" in schema or "enum" in schema.get("items", {})
        if listed or kind in {"integer", "number", "boolean"}:
            closed[name] = {key: schema[key] for key in _KEPT if key in schema}
            if "items" in schema:
                closed[name]["items"] = {key: schema["items"][key] for key in _KEPT if key in schema["items"]}
    return closed


def plan_grammar(tools: Sequence[Tool], max_steps: int, chosen: Sequence[str] = ()) -> str:
    """The grammar of ``{"steps": [...]}`` over ``tools``, or ``{"refuse": "..."}``.

    A step is ``{"tool": NAME, "arguments": {...}, "needs": [...]}``; ``needs`` holds numbers of earlier steps,
    which count from 1. Arguments may be left out. There is no white space.

    :param chosen: names of the tools of the first steps, as answered so far; no tool is chosen twice.
    :raises ValueError: there is no tool, or no step allowed.
    """
    if not tools or max_steps < 1:
        raise ValueError("a grammar needs at least one tool and one step")
    names = [tool.name for tool in tools]
    max_steps = min(max_steps, len(tools))
    lines = [
        "start: plan | refusal",
        f"""refusal: {_text('{"refuse":"')} REASON {_text('"}')}""",
        f'REASON: /[^"\\\\\\x00-\\x1f]{{1,{_MAX_REASON_CHARS}}}/',
        f"""plan: {_text('{"steps":[')} step_1{" rest_2?" if max_steps > 1 else ""} {_text("]}")}""",
    ]
    for number in range(1, max_steps + 1):
        if number > 1:
            more = f" rest_{number + 1}?" if number < max_steps else ""
            lines.append(f"rest_{number}: {_text(',')} step_{number}{more}")
        tool_rule = f"tool_{names.index(chosen[number - 1])}" if number <= len(chosen) else "tool"
        lines.append(
            f"""step_{number}: {_text("{")} {tool_rule} {_text(',"needs":')} needs_{number} {_text("}")}"""
        )
        lines.append(f"needs_{number}: {_needs(number)}")
    left = [f"tool_{index}" for index, name in enumerate(names) if name not in chosen]
    lines.append("tool: " + (" | ".join(left) or "tool_0"))
    for index, tool in enumerate(tools):
        name = _text(f'"tool":{json.dumps(tool.name)}')
        closed = closed_arguments(tool)
        if not closed:
            lines.append(f"tool_{index}: {name}")
            continue
        schema = {
            "type": "object",
            "properties": closed,
            "additionalProperties": False,
            "x-guidance": {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"},
        }
        lines.append(f"""tool_{index}: {name} ({_text(',"arguments":')} arguments_{index})?""")
        lines.append(f"arguments_{index}: %json {json.dumps(schema, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _needs(number: int) -> str:
    """Any earlier steps, each named at most as often as there are earlier steps."""
    if number == 1:
        return _text("[]")
    earlier = "|".join(str(step) for step in range(number - 1, 0, -1))
    more = f"(,({earlier})){{0,{number - 2}}}" if number > 2 else ""
    return f"/\\[(({earlier}){more})?\\]/"


def _text(literal: str) -> str:
    return json.dumps(literal, ensure_ascii=False)


def answered_tools(text: str) -> list[str]:
    """The tools of the steps that an unfinished answer has ended so far."""
    end = text.rfind("}")
    try:
        return [str(item["tool"]) for item in json.loads(text[: end + 1] + "]}")["steps"]]
    except (ValueError, KeyError, TypeError):
        return []


def read_answer(text: str, confidences: Mapping[int, float] | None = None) -> Answer:
    """The steps that a JSON answer names.

    :param confidences: probability of each step's tool, by the step's index.
    :raises DataError: the text is no answer of this form, or names a step that is not earlier.
    """
    try:
        data = json.loads(text)
        if "refuse" in data:
            return Answer((), str(data["refuse"]))
        steps = tuple(
            SkeletonStep(
                str(item["tool"]),
                _earlier(item["needs"], index),
                (confidences or {}).get(index, 1.0),
                dict(item.get("arguments", {})),
            )
            for index, item in enumerate(data["steps"])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"The model's answer is no plan ({type(error).__name__}: {error}): {text[:200]!r}.",
            remedy="Raise TOMAS__INSTRUCT__MAX_NEW_TOKENS if the answer is cut off, or use another model.",
        ) from None
    return Answer(steps)


def _earlier(numbers: Sequence[Any], index: int) -> list[int]:
    parents = sorted({int(number) - 1 for number in numbers})
    if any(not 0 <= parent < index for parent in parents):
        raise ValueError(f"step {index + 1} needs a step that is not earlier")
    return parents
