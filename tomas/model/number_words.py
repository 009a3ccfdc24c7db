"""Numbers that a task writes in words: "four sentences", "twice", 四句, 两倍, 半小时."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["NumberWord", "number_words"]

_UP_TO_19 = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS_OF = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ONES = {word: value for value, word in enumerate(_UP_TO_19)}
_TENS = {word: 10 * value for value, word in enumerate(_TENS_OF, start=2)}
_MULTIPLES = {"half": 0.5, "twice": 2, "double": 2, "twofold": 2, "thrice": 3, "triple": 3, "dozen": 12}
_WORDS: dict[str, float] = {**_ONES, **_TENS, **_MULTIPLES, "hundred": 100}
_ENGLISH = re.compile(
    rf"\b(?P<tens>{'|'.join(_TENS)})[ -](?P<ones>{'|'.join(_UP_TO_19[1:10])})\b|\b(?P<word>{'|'.join(_WORDS)})\b",
    re.IGNORECASE | re.ASCII,
)
_PRONOUN = re.compile(r"\b(?:this|that|each|every|which|any|the|no|last|first|next|new)\s+$", re.IGNORECASE)
_NOT_COUNTED = re.compile(
    r"\s*(?:$|[^\w\s]|(?:of|by|another|or|and|that|which|is|after|at|to|for|in)\b)", re.IGNORECASE
)
"""What follows "one" where it counts nothing."""

_DIGITS = {char: value for value, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_SCALES = {"十": 10, "百": 100, "千": 1000}
_MEASURE = "句倍秒分小天周年行列帧页首词字步轮次遍米层帧幅点像"
_COUNTED = "个份种段篇张条组类部项块件台只位名批"
"""Measure words after which 一 is an article, as "a" is: 写一份报告."""
_CHINESE = re.compile(
    rf"(?<![第统唯万零〇一二两三四五六七八九十百千])"
    rf"(?!十分(?!钟))(?:(?P<half>一半|半(?=[{_MEASURE}]))"
    rf"|(?P<number>[零〇一二两三四五六七八九十百千]+)(?=(?P<unit>[{_MEASURE}{_COUNTED}])))"
)


@dataclass(frozen=True)
class NumberWord:
    """A number in words.

    :ivar text: in digits, as ``4`` or ``0.5``.
    :ivar begin: the characters of the task that say so, ``end`` exclusive.
    """

    text: str
    begin: int
    end: int


@lru_cache(maxsize=64)
def number_words(task: str) -> tuple[NumberWord, ...]:
    """The numbers that a task spells out, in their order; "one" and 一 only where they count something."""
    found = [*_english(task), *_chinese(task)]
    return tuple(sorted(found, key=lambda item: item.begin))


def _english(task: str) -> list[NumberWord]:
    found = []
    for match in _ENGLISH.finditer(task):
        if match["tens"]:
            value: float = _TENS[match["tens"].lower()] + _ONES[match["ones"].lower()]
        else:
            value = _WORDS[match["word"].lower()]
        if value == 1 and (
            _PRONOUN.search(task, max(0, match.start() - 12), match.start())
            or _NOT_COUNTED.match(task, match.end())
        ):
            continue
        found.append(NumberWord(f"{value:g}", match.start(), match.end()))
    return found


def _chinese(task: str) -> list[NumberWord]:
    found = []
    for match in _CHINESE.finditer(task):
        if match["half"]:
            found.append(NumberWord("0.5", match.start(), match.end()))
            continue
        value = _value(match["number"])
        if value is not None and not (match["number"] == "一" and match["unit"] in _COUNTED):
            found.append(NumberWord(str(value), match.start(), match.end()))
    return found


def _value(text: str) -> int | None:
    """二十五 is 25, 一百零三 is 103, 十 is 10; None where the characters are no number: 一二三."""
    if len(text) == 1 and text in _DIGITS:
        return _DIGITS[text]
    total, digit = 0, None
    for char in text:
        if char in _SCALES:
            total += (1 if digit is None else digit) * _SCALES[char]
            digit = None
        elif digit in (None, 0):
            digit = _DIGITS[char]
        else:
            return None
    return total + (digit or 0)
