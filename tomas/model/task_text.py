"""A task as tokens, cut to a limit where it is long: head, tail, and the sentences that speak of the candidates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tomas.model.tokenizer import TextTokenizer

__all__ = ["TaskTokens", "task_tokens"]

_HEAD_CHARS = 6000
_TAIL_CHARS = 2000
_SENTENCE = re.compile(r"[^.!?;。！？；\n]*[.!?;。！？；\n]?")
_WORD = re.compile(r"[a-z0-9]{3,}|[\u4e00-\u9fff]{2}")


@dataclass(frozen=True)
class TaskTokens:
    """Ids of a task's tokens, and the characters of the task that each stands for."""

    ids: list[int]
    offsets: list[tuple[int, int]]

    def span(self, begin: int, end: int) -> tuple[int, int]:
        """The tokens (first, last + 1) that overlap characters ``begin`` to ``end``; (0, 0) where none does."""
        inside = [number for number, (a, b) in enumerate(self.offsets) if a < end and b > begin]
        return (inside[0], inside[-1] + 1) if inside and begin < end else (0, 0)


def task_tokens(task: str, tokenizer: TextTokenizer, limit: int, about: Iterable[str]) -> TaskTokens:
    """The tokens of a task, at most ``limit`` and at least one.

    Of a longer task the first and the last quarter of the limit are kept, and between them the sentences that share
    most words with ``about`` (texts of the candidates), in their order. Texts beyond 8,000 characters lose their
    middle first, so that the time is bounded.
    """
    shift = 0
    if len(task) > _HEAD_CHARS + _TAIL_CHARS:
        shift = len(task) - _HEAD_CHARS - _TAIL_CHARS
        task = task[:_HEAD_CHARS] + task[-_TAIL_CHARS:]
    ids, offsets = tokenizer.encode(task)
    if not ids:
        ids, offsets = tokenizer.encode(".")
        offsets = [(0, 0)] * len(ids)
    if len(ids) > limit:
        kept = _kept(task, offsets, limit, about)
        ids, offsets = [ids[number] for number in kept], [offsets[number] for number in kept]
    if shift:
        offsets = [(a + shift, b + shift) if a >= _HEAD_CHARS else (a, b) for a, b in offsets]
    return TaskTokens(ids, offsets)


def _kept(task: str, offsets: list[tuple[int, int]], limit: int, about: Iterable[str]) -> list[int]:
    quarter = limit // 4
    count = len(offsets)
    kept = set(range(quarter)) | set(range(count - quarter, count))
    words = {word for text in about for word in _WORD.findall(text.lower())}
    scored = []
    for match in _SENTENCE.finditer(task):
        found = _WORD.findall(match.group().lower())
        if found:
            hits = sum(word in words for word in found)
            scored.append((-hits / len(found) ** 0.5, match.start(), match.end()))
    for _, begin, end in sorted(scored):
        fresh = [n for n in range(quarter, count - quarter) if offsets[n][0] < end and offsets[n][1] > begin]
        room = limit - len(kept)
        if room <= 0:
            break
        kept.update(fresh[:room])
    return sorted(kept)
