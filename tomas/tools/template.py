"""Words of command runners: what stands in braces is replaced literally, word by word, never by a shell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tomas.errors import DataError
from tomas.schema import CommandRunner, Tool

__all__ = ["check_template", "fill_words"]

_PLACE = re.compile(r"\{(input|output|cores|arguments\.[A-Za-z_][A-Za-z0-9_]*)\}")


def fill_words(
    argv: Sequence[str], *, arguments: Mapping[str, Any], cores: int, input_path: str, output_path: str
) -> list[str]:
    """The words of one run.

    A value is put into its word as it is: it cannot add words, and braces inside it mean nothing.
    """
    fixed = {"input": input_path, "output": output_path, "cores": str(cores)}

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return fixed[name] if name in fixed else _text(arguments[name.removeprefix("arguments.")])

    return [_PLACE.sub(value, word) for word in argv]


def check_template(tool: Tool) -> None:
    """Every placeholder exists, arguments have a value, and both files are used.

    :raises DataError: naming tool, word and cause.
    """
    runner = tool.runner
    if not isinstance(runner, CommandRunner):
        return
    properties = tool.arguments.get("properties", {})
    required = tool.arguments.get("required", [])
    used: set[str] = set()
    if "{" in runner.argv[0]:
        raise DataError(
            f"Tool {tool.name}, field runner.argv: the executable {runner.argv[0]!r} holds a placeholder.",
            remedy="Name the executable literally.",
        )
    for word in runner.argv:
        rest = _PLACE.sub("", word)
        if "{" in rest or "}" in rest:
            raise DataError(
                f"Tool {tool.name}, field runner.argv: unknown placeholder in the word {word!r}.",
                remedy="Known are {input}, {output}, {cores} and {arguments.NAME}.",
            )
        for name in _PLACE.findall(word):
            used.add(name)
            if not name.startswith("arguments."):
                continue
            argument = name.removeprefix("arguments.")
            if argument not in properties or ("default" not in properties[argument] and argument not in required):
                raise DataError(
                    f"Tool {tool.name}, field runner.argv: {{{name}}} has no value in every run.",
                    remedy=f"Declare the argument {argument} with a default, or as required.",
                )
    for name in ("input", "output"):
        if name not in used:
            raise DataError(
                f"Tool {tool.name}, field runner.argv: {{{name}}} is missing.",
                remedy=f"Add a word with {{{name}}}.",
            )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
