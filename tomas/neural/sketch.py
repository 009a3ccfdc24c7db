"""A first sketch of the plan by retrieval alone, clause by clause: a precedent that the network weighs.

The network reads a task as a whole; the sketch knows where one clause ends and the next begins. How much it counts
is fitted to examples that were not trained on (:mod:`tomas.model.lean`). What it is sure of and the plan lacks,
people are told.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from tomas.lexicon import media_of_type
from tomas.model.choosable import Choosable
from tomas.model.example import PlanningInput, Precedent, ToolCard
from tomas.model.prior import Prior
from tomas.planner.index import ToolIndex, ToolWords
from tomas.planner.selection import Choice, select
from tomas.planner.text import clauses, normalise

__all__ = ["LeftOut", "left_out", "sketch", "with_precedents"]

_THRESHOLD = 0.18
"""Least retrieval score of a match; fixed, as the weight of the sketch was fitted with it."""
_SURE = 0.6
"""Least score of a match that a plan is held against: of tools that are matched so well and not planned, more are
needed than not (``tomas evaluate``)."""
_ALIAS_WORDS = 6


@dataclass(frozen=True)
class LeftOut:
    """A tool that a part of the task names by its own words, and that the plan lacks.

    :ivar tool: index of the candidate.
    :ivar text: that part, normalised.
    """

    tool: int
    text: str


def with_precedents(prior: Prior, given: PlanningInput) -> PlanningInput:
    """The request with the plans of similar ones, or where none is known with a sketch."""
    known = prior.precedents(given.task, given.candidates)
    return replace(given, precedents=known or (sketch(given),))


def sketch(given: PlanningInput) -> Precedent:
    """The plan that retrieval alone would make; without steps where no clause names a candidate."""
    place = {card.name: k for k, card in enumerate(given.candidates)}
    chosen = sorted(_selected(given), key=lambda choice: choice.stage)
    return Precedent(_runnable([place[choice.tool] for choice in chosen], Choosable(given)), 1.0)


def left_out(given: PlanningInput, chosen: Collection[int]) -> list[LeftOut]:
    """What retrieval is sure that the task asks for, and is not among the chosen candidates."""
    place = {card.name: k for k, card in enumerate(given.candidates)}
    sure = [(place[choice.tool], choice.text) for choice in _selected(given) if choice.score >= _SURE]
    return [LeftOut(tool, text) for tool, text in sure if tool not in chosen]


def _selected(given: PlanningInput) -> Sequence[Choice]:
    task = normalise(given.task)
    return select(
        ToolIndex(map(_words, given.candidates)),
        task,
        clauses(task),
        among=[card.name for card in given.candidates],
        given=frozenset(media_of_type(media) for _, media, _ in given.inputs),
        threshold=_THRESHOLD,
    ).choices


def _runnable(tools: Sequence[int], choosable: Choosable) -> tuple[int, ...]:
    """In an order in which each finds its inputs, as near to the given one as there is; what never does, last."""
    left, ordered = list(tools), list[int]()
    while left:
        free = choosable.after(ordered)
        ordered.append(left.pop(next((n for n, tool in enumerate(left) if free[tool]), 0)))
    return tuple(ordered)


def _words(card: ToolCard) -> ToolWords:
    """A card's text holds name, aliases and descriptions, in this order."""
    parts = card.text.split(". ")
    aliases = tuple(part.strip() for part in parts[1].split(", ")) if len(parts) > 1 else ()
    named = all(len(alias.split()) <= _ALIAS_WORDS for alias in aliases)
    return ToolWords(
        name=card.name,
        aliases=(card.name.replace("_", " "), *(aliases if named else ())),
        descriptions=tuple(parts[2 if named else 1 :]),
        arguments=tuple(argument.text for argument in card.arguments),
        takes=tuple(port.media_type for port in card.inputs if port.required),
        makes=tuple(port.media_type for port in card.outputs),
    )
