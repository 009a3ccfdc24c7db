"""The synthetic tools: many domains, each tool with its phrases, read from the text files of the catalogue.

A file is a sequence of blocks. ``domain NAME`` opens a domain; ``noun KIND english; … | chinese; …`` says what data
of a kind are called in it; ``tool NAME`` opens a tool, whose lines are

=========  ======================================================================================
``in``     port kind [``optional``] [``many``]
``out``    port kind ``|`` English noun ``|`` Chinese noun
``d z``    descriptions, English and Chinese
``a``      aliases, separated by semicolons; those with Chinese characters are Chinese
``e``      verb ``|`` object ``|`` tail, see :class:`~tomas.training.generate.spec.Phrase`
``c``      a Chinese phrase with the same slots
``n``      English noun ``|`` Chinese noun for what the tool does
``p``      argument: name kind [range] ``:`` description [``|`` values]
``q w``    questions that it answers, English and Chinese, without question mark
``glue``   people seldom name it
=========  ======================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tomas.errors import DataError
from tomas.training.generate.lexicon import CATALOGUE, LANGUAGE_NAMES, Noun, kinds, split
from tomas.training.generate.spec import Argument, Entry, Output, Phrase, ToolSpec

__all__ = ["Catalogue", "Wording", "catalogue", "parse_tools", "wordings"]

_HAN = re.compile(r"[\u4e00-\u9fff]")
_ARGUMENT = re.compile(
    r"^(?P<name>\w+)\s+(?P<kind>enum|language|int|number|string|bool)(?:\s+(?P<low>[\d.]+)-(?P<high>[\d.]+))?\s*:"
    r"\s*(?P<text>[^|]*?)\s*(?:\|\s*(?P<values>.*))?$"
)
_KEYS = frozenset({"in", "out", "d", "z", "a", "e", "c", "n", "p", "q", "w", "glue"})
_KINDS = {"int": "integer", "number": "number", "bool": "boolean"}
_WILD = frozenset({"image", "audio", "video"})

Nouns = dict[str, tuple[tuple[Noun, ...], tuple[Noun, ...]]]


@dataclass(frozen=True)
class Catalogue:
    """All synthetic tools, and what data are called in each domain: domain → kind → (English, Chinese)."""

    tools: tuple[ToolSpec, ...]
    nouns: dict[str, Nouns]


@dataclass(frozen=True)
class Wording:
    """Phrases for a tool that a registry describes: its outputs' nouns are by port name."""

    english: tuple[Phrase, ...]
    chinese: tuple[str, ...]
    noun: str
    noun_zh: str
    outputs: dict[str, tuple[str, str]]
    arguments: dict[str, Argument]
    glue: bool
    questions: tuple[tuple[str, ...], tuple[str, ...]]


@dataclass
class _Block:
    place: str
    name: str
    domain: str
    lines: list[tuple[str, str, str]] = field(default_factory=list)

    def all(self, key: str) -> list[tuple[str, str]]:
        return [(place, text) for place, name, text in self.lines if name == key]

    def one(self, key: str) -> str:
        found = self.all(key)
        if len(found) != 1:
            raise DataError(
                f"{self.place}: tool {self.name} has {len(found)} lines “{key}”.", remedy="Write exactly one."
            )
        return found[0][1]


@cache
def catalogue() -> Catalogue:
    """The tools that ship with the generator.

    :raises DataError: a file is malformed; file and line are named.
    """
    tools: list[ToolSpec] = []
    nouns: dict[str, Nouns] = {}
    for path in sorted(CATALOGUE.glob("tools_*.txt")):
        found, named = parse_tools(path)
        tools += found
        for domain, table in named.items():
            nouns.setdefault(domain, {}).update(table)
    names = [tool.name for tool in tools]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"The catalogue defines {', '.join(twice)} twice.", remedy="Rename one of the two.")
    return Catalogue(tuple(tools), nouns)


def parse_tools(path: Path) -> tuple[list[ToolSpec], dict[str, Nouns]]:
    """Tools and nouns of one file.

    :raises DataError: file and line are named.
    """
    nouns: dict[str, Nouns] = {}
    return [_tool(block) for block in _blocks(path, nouns)], nouns


@cache
def wordings() -> dict[str, Wording]:
    """Phrases for the tools of the registry that is shipped, by tool name."""
    result: dict[str, Wording] = {}
    for block in _blocks(CATALOGUE / "registry.txt", {}):
        noun, noun_zh = _cells(block, block.one("n"), 2, block.place)
        outputs = {}
        for place, text in block.all("out"):
            port, english, chinese = _cells(block, text, 3, place)
            outputs[port] = (english, chinese)
        arguments = [_argument(place, text) for place, text in block.all("p")]
        result[block.name] = Wording(
            tuple(_phrases(block)),
            tuple(text for _, text in block.all("c")),
            noun,
            noun_zh,
            outputs,
            {item.name: item for item in arguments},
            bool(block.all("glue")),
            _questions(block),
        )
    return result


def _blocks(path: Path, nouns: dict[str, Nouns]) -> Iterator[_Block]:
    domain = path.stem
    block: _Block | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        key, _, text = line.strip().partition(" ")
        place = f"{path.name}, line {number}"
        if not key or key.startswith("#"):
            continue
        if key in ("domain", "tool") and block is not None:
            yield block
            block = None
        if key == "domain":
            domain = text.strip()
        elif key == "tool":
            block = _Block(place, text.strip(), domain)
        elif key == "noun":
            kind, _, names = text.partition(" ")
            english, bar, chinese = names.partition("|")
            if kind not in kinds() or not bar:
                raise DataError(f"{place}: “{line}” is no noun line.", remedy="Write: noun KIND en; … | zh; …")
            nouns.setdefault(domain, {})[kind] = (
                tuple(Noun.english(item) for item in split(english)),
                tuple(Noun.chinese(item) for item in split(chinese)),
            )
        elif block is None or key not in _KEYS:
            raise DataError(f"{place}: “{key}” is not known here.", remedy="See the module's table of keys.")
        else:
            block.lines.append((place, key, text.strip()))
    if block is not None:
        yield block


def _tool(block: _Block) -> ToolSpec:
    aliases = [item for _, text in block.all("a") for item in split(text)]
    noun, noun_zh = _cells(block, block.one("n"), 2, block.place)
    phrases, chinese = tuple(_phrases(block)), tuple(text for _, text in block.all("c"))
    if not phrases or not chinese:
        raise DataError(f"{block.place}: tool {block.name} has no phrase.", remedy="Write lines e and c.")
    return ToolSpec(
        name=block.name,
        domain=block.domain,
        inputs=tuple(_entry(place, text) for place, text in block.all("in")),
        outputs=tuple(_output(block, place, text) for place, text in block.all("out")),
        description=block.one("d"),
        description_zh=block.one("z"),
        aliases=tuple(item for item in aliases if not _HAN.search(item)),
        aliases_zh=tuple(item for item in aliases if _HAN.search(item)),
        english=phrases,
        chinese=chinese,
        noun=noun,
        noun_zh=noun_zh,
        arguments=tuple(_argument(place, text) for place, text in block.all("p")),
        glue=bool(block.all("glue")),
        questions=_questions(block),
    )


def _questions(block: _Block) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(text for _, text in block.all("q")), tuple(text for _, text in block.all("w"))


def _cells(block: _Block, text: str, count: int, place: str) -> list[str]:
    cells = [cell.strip() for cell in text.split("|")]
    if len(cells) != count:
        raise DataError(
            f"{place}: “{text}” of {block.name} has {len(cells)} cells in place of {count}.",
            remedy="Separate cells by |.",
        )
    return cells


def _phrases(block: _Block) -> Iterator[Phrase]:
    for place, text in block.all("e"):
        cells = [cell.strip() for cell in text.split("|")]
        if len(cells) not in (2, 3):
            raise DataError(f"{place}: “{text}” is no phrase.", remedy="Write: verb | object | tail.")
        yield Phrase(*cells)


def _media_type(place: str, kind: str) -> str:
    if kind not in kinds():
        raise DataError(f"{place}: the kind {kind} is not known.", remedy="Add it to kinds.txt.")
    return kinds()[kind].media_type


def _entry(place: str, text: str) -> Entry:
    name, kind, *flags = text.split()
    own = _media_type(place, kind)
    wanted = own.partition("/")[0] + "/*" if kind in _WILD else own
    return Entry(name, wanted, required="optional" not in flags, many="many" in flags)


def _output(block: _Block, place: str, text: str) -> Output:
    port, english, chinese = _cells(block, text, 3, place)
    name, kind = port.split()
    return Output(name, _media_type(place, kind), english, chinese)


def _argument(place: str, text: str) -> Argument:
    match = _ARGUMENT.match(text)
    if match is None:
        raise DataError(f"{place}: “{text}” is no argument.", remedy="Write: name kind [low-high] : text | values.")
    name, kind, values = match["name"], match["kind"], match["values"] or ""
    if kind == "language":
        codes = split(values, ",") or list(LANGUAGE_NAMES)
        return Argument(name, "string", match["text"], tuple((code, *LANGUAGE_NAMES[code]) for code in codes))
    if kind == "enum":
        cells = [[part.strip() for part in item.split("=")] for item in split(values, ",")]
        if not cells or any(len(item) != 3 for item in cells):
            raise DataError(f"{place}: the values of {name} are malformed.", remedy="Write: value=English=中文, …")
        return Argument(name, "string", match["text"], tuple((code, en, zh) for code, en, zh in cells))
    if kind == "string":
        english, _, chinese = values.partition("|")
        return Argument(name, "string", match["text"], samples=(tuple(split(english)), tuple(split(chinese))))
    low, high = float(match["low"] or 1), float(match["high"] or 10)
    return Argument(
        name,
        "integer" if kind == "int" else "number" if kind == "number" else "boolean",
        match["text"],
        low=low,
        high=high,
    )
