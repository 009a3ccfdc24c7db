"""Lexical retrieval of tools: how well a clause names a tool.

A tool is found by its aliases (how much of one alias the clause holds) and by all its texts together (how
much of the clause they hold). Terms weigh by their rarity over the tools (IDF, after Spärck Jones 1972);
terms of tools unknown to the whole registry count as rare and so speak against a match.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tomas.lexicon import media_of_type
from tomas.planner.text import Features, features, normalise
from tomas.schema import Tool

__all__ = ["Match", "ToolIndex", "ToolWords"]

_ALIAS_SHARE = 0.55
_DESCRIPTION_WEIGHT = 0.7
_ARGUMENT_WEIGHT = 0.5
_SINGLE_CHARACTER_WEIGHT = 0.3
_FUZZY_WEIGHT = 0.7
_MEDIA_WEIGHT = 0.8
_MIN_PREFIX = 5
_WRONG_MEDIA = 0.4
_REACHABLE_MEDIA = 0.8


@dataclass(frozen=True)
class Match:
    """How well a clause names a tool: ``score`` in [0, 1], and the clause's terms that spoke for it."""

    tool: str
    score: float
    alias_cover: float
    terms: frozenset[str]


@dataclass(frozen=True)
class ToolWords:
    """What is searched of a tool.

    :ivar aliases: its name is one of them.
    :ivar arguments: their names and descriptions.
    :ivar takes: media types of the required inputs.
    :ivar makes: of the outputs.
    """

    name: str
    aliases: tuple[str, ...]
    descriptions: tuple[str, ...]
    arguments: tuple[str, ...]
    takes: tuple[str, ...]
    makes: tuple[str, ...]

    @classmethod
    def of(cls, tool: Tool) -> ToolWords:
        """Of a row of the registry."""
        return cls(
            name=tool.name,
            aliases=(tool.name.replace("_", " "), *tool.aliases),
            descriptions=(tool.description, tool.description_zh),
            arguments=tuple(_argument_texts(tool)),
            takes=tuple(port.type for port in tool.inputs if port.required),
            makes=tuple(port.type for port in tool.outputs),
        )


@dataclass(frozen=True)
class _Entry:
    name: str
    field: Mapping[str, float]
    aliases: tuple[Features, ...]
    kinds: frozenset[str]
    produces: frozenset[str]


class ToolIndex:
    """Search terms of a set of tools, built once per registry."""

    def __init__(self, tools: Iterable[ToolWords]) -> None:
        self._entries = tuple(_entry(tool) for tool in tools)
        counts: dict[str, int] = {}
        for entry in self._entries:
            for term in entry.field:
                counts[term] = counts.get(term, 0) + 1
        size = len(self._entries)
        self._idf = {term: math.log(1.0 + size / count) for term, count in counts.items()}
        self._unknown = math.log(1.0 + 2.0 * size)
        self._words = sorted(term for term in counts if not term.startswith("z:") and len(term) >= _MIN_PREFIX)
        self._reach = _reachability(self._entries)

    def search(self, query: Features, *, among: Iterable[str], media: frozenset[str]) -> list[Match]:
        """All tools of ``among`` with a score above 0, best first; ties by name.

        :param media: kinds of data the clause works on; empty where nothing is known.
        """
        allowed = set(among)
        known = self._known(query)
        matches = [
            match
            for entry in self._entries
            if entry.name in allowed and (match := self._score(entry, query, known, media)).score > 0
        ]
        return sorted(matches, key=lambda match: (-match.score, match.tool))

    def converters(self, named: frozenset[str], given: frozenset[str], *, among: Iterable[str]) -> list[str]:
        """The one tool, or shortest chain of tools, that turns one kind of media into another that is named.

        :param named: kinds that the clause names; its source is one of them, or of ``given``.
        :return: empty where no tool does, or where several do equally and the clause must say more.
        """
        allowed = set(among)
        entries = [entry for entry in self._entries if entry.name in allowed and len(entry.kinds) == 1]
        found: dict[int, list[list[str]]] = {}
        for source in sorted(named if len(named) > 1 else given):
            chains = [([entry], entry.produces) for entry in entries if entry.kinds == {source}]
            for length in (1, 2):
                for chain, produces in chains:
                    if len(chain) == length and produces & (named - {source}):
                        found.setdefault(length, []).append([entry.name for entry in chain])
                chains = [
                    ([*chain, entry], entry.produces)
                    for chain, produces in chains
                    for entry in entries
                    if entry.kinds <= produces - {source}
                ]
        shortest = found.get(1) or found.get(2) or []
        return shortest[0] if len(shortest) == 1 else []

    def _known(self, query: Features) -> dict[str, tuple[str, float]]:
        """For each query term the registry's term that stands for it, and how surely."""
        result: dict[str, tuple[str, float]] = {}
        for term in query.terms:
            if term in self._idf:
                result[term] = (term, 1.0)
            elif not term.startswith("z:"):
                near = self._near(term)
                if near:
                    result[term] = (near, _FUZZY_WEIGHT)
        return result

    @lru_cache(maxsize=4096)  # noqa: B019  (an index lives as long as its planner)
    def _near(self, term: str) -> str | None:
        """A registry word with nearly the same beginning (transcript, transcribe), or one slip of the keys away."""
        best: tuple[int, str] | None = None
        for word in self._words:
            shared = 0
            for a, b in zip(term, word, strict=False):
                if a != b:
                    break
                shared += 1
            if (
                shared >= _MIN_PREFIX
                and shared >= 0.75 * min(len(term), len(word))
                and shared >= 0.6 * max(len(term), len(word))
            ) or (shared >= 2 and len(term) >= _MIN_PREFIX and _one_slip(term, word)):
                candidate = (-shared, word)
                best = candidate if best is None or candidate < best else best
        return best[1] if best else None

    def _weight(self, term: str) -> float:
        weight = self._idf.get(term, self._unknown)
        return weight * _SINGLE_CHARACTER_WEIGHT if term.startswith("z:") and len(term) == 3 else weight

    def _score(
        self, entry: _Entry, query: Features, known: Mapping[str, tuple[str, float]], media: frozenset[str]
    ) -> Match:
        spoken: dict[str, float] = {}
        hits: set[str] = set()
        total = matched = 0.0
        for term in sorted(query.terms):
            root, sureness = known.get(term, (term, 1.0))
            weight = self._weight(root)
            total += weight
            if root in entry.field:
                matched += weight * entry.field[root] * sureness
                spoken[root] = max(spoken.get(root, 0.0), sureness)
                hits.add(term)
        if not hits or not total:
            return Match(entry.name, 0.0, 0.0, frozenset())
        cover = max((self._cover(alias, spoken, media) for alias in entry.aliases), default=0.0)
        score = _ALIAS_SHARE * cover**1.5 + (1.0 - _ALIAS_SHARE) * matched / total
        return Match(entry.name, score * self._media_factor(entry, media), cover, frozenset(hits))

    def _cover(self, alias: Features, spoken: Mapping[str, float], media: frozenset[str]) -> float:
        """The share of an alias that the clause holds; its media count where the clause's are known."""
        weights = {term: self._weight(term) for term in alias.terms}
        if not weights:
            return 0.0
        held = sum(weight * spoken.get(term, 0.0) for term, weight in weights.items())
        named = len(alias.media) if media else 0
        agreeing = len(alias.media & media)
        return held and (held + _MEDIA_WEIGHT * agreeing) / (sum(weights.values()) + _MEDIA_WEIGHT * named)

    def works_on(self, tool: str, media: frozenset[str]) -> bool:
        """Whether a tool takes one of these kinds of media, or one that other tools make of them."""
        entry = next(item for item in self._entries if item.name == tool)
        return self._media_factor(entry, media) > _WRONG_MEDIA

    def _media_factor(self, entry: _Entry, media: frozenset[str]) -> float:
        if not media or "records" in entry.kinds or entry.kinds & media:
            return 1.0
        reachable = set().union(*(self._reach.get(kind, frozenset()) for kind in media))
        return _REACHABLE_MEDIA if entry.kinds & reachable else _WRONG_MEDIA


@lru_cache(maxsize=20_000)
def _entry(tool: ToolWords) -> _Entry:
    field: dict[str, float] = {}
    aliases: list[Features] = []
    for text in tool.aliases:
        alias = features(normalise(text))
        aliases.append(alias)
        field.update(dict.fromkeys(alias.terms, 1.0))
    for texts, weight in ((tool.descriptions, _DESCRIPTION_WEIGHT), (tool.arguments, _ARGUMENT_WEIGHT)):
        for text in texts:
            for term in features(normalise(text)).terms:
                field.setdefault(term, weight)
    kinds = frozenset(map(media_of_type, tool.takes))
    produces = frozenset(map(media_of_type, tool.makes))
    return _Entry(tool.name, field, tuple(aliases), kinds, produces)


def _argument_texts(tool: Tool) -> Iterator[str]:
    """Names, descriptions and listed values of a tool's arguments: "800 pixels" speaks for what takes pixels."""
    properties = tool.arguments.get("properties")
    for name, schema in (properties if isinstance(properties, dict) else {}).items():
        yield name.replace("_", " ")
        if isinstance(schema, dict):
            yield str(schema.get("description", ""))


def _reachability(entries: Iterable[_Entry]) -> dict[str, frozenset[str]]:
    """Which kinds of data can be made from a kind by running tools one after the other."""
    edges: dict[str, set[str]] = {}
    for entry in entries:
        for kind in entry.kinds:
            edges.setdefault(kind, set()).update(entry.produces)
    result: dict[str, frozenset[str]] = {}
    for kind in edges:
        seen: set[str] = set()
        border = [kind]
        while border:
            for following in edges.get(border.pop(), ()):
                if following not in seen:
                    seen.add(following)
                    border.append(following)
        result[kind] = frozenset(seen)
    return result


def _one_slip(a: str, b: str) -> bool:
    """Whether two words differ by one letter changed, missing, added, or swapped with its neighbour."""
    if a == b or abs(len(a) - len(b)) > 1:
        return a == b
    i = 0
    while i < min(len(a), len(b)) and a[i] == b[i]:
        i += 1
    if len(a) == len(b):
        swapped = a[i + 1 : i + 2] + a[i : i + 1] + a[i + 2 :]
        return a[i + 1 :] == b[i + 1 :] or swapped == b[i:]
    return a[i:] == b[i + 1 :] if len(a) < len(b) else a[i + 1 :] == b[i:]
