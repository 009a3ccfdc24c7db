"""One serial pass: quick enough to compare several choices of modes, each by where its steps would stand."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tomas.schedule.compiled import compile_problem
from tomas.schedule.listing import place
from tomas.schedule.problem import Problem, Schedule

__all__ = ["OnePass"]


class OnePass:
    """Places the activities of a problem one after the other, without search; budgets and capacities are kept."""

    def __init__(self, problem: Problem) -> None:
        """:param problem: its deadline is not looked at.

        :raises PlanError: an activity fits nowhere at all, or the problem contradicts itself.
        """
        self._compiled = compile_problem(problem)

    def place(self, allowed: Sequence[Collection[int]] | None = None) -> Schedule | None:
        """Each activity, the longest way to the end first, in the allowed mode in which it ends first.

        Of modes that end at once the cheapest is taken. Takes about a millisecond for ten steps.

        :param allowed: per activity, indices of its modes; None: all of them.
        :return: None where an activity fits nowhere in an allowed mode after those before it.
        """
        among = None
        if allowed is not None:
            among = [
                [option for option in options if option.index in indices]
                for options, indices in zip(self._compiled.options, allowed, strict=True)
            ]
        placed = place(self._compiled, self._compiled.tails, among=among)
        if placed is None:
            return None
        return self._compiled.schedule(placed.starts, placed.chosen, bound_ms=0.0, method="one pass")
