"""The tool registry: rows of ``tools.json`` as validated :class:`~tomas.schema.tool.Tool` objects."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.validators import Draft202012Validator
from pydantic import ValidationError

from tomas.config import get_settings, shared_file
from tomas.errors import DataError, UnknownToolError
from tomas.schema import CommandRunner, Tool, content_hash
from tomas.tools.template import check_template

__all__ = ["Registry", "check_tool"]


class Registry:
    """An ordered set of tools, looked up by name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        """:raises DataError: two tools share a name, or a tool contradicts itself."""
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self._tools:
                raise DataError(
                    f"Tool {tool.name} is defined twice.", remedy="Rename one of the two, or remove it."
                )
            check_tool(tool)
            self._tools[tool.name] = tool

    @classmethod
    def load(cls, path: Path | None = None) -> Registry:
        """Read a registry file: a JSON array of tools.

        :param path: None takes ``TOMAS__DATA__TOOLS_PATH``, else the file shipped with TOMAS.
        :raises DataError: the file is missing or not JSON, or a row is refused; file, row and field are named.
        """
        if path is None:
            path = get_settings().data.tools_path or shared_file("data/tool_registry/tools.json")
        rows = _read_array(path)
        tools: list[Tool] = []
        seen: dict[str, int] = {}
        for number, row in enumerate(rows, start=1):
            try:
                tool = Tool.model_validate(row)
                check_tool(tool)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                field = ".".join(str(part) for part in first["loc"]) or "(row)"
                name = row.get("name", "?") if isinstance(row, Mapping) else "?"
                raise DataError(
                    f"{path}, row {number} (tool {name}), field {field}: {first['msg']}.",
                    remedy="Correct that field.",
                ) from None
            except DataError as error:
                raise DataError(f"{path}, row {number}: {error.what}", remedy=error.remedy) from None
            if tool.name in seen:
                raise DataError(
                    f"{path}, row {number}, field name: {tool.name} is already in row {seen[tool.name]}.",
                    remedy="Rename one of the two, or remove it.",
                )
            seen[tool.name] = number
            tools.append(tool)
        return cls(tools)

    @property
    def names(self) -> list[str]:
        """The names, in the order of the file."""
        return list(self._tools)

    def get(self, name: str) -> Tool:
        """The tool called ``name``.

        :raises UnknownToolError: there is none; the message offers the nearest names.
        """
        tool = self._tools.get(name)
        if tool is None:
            near = difflib.get_close_matches(name, self._tools, n=3, cutoff=0.5)
            hint = f"Did you mean {', '.join(near)}?" if near else f"Known tools: {', '.join(self._tools)}."
            raise UnknownToolError(f"There is no tool called {name!r} in the registry.", remedy=hint)
        return tool

    def with_tools(self, extra: Iterable[Tool]) -> Registry:
        """A registry with ``extra`` added; a tool of the same name is replaced."""
        tools = dict(self._tools)
        for tool in extra:
            tools[tool.name] = tool
        return Registry(tools.values())

    def fingerprint(self) -> str:
        """Hash over all rows, whatever their order."""
        return content_hash(sorted(tool.fingerprint() for tool in self))

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools


def check_tool(tool: Tool) -> None:
    """What the schema alone cannot see: the argument schema is one, and command words refer to what exists.

    :raises DataError: naming the tool and the field.
    """
    schema = tool.arguments
    if schema.get("type") != "object":
        raise DataError(
            f"Tool {tool.name}, field arguments: the JSON Schema must have type object.",
            remedy='Wrap the arguments as {"type": "object", "properties": {…}}.',
        )
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = "/".join(str(part) for part in error.path) or "(root)"
        raise DataError(
            f"Tool {tool.name}, field arguments at {where}: {error.message}.",
            remedy="Give a valid JSON Schema of draft 2020-12.",
        ) from None
    if isinstance(tool.runner, CommandRunner):
        check_template(tool)


def _read_array(path: Path) -> list[Any]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", remedy="Name an existing file.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: byte {error.start}.", remedy="Save it as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON ({error.msg}).",
            remedy="Correct the file.",
        ) from None
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a {type(rows).__name__}, not an array of rows.", remedy="Wrap it in [ ].")
    return rows
