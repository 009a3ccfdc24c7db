"""Tools as the generator knows them: ports and arguments, and how people ask for them in both languages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tomas.schema import media_type_matches

__all__ = ["Argument", "Entry", "Output", "Phrase", "ToolSpec", "fill"]

_OPTIONAL = re.compile(r"\s?\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Entry:
    """An input port.

    :ivar many: it gathers the results of several steps.
    """

    name: str
    media_type: str
    required: bool = True
    many: bool = False

    def takes(self, media_type: str) -> bool:
        """Whether data of this type may enter."""
        return media_type_matches(media_type, self.media_type)


@dataclass(frozen=True)
class Output:
    """An output port, and what its data are called: an English plural without article, a Chinese noun."""

    name: str
    media_type: str
    english: str
    chinese: str


@dataclass(frozen=True)
class Argument:
    """An argument, and the values that requests name.

    :ivar choices: (value, English, Chinese) of every listed value.
    :ivar low: with ``high``, the range of numbers that requests name.
    :ivar samples: texts that requests quote, in English and in Chinese.
    :ivar spoken: listed values that requests name; empty: all of them.
    """

    name: str
    kind: Literal["string", "integer", "number", "boolean", "array"]
    text: str
    choices: tuple[tuple[str, str, str], ...] = ()
    low: float = 1.0
    high: float = 10.0
    samples: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    required: bool = False
    spoken: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Phrase:
    """One way to ask for a tool in English: base form of the verb, its object, what follows.

    Slots are ``{in}`` for the data of the first port, ``{port}`` for those of others, ``{argument}`` for values;
    what stands in square brackets is left out where one of its slots is empty.
    """

    verb: str
    object: str
    tail: str = ""


@dataclass(frozen=True, eq=False)
class ToolSpec:
    """A tool of a generated world; two are equal only where they are one.

    :ivar glue: people seldom name it: it only turns data into the form that the next tool needs.
    :ivar questions: English and Chinese questions that it answers, without question mark.
    """

    name: str
    domain: str
    inputs: tuple[Entry, ...]
    outputs: tuple[Output, ...]
    description: str
    description_zh: str
    aliases: tuple[str, ...]
    aliases_zh: tuple[str, ...]
    english: tuple[Phrase, ...]
    chinese: tuple[str, ...]
    noun: str
    noun_zh: str
    arguments: tuple[Argument, ...] = ()
    glue: bool = False
    questions: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    @property
    def gathers(self) -> bool:
        """Whether its first port takes the results of several steps."""
        return bool(self.inputs) and self.inputs[0].many

    @property
    def required(self) -> tuple[Entry, ...]:
        """The ports that must be bound."""
        return tuple(port for port in self.inputs if port.required)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values into a template; a bracket whose slots are not all given falls away.

    :raises KeyError: a slot outside brackets has no value.
    """

    def bracket(match: re.Match[str]) -> str:
        inner = match.group(1)
        given = all(values.get(name) for name in _SLOT.findall(inner))
        return match.group().replace("[", "").replace("]", "") if given else ""

    return _SLOT.sub(lambda match: values[match.group(1)], _OPTIONAL.sub(bracket, template))
