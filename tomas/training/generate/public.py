"""Readers of public formats: UltraTool, ComplexTool-Plan, AsyncHow, TaskBench. Nothing of them is shipped."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np

from tomas.errors import DataError
from tomas.model.example import ArgumentCard, PlanningExample, PlanningInput, PlanningTarget, StepTarget, ToolCard
from tomas.training.generate.lexicon import kinds
from tomas.training.generate.registry import HAN, chinese_from, phrases_from
from tomas.training.generate.spec import Entry, Output, ToolSpec

__all__ = [
    "Select",
    "read_asynchow",
    "read_complextool",
    "read_taskbench_requests",
    "read_tool_cards",
    "read_ultratool",
    "taskbench_specs",
]

Select = Callable[[str], Sequence[int]]
"""Which tools to show for a task, by index."""

_SHOWN = 32
_EDGE = re.compile(r"(\w+)\s*->\s*(\w+)")
_KINDS: dict[str, Literal["string", "integer", "number", "boolean", "array"]] = {
    "integer": "integer", "int": "integer", "number": "number", "float": "number",
    "boolean": "boolean", "array": "array",
}  # fmt: skip


def read_tool_cards(path: Path) -> list[ToolCard]:
    """Tools of an UltraTool or TaskBench ``tool_desc.json``; their ports are not typed as ours are.

    :raises DataError: the file is missing or has no list ``nodes``.
    """
    cards = []
    for node in _nodes(path):
        arguments = tuple(
            ArgumentCard(
                item["name"], f"{item['name']}: {item.get('desc', '')}", _KINDS.get(item.get("type"), "string")
            )
            for item in node.get("parameters", ())
        )
        name = str(node["id"])
        cards.append(ToolCard(name, f"{name.replace('_', ' ')}. {node.get('desc', '')}", arguments=arguments))
    return cards


def read_ultratool(
    requests: Path, tools: Path, *, select: Select | None = None, seed: int = 0
) -> Iterator[PlanningExample]:
    """UltraTool through GNN4TaskPlan: a request and its chain of tools; a tool named twice counts once.

    :param select: tools to show, which is what a prior finds; those of the answer are added. None: at random.
    :raises DataError: a line is malformed, or names an unknown tool; file and line are named.
    """
    cards = read_tool_cards(tools)
    place = {card.name: index for index, card in enumerate(cards)}
    for number, row in _lines(requests):
        try:
            chain = list(dict.fromkeys(place[node["task"]] for node in row["task_nodes"]))
            links = {(place[link["source"]], place[link["target"]]) for link in row["task_links"]}
            task = str(row["user_request"]).strip()
        except (KeyError, TypeError) as error:
            raise _malformed(requests, number, error) from None
        rng = Random(f"{seed}:{row['id']}")  # noqa: S311  (no secret)
        shown = (
            list(select(task)) if select else rng.sample(range(len(cards)), min(len(cards), _SHOWN - len(chain)))
        )
        shown = list(dict.fromkeys([*chain, *shown]))[: max(_SHOWN, len(chain))]
        rng.shuffle(shown)
        steps = tuple(
            StepTarget(shown.index(tool), tuple(i for i, other in enumerate(chain[:at]) if (other, tool) in links))
            for at, tool in enumerate(chain)
        )
        yield _example(task, [cards[index] for index in shown], steps, "ultratool", f"u{row['id']}")


def read_complextool(path: Path) -> Iterator[PlanningExample]:
    """ComplexTool-Plan: a request with its own candidate tools, and a graph ``"1->2, 1->3"`` over their numbers.

    :raises DataError: a line is malformed; file and line are named.
    """
    for number, row in _lines(path):
        try:
            keys = list(row["tools"])
            cards = [_schema_card(row["tools"][key]) for key in keys]
            edges = [(keys.index(a), keys.index(b)) for a, b in _EDGE.findall(row["dag"])]
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(path, number, error) from None
        nodes = sorted({node for edge in edges for node in edge})
        steps = _ordered(nodes, edges)
        yield _example(str(row["query"]), cards, steps, "complextool", str(row["id"]))


def read_asynchow(path: Path, *, seed: int = 0) -> Iterator[PlanningExample]:
    """AsyncHow: an everyday plan; its steps, shuffled, are the candidates, and all of them are needed.

    :raises DataError: a line is malformed; file and line are named.
    """
    for number, row in _lines(path):
        try:
            texts = [str(text) for text in row["steps"]]
            edges = [(int(a) - 1, int(b) - 1) for a, b in row["edges"] if a.isdigit() and b.isdigit() and a != b]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _malformed(path, number, error) from None
        order = list(range(len(texts)))
        Random(f"{seed}:{row['id']}").shuffle(order)  # noqa: S311  (no secret)
        place = {old: new for new, old in enumerate(order)}
        cards = [ToolCard(f"step_{new + 1}", texts[old]) for new, old in enumerate(order)]
        moved = [(place[a], place[b]) for a, b in edges if a in place and b in place]
        steps = _ordered(sorted(place.values()), moved)
        if len(steps) == len(texts):
            yield _example(str(row["title"]), cards, steps, "asynchow", f"a{row['id']}")


def read_taskbench_requests(requests: Path, tools: Path) -> Iterator[PlanningInput]:
    """Requests of TaskBench, which have no plans; all tools of the domain are candidates.

    :raises DataError: a line is malformed; file and line are named.
    """
    cards = tuple(read_tool_cards(tools))
    for number, row in _lines(requests):
        try:
            task = str(row["user_request"]).strip()
        except (KeyError, TypeError) as error:
            raise _malformed(requests, number, error) from None
        yield PlanningInput(task, _language(task), cards, np.zeros(len(cards), dtype=np.float32))


def taskbench_specs(tools: Path) -> list[ToolSpec]:
    """Tools of a typed TaskBench domain as a registry for generated worlds; phrases come from their names.

    :raises DataError: the file is missing, or its tools are not typed.
    """
    domain = f"taskbench_{tools.parent.name}"
    specs = []
    for node in _nodes(tools):
        if "input-type" not in node:
            raise DataError(f"{tools}: its tools are not typed.", remedy="Take a domain with input-type.")
        name = str(node["id"])
        noun = name.lower()
        read = dict.fromkeys(_media(kind) for kind in node["input-type"])
        made = dict.fromkeys(_media(kind) for kind in node["output-type"])
        spec = ToolSpec(
            name=name,
            domain=domain,
            inputs=tuple(Entry(f"input_{place + 1}", media) for place, media in enumerate(read)),
            outputs=tuple(
                Output(f"output_{place + 1}", media, f"{noun} results", f"{name} 的结果")
                for place, media in enumerate(made)
            ),
            description=str(node.get("desc", "")),
            description_zh="",
            aliases=(noun,),
            aliases_zh=(),
            english=(),
            chinese=(),
            noun=noun,
            noun_zh=f" {name} ",
        )
        if spec.inputs and spec.outputs:  # what neither reads nor makes data has no place in a typed graph
            specs.append(replace(spec, english=phrases_from(spec), chinese=chinese_from(spec)))
    return specs


def _media(kind: str) -> str:
    name = {"url": "html"}.get(kind.lower(), kind.lower())
    if name not in kinds():
        raise DataError(f"The type {kind} is not known.", remedy=f"Known are {', '.join(sorted(kinds()))}.")
    return kinds()[name].media_type


def _example(
    task: str, cards: Sequence[ToolCard], steps: tuple[StepTarget, ...], group: str, name: str
) -> PlanningExample:
    return PlanningExample(
        given=PlanningInput(task, _language(task), tuple(cards), np.zeros(len(cards), dtype=np.float32)),
        target=PlanningTarget(steps),
        group=f"{_language(task)}.{group}|",
        id=name,
    )


def _ordered(nodes: Sequence[int], edges: Sequence[tuple[int, int]]) -> tuple[StepTarget, ...]:
    """Topological order, ties by number; what stands on a cycle is left out."""
    order: list[int] = []
    left = list(nodes)
    while left:
        ready = [node for node in left if not any(b == node and a in left for a, b in edges)]
        if not ready:
            break
        order.append(ready[0])
        left.remove(ready[0])
    place = {node: at for at, node in enumerate(order)}
    return tuple(
        StepTarget(node, tuple(sorted({place[a] for a, b in edges if b == node and a in place}))) for node in order
    )


def _schema_card(row: Mapping[str, Any]) -> ToolCard:
    properties = row.get("inputSchema", {}).get("properties", {})
    required = set(row.get("inputSchema", {}).get("required", ()))
    arguments = tuple(
        ArgumentCard(
            name,
            f"{name}: {item.get('description', '')}",
            _KINDS.get(item.get("type"), "string"),
            required=name in required,
        )
        for name, item in properties.items()
    )
    name = str(row["name"])
    return ToolCard(name, f"{name.replace('_', ' ')}. {row.get('description', '')}", arguments=arguments)


def _language(text: str) -> Literal["en", "zh"]:
    han = len(HAN.findall(text))
    return "zh" if han and han >= 2 * len(re.findall(r"[A-Za-z]+", text)) else "en"


def _nodes(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DataError(f"{path} does not exist.", remedy="Give the path of a tool_desc.json.")
    try:
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} has no list “nodes”.", remedy="Give the path of a tool_desc.json.") from None
    return list(nodes)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise DataError(f"{path} does not exist.", remedy="Give the path of a file of JSON lines.")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError as error:
                    raise _malformed(path, number, error) from None


def _malformed(path: Path, number: int, error: Exception) -> DataError:
    return DataError(
        f"{path}, line {number}: {error!r}.", remedy="Give a file of the format that its reader names."
    )
