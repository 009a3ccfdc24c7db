"""Candidate values of a tool's arguments: listed ones, and spans of the task. The model writes none itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tomas.model.example import ArgumentCard
from tomas.model.number_words import number_words

__all__ = ["Value", "argument_values", "same_value"]

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?", re.ASCII)
"""A Chinese character before the digits is no part of the number: 放大3倍."""
_QUOTED = re.compile(
    r"\"([^\"]{1,200})\"|“([^”]{1,200})”|「([^」]{1,200})」|《([^》]{1,200})》|(?<!\w)'([^']{1,200})'(?!\w)"
)


@dataclass(frozen=True)
class Value:
    """A value that an argument may take.

    :ivar text: as text; empty: the argument is left at its default.
    :ivar begin: characters of the task that say so; begin == end: none does.
    """

    text: str
    begin: int = 0
    end: int = 0


def argument_values(card: ArgumentCard, task: str, limit: int) -> list[Value]:
    """What an argument may be set to, "left alone" first; at most ``limit`` values.

    Listed values come with the place where the task names them (by the value itself or one of its other names);
    numbers, in digits or in words, and quoted text are spans of the task.
    """
    values = [Value("")]
    if card.choices:
        lower = task.lower()
        for number, choice in enumerate(card.choices):
            names = (choice, *(card.choice_names[number] if number < len(card.choice_names) else ()))
            begin, end = _place(names, lower)
            if begin == end:
                begin, end = next(((n.begin, n.end) for n in number_words(task) if n.text == choice), (0, 0))
            values.append(Value(choice, begin, end))
    elif card.kind == "boolean":
        values += [Value("true"), Value("false")]
    elif card.kind in ("integer", "number"):
        digits = [Value(match.group(), match.start(), match.end()) for match in _NUMBER.finditer(task)]
        spelt = [Value(word.text, word.begin, word.end) for word in number_words(task)]
        found = sorted(digits + spelt, key=lambda value: value.begin)
        values += [value for value in found if card.kind == "number" or "." not in value.text]
    else:
        for match in _QUOTED.finditer(task):
            group = next(number for number in range(1, 6) if match.group(number) is not None)
            values.append(Value(match.group(group), match.start(group), match.end(group)))
    return values[:limit]


def same_value(a: str, b: str) -> bool:
    """Whether two values mean the same: numbers by size, text without regard to case and outer blanks."""
    try:
        return abs(float(a) - float(b)) < 1e-9
    except ValueError:
        return a.strip().lower() == b.strip().lower()


def _place(names: tuple[str, ...], lower: str) -> tuple[int, int]:
    for name in sorted(names, key=lambda item: -len(item)):
        wanted = name.lower()
        if len(wanted) < 2 and wanted.isascii() and not wanted.isdigit():
            continue
        if wanted.isascii():
            match = re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", lower, re.ASCII)
            if match:
                return match.start(), match.end()
        elif wanted in lower:
            place = lower.index(wanted)
            return place, place + len(wanted)
    return 0, 0
