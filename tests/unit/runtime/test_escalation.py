"""What the next try gets: the ladder after an out-of-memory, the same after anything else, never above the bin."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.runtime.test_local import plan, step
from tomas.config import Settings
from tomas.errors import BinTooSmall, ToolError, ToolOutOfMemory
from tomas.runtime import escalation as module
from tomas.runtime.escalation import Escalation, Grant, hold
from tomas.schema import (
    POOL_SIZE,
    Bin,
    ExecutionRecord,
    Outcome,
    PlanStep,
    Resources,
    StepUsage,
    pool_slots,
    utc_now,
)
from tomas.sizing import Ladder


def place(name: str, memory_gb: float, gpu_gb: float = 0.0) -> Bin:
    capacity = Resources(cpu_cores=4, cpu_mem_gb=memory_gb, gpu_mem_gb=gpu_gb)
    return Bin(name=name, worker_class="c", queue=f"tomas_{name}", pool=f"tomas_{name}", capacity=capacity)


SMALL, LARGE, LARGEST = place("small_1", 2.0), place("large_1", 6.0), place("large_2", 8.0)
BINS = [LARGEST, SMALL, LARGE]


def hungry(memory_gb: float = 0.5, **fields: Any) -> PlanStep:
    return step("s1", "note", {}, need=Resources(cpu_cores=1, cpu_mem_gb=memory_gb), **{"pool_slots": 25} | fields)


def tried(number: int, memory_gb: float, outcome: Outcome, peak_gb: float = 0.0) -> ExecutionRecord:
    return ExecutionRecord(
        plan_id="p",
        step_id="s1",
        tool="note",
        try_number=number,
        bin="small_1",
        host="h",
        requested=Resources(cpu_cores=1, cpu_mem_gb=memory_gb),
        input_bytes=0,
        started_at=utc_now(),
        usage=StepUsage(wall_ms=1, peak_mem_gb=peak_gb, cpu_seconds=0, peak_cpu_cores=0, outcome=outcome),
    )


def memory_after(*tries: ExecutionRecord, bins: list[Bin] = BINS) -> float:
    return Escalation(bins).grant(hungry(), tries).need.cpu_mem_gb


def test_a_first_try_gets_what_the_plan_gave() -> None:
    grant = Escalation(BINS).grant(hungry(), [])
    assert (grant.need, grant.slots) == (hungry().allocation.final, 25)
    assert not grant.more_than(hungry())


def test_every_out_of_memory_climbs_one_rung_and_the_slots_follow() -> None:
    first = tried(1, 0.5, Outcome.OUT_OF_MEMORY, 0.5)
    grant = Escalation(BINS).grant(hungry(), [first])
    assert grant.need == Resources(cpu_cores=1, cpu_mem_gb=Ladder().allocation(0.5, 2))
    assert grant.slots == pool_slots(grant.need, SMALL.capacity) == 50
    assert grant.more_than(hungry())
    assert memory_after(first, tried(2, 1.0, Outcome.OUT_OF_MEMORY, 1.0)) == 2.0


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMEOUT, Outcome.KILLED, Outcome.RUNNING])
def test_after_another_failure_a_try_keeps_what_the_one_before_had(outcome: Outcome) -> None:
    assert memory_after(tried(1, 0.5, outcome)) == 0.5
    assert memory_after(tried(2, 1.0, outcome), tried(1, 0.5, Outcome.OUT_OF_MEMORY)) == 1.0


def test_a_cleared_step_keeps_what_was_enough() -> None:
    assert memory_after(tried(1, 0.5, Outcome.OUT_OF_MEMORY), tried(2, 1.0, Outcome.SUCCESS)) == 1.0


def test_rungs_that_were_already_seen_to_be_too_low_are_left_out() -> None:
    assert memory_after(tried(1, 0.25, Outcome.OUT_OF_MEMORY, 0.7)) == 1.0


def test_more_cores_than_memory_need_no_more_slots() -> None:
    grant = Escalation(BINS).grant(hungry(pool_slots=100), [tried(1, 0.5, Outcome.OUT_OF_MEMORY)])
    assert grant.slots == 100


def test_an_undeclared_bin_has_nothing_more_to_give() -> None:
    grant = Escalation([LARGE]).grant(hungry(), [tried(1, 0.5, Outcome.OUT_OF_MEMORY)])
    assert (grant.need.cpu_mem_gb, grant.slots, grant.place) == (0.5, 25, None)


@given(
    first_gb=st.floats(0.01, 2.0),
    peaks=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=12),
)
def test_memory_only_grows_and_ends_at_the_bins_capacity(first_gb: float, peaks: list[float]) -> None:
    escalation, one = Escalation(BINS), hungry(first_gb)
    grant = escalation.grant(one, [])
    for peak in peaks:
        usage = tried(1, 1.0, Outcome.OUT_OF_MEMORY, peak).usage
        following = escalation.following(one, grant.need, usage)
        assert following.need.cpu_mem_gb > grant.need.cpu_mem_gb or following.need.cpu_mem_gb == 2.0
        assert grant.slots <= following.slots <= POOL_SIZE
        assert following.need.fits(SMALL.capacity)
        grant = following


def broke(grant: Grant) -> ToolOutOfMemory:
    error = ToolOutOfMemory("Tool note hit its memory limit of 2.00 GB: so it was.", remedy="Plan it again.")
    error.log = "printed"
    return grant.judged(error, hungry())


def test_with_all_memory_of_the_bin_the_error_is_final_and_names_the_next_larger_bin() -> None:
    whole = Escalation(BINS).grant(hungry(), [tried(1, 1.5, Outcome.OUT_OF_MEMORY)])
    assert whole.need.cpu_mem_gb == SMALL.capacity.cpu_mem_gb
    error = broke(whole)
    assert isinstance(error, BinTooSmall)
    assert error.log == "printed"
    for part in ("s1", "2.00 GB", "small_1", "large_1 has 6 GB", "clear the plan task"):
        assert part in str(error)
    below = Escalation(BINS).grant(hungry(), [tried(1, 0.5, Outcome.OUT_OF_MEMORY)])
    assert not isinstance(broke(below), BinTooSmall)


def test_a_larger_bin_that_lacks_another_resource_is_no_advice() -> None:
    graphic = Resources(cpu_cores=1, cpu_mem_gb=2, gpu_mem_gb=1)
    one = step("s1", "note", {}, need=graphic, bin="gpu_1")
    error = Escalation([place("gpu_1", 2.0, gpu_gb=8.0), LARGE]).grant(one, []).judged(ToolOutOfMemory("x."), one)
    assert isinstance(error, BinTooSmall)
    assert "declare a larger worker" in error.remedy


class FullStore:
    """A store whose bin has room from the given question on."""

    def __init__(self, room_at: int) -> None:
        self.room_at = room_at
        self.asked: list[tuple[datetime, bool]] = []

    def grow_reservation(self, *_: Any, at: datetime, even_if_full: bool) -> bool:
        self.asked.append((at, even_if_full))
        return len(self.asked) >= self.room_at


def held(store: Any, **fields: Any) -> datetime:
    one = hungry()
    grant = Escalation(BINS).grant(one, [tried(1, 0.5, Outcome.OUT_OF_MEMORY)])
    return hold(store, plan([one]), one, grant, **{"patience_s": 5.0} | fields)


def test_slots_of_the_shared_pool_are_room_enough(caplog: pytest.LogCaptureFixture) -> None:
    store = FullStore(room_at=9)
    assert held(store, pool_is_shared=True) == store.asked[0][0]
    assert [forced for _, forced in store.asked] == [True]
    assert "starts all the same" in caplog.text


def test_without_a_shared_pool_a_step_waits_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM_POLL_S", 0.01)
    store = FullStore(room_at=3)
    assert held(store, pool_is_shared=False) == store.asked[-1][0]
    assert [forced for _, forced in store.asked] == [False] * 3


@pytest.mark.parametrize("cancelled", [True, False])
def test_it_waits_neither_for_ever_nor_when_cancelled(cancelled: bool) -> None:
    cancel = threading.Event()
    if cancelled:
        cancel.set()
    with pytest.raises(
        ToolError, match="needs 1 GB, more than the reservations of other plans leave of bin small_1"
    ):
        held(FullStore(99), pool_is_shared=False, cancel=cancel, patience_s=60.0 if cancelled else -1.0)


def test_without_a_store_the_bins_are_those_of_the_file() -> None:
    grant = Escalation.load(None, Settings()).grant(hungry(), [])
    assert grant.place is not None
    assert grant.place.name == "small_1"
