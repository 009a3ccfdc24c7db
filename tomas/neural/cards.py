"""Tools of the registry as the cards that the model reads; the generator of training data writes them alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tomas.lexicon import LANGUAGES, NOUNS_ZH
from tomas.model.example import PROFILE_FEATURES, ArgumentCard, FloatArray, PortCard, ToolCard
from tomas.schema import ProfileRow, Tool

__all__ = ["argument_value", "tool_card"]

_KINDS = ("string", "integer", "number", "boolean", "array")


def tool_card(tool: Tool, rows: Sequence[ProfileRow] = ()) -> ToolCard:
    """The card of a tool.

    :param rows: of its profile.
    """
    text, arguments = _described(tool.canonical_json())
    return ToolCard(
        name=tool.name,
        text=text,
        inputs=tuple(PortCard(port.name, port.type, port.required) for port in tool.inputs),
        outputs=tuple(PortCard(port.name, port.type) for port in tool.outputs),
        arguments=arguments,
        profile=_profile(rows),
    )


def argument_value(tool: Tool, name: str, text: str) -> Any:
    """The value that a text stands for under the tool's schema; the text itself where it stands for none."""
    schema = tool.arguments.get("properties", {}).get(name, {})
    listed = schema.get("enum") or schema.get("items", {}).get("enum") or []
    value: Any = next((item for item in listed if str(item) == text), text)
    kind = schema.get("type")
    try:
        if kind == "integer" and not listed:
            value = int(float(text))
        elif kind == "number" and not listed:
            value = float(text)
    except (ValueError, OverflowError):
        return text
    if kind == "boolean":
        value = text == "true"
    return [value] if kind == "array" else value


@lru_cache(maxsize=20_000)
def _described(row: str) -> tuple[str, tuple[ArgumentCard, ...]]:
    tool = Tool.model_validate_json(row)
    parts = [tool.name.replace("_", " "), ", ".join(tool.aliases), tool.description, tool.description_zh]
    properties: Mapping[str, Any] = tool.arguments.get("properties", {})
    required = set(tool.arguments.get("required", []))
    arguments = tuple(
        _argument(name, schema, required=name in required)
        for name, schema in properties.items()
        if isinstance(schema, dict)
    )
    return ". ".join(part.rstrip(".。") for part in parts if part), arguments


def _argument(name: str, schema: Mapping[str, Any], *, required: bool) -> ArgumentCard:
    label = name.replace("_", " ")
    described = str(schema.get("description", ""))
    listed = schema.get("enum") or schema.get("items", {}).get("enum") or []
    choices = tuple(str(item) for item in listed)
    kind = schema.get("type")
    return ArgumentCard(
        name=name,
        text=f"{label}: {described}" if described else label,
        kind=kind if kind in _KINDS else "string",
        choices=choices,
        required=required and "default" not in schema,
        choice_names=tuple(_names(choice) for choice in choices),
    )


def _names(choice: str) -> tuple[str, ...]:
    """Other words for a listed value: languages by name, and the Chinese nouns that the planners know."""
    languages = tuple(name for name in LANGUAGES.get(choice, ()) if len(name) > 1)
    return languages or tuple(chinese for chinese, english in NOUNS_ZH.items() if english == choice)


def _profile(rows: Sequence[ProfileRow]) -> FloatArray:
    if not rows:
        return np.zeros((0, len(PROFILE_FEATURES)), np.float32)
    return np.array(
        [
            [
                math.log1p(row.input_bytes),
                row.cpu_core,
                row.cpu_mem_gb,
                row.gpu_sm,
                row.gpu_mem_gb,
                math.log1p(row.latency_ms),
                math.log1p(row.peak_mem_gb),
                math.log1p(row.output_bytes),
            ]
            for row in rows
        ],
        np.float32,
    )
