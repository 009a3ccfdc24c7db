"""Kinds of data that flow between tools, and what people call them in English and Chinese."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tomas.errors import DataError

__all__ = ["LANGUAGE_NAMES", "Kind", "Noun", "kinds"]

CATALOGUE = Path(__file__).parent / "catalogue"

LANGUAGE_NAMES: dict[str, tuple[str, str]] = {
    "en": ("English", "英文"),
    "zh": ("Chinese", "中文"),
    "de": ("German", "德语"),
    "fr": ("French", "法语"),
    "es": ("Spanish", "西班牙语"),
    "ja": ("Japanese", "日语"),
    "ko": ("Korean", "韩语"),
    "ru": ("Russian", "俄语"),
    "pt": ("Portuguese", "葡萄牙语"),
    "it": ("Italian", "意大利语"),
    "ar": ("Arabic", "阿拉伯语"),
}
"""Names of languages by their code, as arguments name them."""


@dataclass(frozen=True)
class Noun:
    """What people call a thing: a plural English noun phrase without article, or a Chinese one."""

    long: str
    short: str

    @classmethod
    def english(cls, text: str) -> Noun:
        """The short form ends before the first preposition: ``photos from the trip`` → ``photos``."""
        words = text.split()
        for place, word in enumerate(words[1:], start=1):
            if word in ("from", "in", "on", "of", "our", "with"):
                return cls(text, " ".join(words[:place]))
        return cls(text, text)

    @classmethod
    def chinese(cls, text: str) -> Noun:
        """The short form is what follows the last 的: ``现场拍的照片`` → ``照片``."""
        head, _, tail = text.rpartition("的")
        if head and len(tail) > 1:
            return cls(text, tail)
        head, _, tail = text.rpartition("里")
        return cls(text, tail.lstrip("的") if head and len(tail) > 1 else text)


@dataclass(frozen=True)
class Kind:
    """A kind of data: its media types and its nouns."""

    name: str
    media_types: tuple[str, ...]
    english: tuple[Noun, ...]
    chinese: tuple[Noun, ...]

    @property
    def media_type(self) -> str:
        """The kind's own media type."""
        return self.media_types[0]


@cache
def kinds() -> dict[str, Kind]:
    """All kinds by name.

    :raises DataError: the table is malformed; the line is named.
    """
    path = CATALOGUE / "kinds.txt"
    result: dict[str, Kind] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != 4 or not all(cells):
            raise DataError(
                f"{path.name}, line {number}: {len(cells)} cells in place of 4.",
                remedy="Write: kind | media types | English nouns | Chinese nouns.",
            )
        name, types, english, chinese = cells
        result[name] = Kind(
            name,
            tuple(split(types, ",")),
            tuple(Noun.english(item) for item in split(english)),
            tuple(Noun.chinese(item) for item in split(chinese)),
        )
    return result


def split(text: str, mark: str = ";") -> list[str]:
    """The non-empty parts of a list in one line."""
    return [part.strip() for part in text.split(mark) if part.strip()]
