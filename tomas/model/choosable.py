"""Which candidates may come next in a plan."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable

from tomas.model.example import PlanningInput
from tomas.schema import media_type_matches

__all__ = ["Choosable"]


class Choosable:
    """The rule of what may be chosen, for one position at a time.

    A tool may come next where each of its required inputs is at hand: given with the request, or made by a step
    before. Where the request has no inputs, ports are not looked at. Media types are compared once per request, so
    that a position takes microseconds.
    """

    def __init__(self, given: PlanningInput, *, repeats: bool = False) -> None:
        """:param repeats: whether a tool may be chosen again."""
        cards = given.candidates
        wanted = [
            {port.media_type for port in card.inputs if port.required} if given.inputs else set() for card in cards
        ]
        every = sorted(set().union(*wanted))
        bits = {media: 1 << place for place, media in enumerate(every)}
        offered = {media for _, media, _ in given.inputs} | {port.media_type for c in cards for port in c.outputs}
        serves = {
            media: sum(bit for need, bit in bits.items() if media_type_matches(media, need)) for media in offered
        }
        self._needs = [sum(bits[media] for media in row) for row in wanted]
        self._makes = [_union(serves[port.media_type] for port in card.outputs) for card in cards]
        self._given = _union(serves[media] for _, media, _ in given.inputs)
        self._repeats = repeats

    def after(self, chosen: Iterable[int]) -> list[bool]:
        """Per candidate, whether it may follow these steps."""
        held, taken = self._given, set()
        for tool in chosen:
            held |= self._makes[tool]
            taken.add(tool)
        free = [not need & ~held for need in self._needs]
        if not self._repeats:
            for tool in taken:
                free[tool] = False
        return free


def _union(sets: Iterable[int]) -> int:
    return functools.reduce(operator.or_, sets, 0)
