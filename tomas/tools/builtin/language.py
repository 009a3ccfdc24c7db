"""Splitting English and Chinese text: sentences, words, script."""

from __future__ import annotations

import re

__all__ = ["ENGLISH", "chinese_runs", "is_chinese", "sentences", "tokens"]

_CJK = re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf]")
_RUN = re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf]+")
_WORD = re.compile(r"[A-Za-z][A-Za-z'\-]+|[\u4e00-\u9fff\u3400-\u4dbf]+")
_BREAK = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9\u4e00-\u9fff])|(?<=[。！？!?])(?=\s*\S)")
ENGLISH = "english"


def is_chinese(text: str) -> bool:
    """Whether at least a fifth of the letters are Chinese characters."""
    letters = sum(char.isalpha() for char in text)
    return letters > 0 and len(_CJK.findall(text)) / letters >= 0.2


def sentences(text: str) -> list[str]:
    """The sentences in order; a blank line ends one, a single line break does not."""
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        # Lines of Chinese are joined without a blank, others with one.
        joined = re.sub(r"(?<=[\u4e00-\u9fff，。；：])\n\s*(?=[\u4e00-\u9fff])", "", paragraph.strip())
        joined = " ".join(joined.split())
        found.extend(part.strip() for part in _BREAK.split(joined) if part.strip())
    return found


def tokens(text: str) -> list[str]:
    """Lower-case words; Chinese as overlapping pairs of characters, since it has no blanks."""
    found: list[str] = []
    for word in _WORD.findall(text):
        if _CJK.match(word):
            found.extend(word[i : i + 2] for i in range(max(1, len(word) - 1)))
        else:
            found.append(word.lower())
    return found


def chinese_runs(text: str) -> list[str]:
    """The unbroken runs of Chinese characters."""
    return _RUN.findall(text)
