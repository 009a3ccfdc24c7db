"""What the engine asks of a placer: where the steps of a job go that do not run yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tomas.simulate.workload import Workload

__all__ = ["Booking", "Placed", "Placer"]


@dataclass(frozen=True)
class Booking:
    """What an unfinished step of an earlier plan is expected to hold of a bin, over [start, end)."""

    bin: str
    need: tuple[float, ...]
    slots: int
    start_ms: float
    end_ms: float


@dataclass(frozen=True)
class Placed:
    """The bin of a step, its slots there, and when it is expected to run."""

    bin: str
    slots: int
    start_ms: float
    end_ms: float


class Placer(Protocol):
    """Places steps; see :class:`tomas.simulate.replan.Replanner`."""

    def place(
        self,
        workload: Workload,
        steps: Sequence[int],
        *,
        now_ms: float,
        earliest_ms: Mapping[int, float],
        booked: Sequence[Booking],
        lost: frozenset[str],
    ) -> Sequence[Placed]:
        """One place per step of ``steps``, in its order; times count from the start of the simulation.

        :param steps: indexes into the workload's steps.
        :param earliest_ms: by step, when those predecessors are expected to be done that are not in ``steps``.
        :param lost: names of the bins that are gone now.
        :raises PlanError: there is no place.
        """
