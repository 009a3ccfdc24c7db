"""Free capacity of one bin while a schedule grows."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from tomas.schedule.problem import Capacity

__all__ = ["Timeline"]

_EPSILON = 1e-9

Need = Sequence[tuple[int, float]]
"""The resources that are needed at all: (column, amount)."""


class Timeline:
    """A step function of free amounts, one list per resource.

    Plain lists, since a profile of a plan is short and most queries touch a few rows: an array operation costs
    more than such a walk.
    """

    def __init__(self, starts_ms: list[float], free: list[list[float]]) -> None:
        self._starts = starts_ms
        self._free = free

    @classmethod
    def of(cls, capacity: Capacity) -> Timeline:
        """The timeline of an empty bin."""
        return cls(capacity.starts_ms.tolist(), [column.tolist() for column in capacity.free.T])

    def copy(self) -> Timeline:
        """An independent copy."""
        return Timeline(self._starts.copy(), [column.copy() for column in self._free])

    def most(self) -> list[float]:
        """The most that is ever free of each resource."""
        return [max(column) for column in self._free]

    def earliest(self, need: Need, not_before: float, duration: float) -> float:
        """The first instant ≥ ``not_before`` from which ``need`` fits for ``duration`` ms; inf if never."""
        starts = self._starts
        columns = [(self._free[index], amount - _EPSILON) for index, amount in need]
        row, rows = max(0, bisect_right(starts, not_before) - 1), len(starts)
        begin = not_before
        while row < rows:
            for column, amount in columns:
                if column[row] < amount:
                    break
            else:
                row += 1
                if row == rows or starts[row] - begin >= duration - _EPSILON:
                    return begin
                continue
            row += 1
            if row < rows:
                begin = starts[row]
        return math.inf

    def fits(self, need: Need, start: float, duration: float) -> bool:
        """Whether ``need`` fits from ``start`` on for ``duration`` ms."""
        starts = self._starts
        first, rows = max(0, bisect_right(starts, start) - 1), len(starts)
        end = start + duration - _EPSILON
        for index, amount in need:
            column = self._free[index]
            row = first
            while True:
                if column[row] < amount - _EPSILON:
                    return False
                row += 1
                if row == rows or starts[row] >= end:
                    break
        return True

    def latest(self, need: Need, not_after: float, duration: float, not_before: float) -> float:
        """The last start from which ``need`` fits for ``duration`` ms up to an end ≤ ``not_after``; -inf if none.

        :param not_before: the search stops at a start before it.
        """
        starts = self._starts
        columns = [(self._free[index], amount - _EPSILON) for index, amount in need]
        row = bisect_left(starts, not_after) - 1
        end = not_after
        while row >= 0:
            if end - duration < not_before:
                return -math.inf
            for column, amount in columns:
                if column[row] < amount:
                    end = starts[row]
                    break
            else:
                if starts[row] <= end - duration + _EPSILON:
                    return end - duration
            row -= 1
        return -math.inf

    def take(self, need: Need, start: float, end: float) -> None:
        """Subtract ``need`` over [start, end)."""
        first, last = self._cut(start), self._cut(end)
        for index, amount in need:
            column = self._free[index]
            for row in range(first, last):
                column[row] -= amount

    def _cut(self, instant: float) -> int:
        """The row that begins at ``instant``, made if there is none."""
        row = bisect_left(self._starts, instant)
        if row < len(self._starts) and self._starts[row] == instant:
            return row
        self._starts.insert(row, instant)
        for column in self._free:
            column.insert(row, column[row - 1])
        return row
