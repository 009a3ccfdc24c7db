"""Requests with known plans, in the formats of UltraTool, ComplexTool-Plan and AsyncHow, told apart by content."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tomas.errors import DataError

__all__ = ["Format", "Request", "format_of", "read_chains"]

Format = Literal["ultratool", "complextool", "asynchow"]
_FIELDS: dict[str, Format] = {"task_nodes": "ultratool", "dag": "complextool", "edges": "asynchow"}


@dataclass(frozen=True)
class Request:
    """A request over a fixed set of tools.

    :ivar plan: names of the tools of its plan in order; one may stand there more than once.
    :ivar links: ordered pairs of names.
    """

    id: str
    task: str
    plan: tuple[str, ...]
    links: frozenset[tuple[str, str]]


def format_of(path: Path) -> Format:
    """The format of a file, by the fields of its first line.

    :raises DataError: the file cannot be read, or has none of the formats.
    """
    row = next(_rows(path), (0, {}))[1]
    for name, found in _FIELDS.items():
        if name in row:
            return found
    raise DataError(
        f"{path} has none of the known formats.", remedy=f"Its lines need one of the fields {', '.join(_FIELDS)}."
    )


def read_chains(path: Path) -> list[Request]:
    """Requests in UltraTool's format.

    :raises DataError: a line is malformed; file and line are named.
    """
    found = []
    for number, row in _rows(path):
        try:
            plan = tuple(str(node["task"]) for node in row["task_nodes"])
            links = frozenset((str(link["source"]), str(link["target"])) for link in row["task_links"])
            found.append(Request(str(row["id"]), str(row["user_request"]).strip(), plan, links))
        except (KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: {error!r}.", remedy="Correct that line.") from None
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise DataError(f"{path}, line {number}: no object.", remedy="Correct that line.")
                    yield number, row
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", remedy="Name a file of JSON lines.") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON lines ({error}).", remedy="Correct the file.") from None
