"""Arguments of a tool run: defaults filled in, checked against the tool's JSON Schema."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from jsonschema.validators import Draft202012Validator

from tomas.errors import ToolContractError
from tomas.schema import Tool

__all__ = ["validate_arguments"]


def validate_arguments(tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``arguments`` with the defaults of the schema filled in.

    :raises ToolContractError: an argument is missing, unknown or of the wrong kind; it is named.
    """
    filled = dict(arguments)
    for name, schema in tool.arguments.get("properties", {}).items():
        if name not in filled and isinstance(schema, Mapping) and "default" in schema:
            filled[name] = copy.deepcopy(schema["default"])
    errors = sorted(Draft202012Validator(tool.arguments).iter_errors(filled), key=lambda error: list(error.path))
    if errors:
        where = ".".join(str(part) for part in errors[0].path)
        raise ToolContractError(
            f"Tool {tool.name}, {f'argument {where}' if where else 'arguments'}: {errors[0].message}.",
            remedy=f"Known arguments: {', '.join(tool.arguments.get('properties', {})) or 'none'}.",
        )
    return filled
