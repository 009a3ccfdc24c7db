"""What the next try of a step gets: more memory after an out-of-memory, else what the try before had."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tomas.config import Settings
from tomas.errors import BinTooSmall, ToolError, ToolOutOfMemory
from tomas.schema import (
    POOL_SIZE,
    Bin,
    ExecutionRecord,
    Outcome,
    Plan,
    PlanStep,
    Resources,
    StepUsage,
    pool_slots,
    utc_now,
)
from tomas.sizing import Ladder
from tomas.tools.data import load_worker_classes

if TYPE_CHECKING:
    from tomas.store import Store

__all__ = ["Escalation", "Grant", "hold"]

_log = logging.getLogger(__name__)

ROOM_POLL_S = 1.0
"""How often a step that waits for room in its bin looks again."""

_EPSILON_GB = 1e-6


@dataclass(frozen=True)
class Grant:
    """What one try of a step may use."""

    need: Resources
    slots: int
    """Of its bin's pool, whose size is :data:`~tomas.schema.POOL_SIZE`."""
    place: Bin | None = None
    """The bin as it is declared; None where nobody declares it, and then nothing more can be given."""
    larger: Bin | None = None
    """The smallest bin with more memory that has room for the step."""

    @classmethod
    def planned(cls, step: PlanStep) -> Grant:
        """What the plan gave the step."""
        return cls(step.allocation.final, step.pool_slots)

    def more_than(self, step: PlanStep) -> bool:
        """Whether this is more than the plan reserved for the step."""
        return self.slots > step.pool_slots or not self.need.fits(step.allocation.final)

    def judged(self, error: ToolOutOfMemory, step: PlanStep) -> ToolOutOfMemory:
        """The error of a try that broke under this grant: final, if its bin has no more memory to give."""
        if self.place is None or not _all_of(self.need, self.place):
            return error
        if self.larger is not None:
            remedy = (
                f"Plan it again (in Airflow: clear the plan task together with this one): the new plan counts this "
                f"run, and bin {self.larger.name} has {self.larger.capacity.cpu_mem_gb:g} GB. Or give the step "
                "smaller inputs."
            )
        else:
            remedy = (
                "No bin with more memory has room for it: declare a larger worker in worker_classes.json and run "
                "`tomas db seed`, or give the step smaller inputs."
            )
        final = BinTooSmall(
            f"Step {step.id}: {error.what} That is all the memory of its bin {self.place.name}, so another try "
            "would break as well.",
            remedy=remedy,
        )
        final.usage, final.log = error.usage, error.log
        return final


class Escalation:
    """Decides from the tries of a step what its next one gets.

    After an out-of-memory that is the next rung of the ladder, and further ones where more was already seen in
    use, capped at the capacity of the step's bin; the pool slots grow with it. After any other end it is what the
    try before had.

    :param bins: all bins with their declared capacities.
    """

    def __init__(self, bins: Sequence[Bin], ladder: Ladder | None = None) -> None:
        self._bins = {item.name: item for item in bins}
        self._ladder = ladder or Ladder()

    @classmethod
    def load(cls, store: Store | None, settings: Settings) -> Escalation:
        """With the bins of the store, or without one those of the file of worker classes.

        :raises StoreUnavailable: Postgres is down or slow.
        :raises DataError: the file is malformed.
        """
        if store is not None:
            return cls(store.bins())
        return cls(
            [item for group in load_worker_classes(settings.data.worker_classes_path) for item in group.bins]
        )

    def grant(self, step: PlanStep, tries: Sequence[ExecutionRecord]) -> Grant:
        """What the next try gets.

        :param tries: records of all tries so far, of this step and plan, in any order.
        """
        if not tries:
            return self._grant(step, step.allocation.final)
        last = max(tries, key=lambda record: record.try_number)
        return self.following(step, last.requested, last.usage)

    def following(self, step: PlanStep, had: Resources, usage: StepUsage) -> Grant:
        """What the try after one gets that had ``had`` and ended with ``usage``."""
        if usage.outcome is Outcome.OUT_OF_MEMORY:
            had = self._more(had, usage.peak_mem_gb, self._bins.get(step.bin))
        return self._grant(step, had)

    def _more(self, need: Resources, seen_gb: float, place: Bin | None) -> Resources:
        if place is None or need.cpu_mem_gb <= 0:  # without a limit there is nothing to raise
            return need
        cap_gb = max(place.capacity.cpu_mem_gb, need.cpu_mem_gb)
        memory_gb = self._ladder.allocation(need.cpu_mem_gb, 2, cap_gb)
        while memory_gb <= seen_gb and memory_gb < cap_gb:
            memory_gb = self._ladder.allocation(memory_gb, 2, cap_gb)
        return need.model_copy(update={"cpu_mem_gb": memory_gb})

    def _grant(self, step: PlanStep, need: Resources) -> Grant:
        place = self._bins.get(step.bin)
        if place is None:
            return Grant(need, step.pool_slots)
        slots = step.pool_slots
        if not need.fits(step.allocation.final):
            share = pool_slots(Resources(cpu_mem_gb=need.cpu_mem_gb), place.capacity)
            slots = max(slots, min(share, POOL_SIZE))
        larger = [
            item
            for item in self._bins.values()
            if item.capacity.cpu_mem_gb > place.capacity.cpu_mem_gb and need.fits(item.capacity)
        ]
        return Grant(need, slots, place, min(larger, key=lambda item: item.capacity.cpu_mem_gb, default=None))


def _all_of(need: Resources, place: Bin) -> bool:
    return need.cpu_mem_gb >= place.capacity.cpu_mem_gb - _EPSILON_GB


def hold(
    store: Store,
    plan: Plan,
    step: PlanStep,
    grant: Grant,
    *,
    pool_is_shared: bool,
    patience_s: float,
    cancel: threading.Event | None = None,
) -> datetime:
    """Let the step's reservation grow to what the grant gives; returns the instant from which that is held.

    :param pool_is_shared: the slots are held in the pool that every step of the bin enters, so the room is real
        whatever is reserved, and the step may start. Otherwise it waits until other plans leave room.
    :param patience_s: how long it may wait.
    :raises ToolError: others left no room in time, or the step was cancelled meanwhile.
    """
    deadline = time.monotonic() + patience_s
    told = False
    while True:
        at = utc_now()
        if grant.place is None or store.grow_reservation(
            plan.id, step.id, grant.place, grant.need, grant.slots, at=at, even_if_full=pool_is_shared
        ):
            return at
        what = (
            f"Step {step.id} needs {grant.need.cpu_mem_gb:g} GB, more than the reservations of other plans leave "
            f"of bin {grant.place.name}"
        )
        if pool_is_shared:
            _log.warning("%s. It starts all the same: its pool had %d slots free for it.", what, grant.slots)
            return at
        if not told:
            _log.warning("%s. It waits for them.", what)
            told = True
        if time.monotonic() > deadline or (cancel or threading.Event()).wait(ROOM_POLL_S):
            raise ToolError(f"{what}; it did not start.", remedy="Run it again when those plans are done.")
