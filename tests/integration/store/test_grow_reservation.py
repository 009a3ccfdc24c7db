"""A step that needs more than its plan reserved: the store holds the larger need, and every later plan sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tomas.errors import PlanRejected
from tomas.schema import Bin, ExecutionRecord, Plan, PlanOrigin, Reservation, Resources, utc_now
from tomas.store import Store

MakePlan = Callable[..., Plan]
Reserve = Callable[[Plan], list[Reservation]]
MakeRecord = Callable[..., ExecutionRecord]

SMALL = Bin(
    name="small_1",
    worker_class="cpu-small",
    queue="tomas_small_1",
    pool="tomas_small_1",
    capacity=Resources(cpu_cores=4, cpu_mem_gb=2),
)
PLANNED = Resources(cpu_cores=1, cpu_mem_gb=0.5)
MORE = Resources(cpu_cores=1, cpu_mem_gb=1.5)


def accept(_: list[Reservation]) -> None:
    """A verifier that finds nothing wrong."""


def needing(plan: Plan, memory_gb: float) -> Plan:
    """The same plan with another memory of its only step."""
    (step,) = plan.steps
    final = step.allocation.final.model_copy(update={"cpu_mem_gb": memory_gb})
    allocation = step.allocation.model_copy(update={"final": final})
    return plan.model_copy(update={"steps": [step.model_copy(update={"allocation": allocation})]})


def fits(capacity: Resources, plan: Plan) -> Callable[[list[Reservation]], None]:
    """A verifier that refuses ``plan`` where it and the reservations exceed the bin."""

    def verify(others: list[Reservation]) -> None:
        load = plan.steps[0].allocation.final
        for item in others:
            load += item.need
        if not load.fits(capacity):
            raise PlanRejected("The bin is full.", remedy="Wait.")

    return verify


def released(store: Store, plan: Plan, reserve: Reserve, slots: int = 25) -> Plan:
    return store.release_plan(plan, [item.model_copy(update={"slots": slots}) for item in reserve(plan)], accept)


def test_a_later_plan_sees_the_larger_need_while_the_try_runs(
    store: Store, make_plan: MakePlan, reserve: Reserve, make_record: MakeRecord
) -> None:
    now = utc_now()
    hungry = released(store, make_plan(at=now - timedelta(seconds=3)), reserve)
    store.save_record(make_record(hungry.id, started_at=now - timedelta(seconds=2), ended_at=now))
    store.release_reservation(hungry.id, "s0")  # the try that broke gave its capacity back

    at = utc_now()
    assert store.grow_reservation(hungry.id, "s0", SMALL, MORE, 75, at=at, even_if_full=False)
    store.save_record(make_record(hungry.id, try_number=2, started_at=at, requested=MORE))

    (held,) = store.reservations(at, at + timedelta(seconds=5))
    assert (held.need, held.slots, held.start_at) == (MORE, 75, at)
    assert held.end_at - held.start_at == timedelta(seconds=10), "as long as the plan reserved"
    fitting, large = make_plan(at=now), needing(make_plan(at=now), 0.75)
    with pytest.raises(PlanRejected):
        store.release_plan(large, reserve(large), fits(SMALL.capacity, large))
    store.release_plan(fitting, reserve(fitting), fits(SMALL.capacity, fitting))

    store.release_reservation(hungry.id, "s0")
    store.release_plan(large, reserve(large), fits(SMALL.capacity, large))


def test_growing_waits_for_a_plan_that_is_being_proven(store: Store, make_plan: MakePlan, reserve: Reserve) -> None:
    hungry = released(store, make_plan(at=utc_now()), reserve)
    other = make_plan(at=utc_now())
    proving, go_on = threading.Event(), threading.Event()

    def slow(_: list[Reservation]) -> None:
        proving.set()
        assert go_on.wait(20)

    with ThreadPoolExecutor(2) as pool:
        wide = [item.model_copy(update={"slots": 40, "need": MORE}) for item in reserve(other)]
        releasing = pool.submit(store.release_plan, other, wide, slow)
        assert proving.wait(20)
        growing = pool.submit(
            store.grow_reservation, hungry.id, "s0", SMALL, MORE, 75, at=utc_now(), even_if_full=False
        )
        time.sleep(0.3)
        assert not growing.done(), "the bin is locked by the plan that is being proven"
        go_on.set()
        assert releasing.result(20).id == other.id
        assert growing.result(20) is False, "that plan took the room"
    held = {item.plan_id: item for item in store.reservations(utc_now(), utc_now() + timedelta(seconds=1))}
    assert (held[hungry.id].need, held[hungry.id].slots) == (PLANNED, 25), "nothing was written"


def test_without_room_it_is_held_only_on_demand_and_never_shrinks(
    store: Store, make_plan: MakePlan, reserve: Reserve
) -> None:
    at = utc_now()
    hungry, other = (released(store, make_plan(at=at), reserve) for _ in range(2))
    whole = Resources(cpu_cores=1, cpu_mem_gb=2)
    assert not store.grow_reservation(hungry.id, "s0", SMALL, whole, 100, at=at, even_if_full=False)
    assert not store.grow_reservation(hungry.id, "s0", SMALL, whole, 100, at=at, even_if_full=True)
    held = {item.plan_id: item for item in store.reservations(at, at + timedelta(seconds=1))}
    assert (held[hungry.id].need, held[hungry.id].slots) == (whole, 100)
    assert held[other.id].need == PLANNED
    store.release_reservation(other.id, "s0")
    assert store.grow_reservation(hungry.id, "s0", SMALL, MORE, 75, at=at, even_if_full=False)
    (left,) = store.reservations(at, at + timedelta(seconds=1))
    assert (left.need, left.slots) == (whole, 100)


def test_slots_are_room_too_and_what_starts_later_counts(
    store: Store, make_plan: MakePlan, reserve: Reserve
) -> None:
    at = utc_now()
    hungry = released(store, make_plan(at=at), reserve)
    later = released(store, make_plan(at=at + timedelta(seconds=6)), reserve, slots=30)
    assert not store.grow_reservation(hungry.id, "s0", SMALL, MORE, 75, at=at, even_if_full=False)
    assert store.grow_reservation(hungry.id, "s0", SMALL, MORE, 70, at=at, even_if_full=False)
    store.release_reservation(later.id, "s0")
    assert store.grow_reservation(hungry.id, "s0", SMALL, MORE, 75, at=at, even_if_full=False)


def test_the_steps_of_its_own_plan_do_not_count(store: Store, make_plan: MakePlan, reserve: Reserve) -> None:
    plan = released(store, make_plan(("small_1", "small_1"), at=utc_now()), reserve, slots=50)
    assert store.grow_reservation(plan.id, "s0", SMALL, MORE, 75, at=utc_now(), even_if_full=False)


def test_a_superseded_plan_takes_nothing_up(store: Store, make_plan: MakePlan, reserve: Reserve) -> None:
    origin = PlanOrigin(dag_id="captions", run_id="manual__1", task_id="plan")
    old = released(store, make_plan(at=utc_now(), origin=origin), reserve)
    new = released(store, make_plan(at=utc_now(), origin=origin), reserve)
    store.grow_reservation(old.id, "s0", SMALL, MORE, 75, at=utc_now(), even_if_full=True)
    assert [item.plan_id for item in store.reservations(utc_now(), utc_now() + timedelta(seconds=1))] == [new.id]
