"""Words and pieces of words of a text as sparse weights, and how alike texts are by them. No training, no torch."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tomas.lexicon import STOP_EN, STOP_ZH
from tomas.model.example import FloatArray

__all__ = ["TermTable", "content_words", "terms"]

_WORD = re.compile(r"[a-z]+|0|[\u4e00-\u9fff]+")
_DIGITS = re.compile(r"\d+")
_LONGEST_TEXT = 8000
_WORD_GRAMS = 3
_PIECES = range(2, 6)
_LATIN = re.compile(r"[A-Za-z]+")
_STOP_ZH = re.compile("|".join(map(re.escape, sorted(STOP_ZH, key=lambda word: (-len(word), word)))))


def content_words(text: str) -> str:
    """A text without function words, English and Chinese; the text itself where nothing else is in it.

    A few dozen short texts do not say how common a function word is: against them it would weigh like a name.
    """
    kept = _LATIN.sub(lambda word: " " if word[0].lower() in STOP_EN else word[0], _STOP_ZH.sub(" ", text))
    return kept if kept.strip() else text


def terms(text: str) -> tuple[Counter[int], Counter[int]]:
    """How often each n-gram occurs, by its hash: of words (1 to 3), and of characters within words (2 to 5).

    Numbers count as equal; names in snake_case or camelCase are split; Chinese counts by character. Texts are cut
    off after 8,000 characters.
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text[:_LONGEST_TEXT])
    found: list[str] = _WORD.findall(_DIGITS.sub(" 0 ", text.lower()))
    words: list[str] = []
    for word in found:
        words += list(word) if word[0] >= "\u4e00" else [word]
    grams = Counter(
        _hash(" ".join(words[i : i + size]))
        for size in range(1, _WORD_GRAMS + 1)
        for i in range(len(words) - size + 1)
    )
    pieces: Counter[int] = Counter()
    for word, count in Counter(found).items():
        for piece in _pieces(word):
            pieces[_hash(piece)] += count
    return grams, pieces


def _pieces(word: str) -> list[str]:
    padded = f" {word} "
    return [padded[i : i + size] for size in _PIECES for i in range(len(padded) - size + 1)] or [padded]


def _hash(term: str) -> int:
    return zlib.crc32(term.encode())


class TermTable:
    """Texts against which others are compared: cosine of TF-IDF weights, mean of words' and pieces' likeness."""

    def __init__(self, texts: Sequence[str]) -> None:
        """:param texts: their document frequencies weigh the terms."""
        rows = [terms(text) for text in texts]
        self._kinds = [_Kind([row[kind] for row in rows]) for kind in range(2)]
        self.size = len(texts)

    def likeness(self, text: str) -> FloatArray:
        """Of a text with every text of the table, shape (size,), in [0, 1]."""
        found = terms(text)
        both = [kind.likeness(counts) for kind, counts in zip(self._kinds, found, strict=True)]
        mean: FloatArray = np.mean(both, axis=0, dtype=np.float32)
        return mean

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """The whole table as arrays, for a checkpoint."""
        return {f"{name}.{k}": value for k, kind in enumerate(self._kinds) for name, value in kind.arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]], size: int) -> TermTable:
        """The inverse of :meth:`arrays`.

        :raises ValueError, KeyError: the arrays are not those of a table of that size.
        """
        table = cls([])
        table.size = size
        for k, kind in enumerate(table._kinds):
            kind.fill({name: arrays[f"{name}.{k}"] for name in ("term", "start", "row", "weight", "idf")}, size)
        return table


class _Kind:
    """One kind of n-grams: for each term the rows that hold it, with their weights."""

    def __init__(self, rows: Sequence[Counter[int]]) -> None:
        self._size = len(rows)
        counts = Counter(term for row in rows for term in row)
        self._term = np.array(sorted(counts), dtype=np.uint32)
        places = {int(term): place for place, term in enumerate(self._term)}
        self._idf = np.array(
            [math.log((1 + self._size) / (1 + counts[int(term)])) + 1.0 for term in self._term], dtype=np.float32
        )
        entries: list[tuple[int, int, float]] = []
        for number, row in enumerate(rows):
            weights = [(places[term], self._weight(places[term], count)) for term, count in row.items()]
            norm = math.sqrt(sum(weight**2 for _, weight in weights)) or 1.0
            entries += [(place, number, weight / norm) for place, weight in weights]
        entries.sort()
        self._start = np.searchsorted(
            np.array([place for place, _, _ in entries], dtype=np.int64), np.arange(len(self._term) + 1)
        ).astype(np.int32)
        self._row = np.array([number for _, number, _ in entries], dtype=np.int32)
        self._values = np.array([weight for _, _, weight in entries], dtype=np.float32)
        self._places = places

    def _weight(self, place: int, count: int) -> float:
        return (1.0 + math.log(count)) * float(self._idf[place])

    def likeness(self, counts: Counter[int]) -> FloatArray:
        known = [(self._places[term], count) for term, count in sorted(counts.items()) if term in self._places]
        found = np.zeros(self._size, np.float32)
        if not known:
            return found
        weights = [self._weight(place, count) for place, count in known]
        for (place, _), weight in zip(known, weights, strict=True):
            piece = slice(self._start[place], self._start[place + 1])
            found[self._row[piece]] += weight * self._values[piece]
        return found / np.float32(math.sqrt(sum(weight**2 for weight in weights)))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {
            "term": self._term,
            "start": self._start,
            "row": self._row,
            "weight": self._values,
            "idf": self._idf,
        }

    def fill(self, arrays: dict[str, NDArray[np.generic]], size: int) -> None:
        self._term = np.asarray(arrays["term"], np.uint32)
        self._start = np.asarray(arrays["start"], np.int32)
        self._row = np.asarray(arrays["row"], np.int32)
        self._values = np.asarray(arrays["weight"], np.float32)
        self._idf = np.asarray(arrays["idf"], np.float32)
        if len(self._start) != len(self._term) + 1 or len(self._row) != len(self._values):
            raise ValueError("the arrays of a table of terms disagree in length")
        if len(self._row) and not 0 <= int(self._row.min()) <= int(self._row.max()) < size:
            raise ValueError("a table of terms names a row that it does not have")
        self._places = {int(term): place for place, term in enumerate(self._term)}
        self._size = size
