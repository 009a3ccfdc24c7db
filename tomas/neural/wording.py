"""What a model may say of its plan: clauses that the plan makes true, among which its LM head chooses.

A small decoder's free text names tools and files that are not in the plan. So it is held to a grammar made of the
plan: one clause a step, in any order in which nothing is read before it was said to be made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tomas.model.drafted import DraftedStep
from tomas.model.example import PlanningInput, Source

__all__ = ["Wording"]


class Wording:
    """The clauses of one draft.

    :param steps: of the draft, in its order.
    """

    def __init__(self, given: PlanningInput, steps: Sequence[DraftedStep]) -> None:
        self._given = given
        self._steps = steps

    def next_clauses(self, told: Sequence[int]) -> dict[str, int]:
        """What may be said next, and of which step; none where every step has been told of. None begins another.

        :param told: the steps that were told of, in order.
        """
        lead, end = self._frame(len(told))
        found: dict[str, int] = {}
        for number, step in enumerate(self._steps):
            if number not in told and set(step.parents) <= set(told):
                for clause in self._clauses(step):
                    found.setdefault(f"{lead}{clause}{end}", number)
        return found

    def _frame(self, place: int) -> tuple[str, str]:
        count = len(self._steps)
        last = place == count - 1
        if self._given.language != "zh":
            return "", "." if last else "; "
        return ("" if count == 1 else "再" if place else "先") + "用 ", "。" if last else "；"

    def _clauses(self, step: DraftedStep) -> list[str]:
        card = self._given.candidates[step.tool]
        read = list(dict.fromkeys(_plain(self._named(source)) for port in step.bindings for source in port))
        made = [_plain(port.name) for port in card.outputs]
        name = _plain(card.name, spaced=False)
        if self._given.language == "zh":
            if not made:
                return [name]
            ways = [f"由{'、'.join(read)}", " "] if read else [" "]
            return [f"{name} {way}得到{'、'.join(made)}".replace("  ", " ") for way in ways]
        if not made:
            return [name]
        ways = [f" from {_listed(read)}", ""] if read else [""]
        return [f"{name} makes {_listed(made)}{way}" for way in ways]

    def _named(self, source: Source) -> str:
        if source.step < 0:
            return self._given.inputs[source.index][0]
        return self._given.candidates[self._steps[source.step].tool].outputs[source.index].name


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _plain(name: str, *, spaced: bool = True) -> str:
    # Without marks that end a clause, so that no clause begins another.
    return re.sub(r"[;；.。\s_]+" if spaced else r"[;；.。\s]+", " ", name).strip()
