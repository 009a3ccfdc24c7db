"""From clauses to tools: which tools the task asks for, in which stage, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tomas.planner.index import Match, ToolIndex
from tomas.planner.text import Clause, Features, features

__all__ = ["Choice", "Selection", "select"]

_SECOND_TOOL_COVER = 0.99
"""A clause names a second tool only if what is left of it holds a whole alias."""
_VAGUE_COVER = 0.3
"""A match that holds less of every alias gives way to a tool that turns what is given into what is named."""
_DOUBT = 2.0
_CONVERSION_CONFIDENCE = 0.5
"""For a tool that is chosen because it alone turns one named kind of media into the other."""


@dataclass(frozen=True)
class Choice:
    """A chosen tool, the part of the task that asks for it, and the runners-up of that part."""

    tool: str
    score: float
    confidence: float
    stage: int
    text: str
    rivals: tuple[Match, ...]


@dataclass(frozen=True)
class Selection:
    """The chosen tools in the order of mention, the kinds of media named, and the parts without a tool."""

    choices: tuple[Choice, ...]
    media: frozenset[str]
    unmatched: tuple[str, ...]
    nearest: tuple[Match, ...]


def select(
    index: ToolIndex,
    task: str,
    parts: Sequence[Clause],
    *,
    among: Sequence[str],
    given: frozenset[str],
    threshold: float,
) -> Selection:
    """Match every part of a normalised task to tools.

    :param among: names of the tools that may be chosen.
    :param given: kinds of data that the request brings; empty where it brings none.
    :param threshold: least score of a match.
    """
    media = frozenset().union(*(features(part.text).media for part in parts))
    chosen: dict[str, Choice] = {}
    unmatched: list[str] = []
    for part in parts:
        query = features(part.text)
        context = query.media or given or media
        matches = index.search(query, among=among, media=context)
        # A tool for other data than is given must be named beyond doubt.
        doubtful = bool(matches) and bool(given) and not index.works_on(matches[0].tool, given)
        least = threshold * (_DOUBT if doubtful else 1.0)
        converters = (
            index.converters(query.media, given or media, among=among)
            if not matches or matches[0].score < least or matches[0].alias_cover < _VAGUE_COVER
            else []
        )
        if converters or not matches or matches[0].score < least:
            for name in converters:
                _add(chosen, Choice(name, threshold, _CONVERSION_CONFIDENCE, part.stage, part.text, ()))
            if query.terms and not converters:
                unmatched.append(part.text)
            continue
        _add(chosen, _choice(matches, part))
        rest = Features(query.terms - matches[0].terms, query.media)
        others = [match for match in index.search(rest, among=among, media=context) if match.tool not in chosen]
        if others and others[0].alias_cover >= _SECOND_TOOL_COVER and others[0].score >= threshold:
            _add(chosen, _choice(others, part))
    nearest: Sequence[Match] = ()
    if not chosen:
        whole = features(task)
        nearest = index.search(whole, among=among, media=given or media)
        if nearest and nearest[0].score >= threshold:
            _add(chosen, _choice(nearest, Clause(task, 0)))
    return Selection(tuple(chosen.values()), media, tuple(unmatched), tuple(nearest[:3]))


def _add(chosen: dict[str, Choice], choice: Choice) -> None:
    """A tool named twice is run once, where it was named first."""
    known = chosen.get(choice.tool)
    if known is None:
        chosen[choice.tool] = choice
        return
    better = choice if choice.score > known.score else known
    chosen[choice.tool] = replace(better, stage=known.stage, text=f"{known.text}; {choice.text}")


def _choice(matches: Sequence[Match], part: Clause) -> Choice:
    best = matches[0]
    # The share of the best among the first five, squared so that clear winners stand out, damped by weak scores.
    share = best.score**2 / sum(match.score**2 for match in matches[:5])
    confidence = min(1.0, share * min(1.0, 0.4 + best.score))
    return Choice(best.tool, best.score, round(confidence, 4), part.stage, part.text, tuple(matches[1:5]))
