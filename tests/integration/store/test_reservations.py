"""Reservations: reclaimed without anybody's doing, given back in any order, made under the lock, never revived."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TypeVar

import psycopg2
import pytest
from psycopg2.extensions import cursor

from tomas.config import StoreSettings
from tomas.errors import PlanRejected, StoreUnavailable
from tomas.schema import ExecutionRecord, Plan, PlannerCall, PlanOrigin, PlanStatus, Reservation, utc_now
from tomas.store import ReadFrom, Store

T = TypeVar("T")
MakePlan = Callable[..., Plan]
Reserve = Callable[[Plan], list[Reservation]]
FAR = timedelta(days=1)
ORIGIN = PlanOrigin(dag_id="captions", run_id="manual__1", task_id="plan")


def accept(_: list[Reservation]) -> None:
    """A verifier that finds nothing wrong."""


def ask(dsn: str, text: str) -> list[tuple[object, ...]]:
    link = psycopg2.connect(dsn)
    try:
        with link.cursor() as cur:
            cur.execute(text)
            return cur.fetchall()
    finally:
        link.close()


def await_blocked(dsn: str, count: int = 1) -> None:
    """Until that many connections wait for a lock."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        ((blocked,),) = ask(
            dsn,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        if blocked == count:
            return
        time.sleep(0.02)
    raise AssertionError("nobody waits for a lock")


# --- reclaiming ------------------------------------------------------------------------------------------


def test_the_next_release_reclaims_what_nobody_gave_back(
    store: Store, make_plan: MakePlan, reserve: Reserve, make_record: Callable[..., ExecutionRecord]
) -> None:
    begin = utc_now() - timedelta(minutes=5)
    lost, running, elsewhere = make_plan(at=begin), make_plan(at=begin), make_plan(("large_1",), at=begin)
    # The store takes what the verifier accepts; here it is the time that has passed, not the room.
    for plan in (lost, running, elsewhere):
        store.release_plan(plan, [item.model_copy(update={"slots": 40}) for item in reserve(plan)], accept)
    store.save_record(make_record(running.id, started_at=begin))
    seen: list[Reservation] = []
    later = make_plan(at=begin)
    store.release_plan(later, [item.model_copy(update={"slots": 40}) for item in reserve(later)], seen.extend)
    # The lost step's capacity of that very time can be booked again; the step that runs keeps its own.
    assert [item.plan_id for item in seen] == [running.id]
    states = {item.reservation.plan_id: item.state for item in store.stored_reservations(ended=True)}
    assert states == {later.id: "active", lost.id: "expired", running.id: "active", elsewhere.id: "active"}


def test_reclaiming_goes_by_the_clock_of_the_server(store: Store, make_plan: MakePlan, reserve: Reserve) -> None:
    past, future = make_plan(at=utc_now() - timedelta(minutes=5)), make_plan(("large_1",))
    for plan in (past, future):
        store.release_plan(plan, reserve(plan), accept)
    assert store.expire_reservations() == 1
    assert [item.reservation.plan_id for item in store.stored_reservations()] == [future.id]


def test_freeing_and_expiring_the_same_reservations_at_once_cannot_deadlock(
    store: Store, dsn: str, make_plan: MakePlan, reserve: Reserve
) -> None:
    begin = utc_now() - timedelta(hours=1)
    bins = tuple(f"bin_{9 - i % 10}" for i in range(60))
    ended = 0
    for number in range(12):
        plan = make_plan(bins, at=begin + timedelta(seconds=number))
        store.release_plan(plan, reserve(plan), accept)
        start = threading.Barrier(5)

        def race(work: Callable[[], object], start: threading.Barrier = start) -> object:
            start.wait(20)
            return work()

        works: list[Callable[[], object]] = [
            lambda: store.expire_reservations(),
            lambda plan=plan: store.release_plan_reservations(plan.id),  # type: ignore[misc]
            lambda plan=plan: store.set_plan_status(plan.id, PlanStatus.FAILED),  # type: ignore[misc]
            lambda: store.expire_reservations(),
            lambda plan=plan: store.release_plan_reservations(plan.id),  # type: ignore[misc]
        ]
        with ThreadPoolExecutor(5) as pool:
            list(pool.map(race, works))
        ended += len(store.stored_reservations(plan_id=plan.id, ended=True))
        assert store.stored_reservations(plan_id=plan.id) == []
    assert ended == 12 * 60
    assert ask(dsn, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]


def test_ending_says_how_much_it_ended(store: Store, make_plan: MakePlan, reserve: Reserve) -> None:
    plan = make_plan(("small_1", "small_1", "large_1"))
    store.release_plan(plan, reserve(plan), accept)
    assert [store.release_reservation(plan.id, "s1"), store.release_reservation(plan.id, "s1")] == [1, 0]
    assert [store.release_plan_reservations(plan.id), store.release_plan_reservations(plan.id)] == [2, 0]


# --- heartbeats ------------------------------------------------------------------------------------------


def test_heartbeat_that_meets_a_supersession_revives_nothing(
    store: Store, dsn: str, make_plan: MakePlan, reserve: Reserve, make_record: Callable[..., ExecutionRecord]
) -> None:
    older, newer = make_plan(key="0", origin=ORIGIN), make_plan(key="1", origin=ORIGIN)
    store.release_plan(older, reserve(older), accept)
    late = make_record(older.id, started_at=utc_now())
    with ThreadPoolExecutor(1) as pool:
        beats = []

        def heartbeat_meanwhile(_: list[Reservation]) -> None:
            beats.append(pool.submit(store.save_record, late))
            await_blocked(dsn)

        store.release_plan(newer, reserve(newer), heartbeat_meanwhile)
        beats[0].result(20)
    assert [item.reservation.plan_id for item in store.stored_reservations()] == [newer.id]
    store.save_record(late)
    assert [item.reservation.plan_id for item in store.stored_reservations()] == [newer.id]


# --- making under the lock -------------------------------------------------------------------------------


def test_plan_that_is_made_under_the_lock_cannot_lose_its_bins(
    store: Store, dsn: str, make_plan: MakePlan, reserve: Reserve, t0: datetime
) -> None:
    first, rival = make_plan(), make_plan()
    store.release_plan(first, reserve(first), accept)
    plan = make_plan(("small_1", "small_1"))
    seen: list[list[Reservation]] = []
    with ThreadPoolExecutor(1) as pool:
        rivals = []

        def make(read: ReadFrom) -> tuple[Plan, list[Reservation]]:
            seen.append(read(t0))
            rivals.append(pool.submit(store.release_plan, rival, reserve(rival), seen.append))
            await_blocked(dsn)
            seen.append(read(t0))
            return plan, reserve(plan)

        assert store.release_under_lock(plan.id, plan.request, ["small_1", "large_1"], make) == plan
        rivals[0].result(20)
    # Both reads saw the first plan alone; the rival came after, and saw this one too.
    assert seen == [
        reserve(first),
        reserve(first),
        sorted([*reserve(first), reserve(plan)[0]], key=lambda r: r.plan_id),
    ]


def test_what_the_maker_raises_leaves_everything_as_it_was(
    store: Store, dsn: str, make_plan: MakePlan, reserve: Reserve
) -> None:
    older, newer = make_plan(key="0", origin=ORIGIN), make_plan(("large_1",), key="1", origin=ORIGIN)
    store.release_plan(older, reserve(older), accept)

    def fail(_: ReadFrom) -> tuple[Plan, list[Reservation]]:
        raise PlanRejected("no.")

    with pytest.raises(PlanRejected, match=r"no\."):
        store.release_under_lock(newer.id, newer.request, ["large_1"], fail)
    with pytest.raises(PlanRejected, match="bin large_1, which is not locked"):
        store.release_under_lock(newer.id, newer.request, ["small_1"], lambda _: (newer, reserve(newer)))
    assert store.plans() == [older]
    assert [item.reservation for item in store.stored_reservations()] == reserve(older)
    # The same key gets the stored plan, and nothing is made.
    assert store.release_under_lock("another", older.request, ["small_1"], fail) == older


@pytest.mark.parametrize("shared", ["key", "origin"])
def test_a_race_on_bins_of_their_own_is_decided_by_key_and_origin(
    store: Store, make_plan: MakePlan, reserve: Reserve, shared: str
) -> None:
    start = threading.Barrier(8)

    def release(number: int) -> Plan:
        plan = make_plan(
            (f"bin_{number}",),
            key="k" if shared == "key" else f"k{number}",
            origin=None if shared == "key" else ORIGIN,
        )
        start.wait(20)
        return store.release_plan(plan, reserve(plan), lambda _: time.sleep(0.02))

    with ThreadPoolExecutor(8) as pool:
        plans = {plan.id for plan in pool.map(release, range(8))}
    assert len(plans) == (1 if shared == "key" else 8)
    (held,) = store.stored_reservations()
    assert [plan.id for plan in store.plans() if plan.status is PlanStatus.RELEASED] == [held.reservation.plan_id]


# --- the end of a transaction ----------------------------------------------------------------------------


class DyingStore(Store):
    """Its connection is cut once, when all work is done and nothing committed."""

    deaths = 0

    def _transaction(self, work: Callable[[cursor], T], *, repeatable: bool = False) -> T:
        def dying(cur: cursor) -> T:
            result = work(cur)
            if not self.deaths:
                self.deaths += 1
                cur.execute("SELECT pg_backend_pid()")
                row = cur.fetchone()
                assert row is not None
                with Store(self._dsn, self.settings) as other:
                    other._transaction(lambda cut: cut.execute("SELECT pg_terminate_backend(%s, 5000)", row))
            return result

        return super()._transaction(dying, repeatable=repeatable)


def test_release_whose_commit_was_cut_off_is_done_once(dsn: str, make_plan: MakePlan, reserve: Reserve) -> None:
    plan = make_plan()
    with DyingStore(dsn) as store:
        assert store.release_plan(plan, reserve(plan), accept) == plan
        assert store.deaths == 1
        assert store.plans() == [plan]
        assert [item.reservation for item in store.stored_reservations()] == reserve(plan)


def test_other_work_whose_commit_was_cut_off_is_not_repeated(dsn: str) -> None:
    call = PlannerCall(at=utc_now(), planner="retrieval", task_chars=1, tools=1, steps=1, t_inf_ms=1)
    with DyingStore(dsn) as store:
        with pytest.raises(StoreUnavailable, match="was lost"):
            store.log_call(call)
        assert store.recent_calls() == []


def test_a_queue_longer_than_the_statement_timeout_is_waited_for(
    dsn: str, make_plan: MakePlan, reserve: Reserve
) -> None:
    first, second = make_plan(), make_plan()
    with (
        Store(dsn, StoreSettings(statement_timeout_ms=300, lock_timeout_ms=20_000)) as store,
        ThreadPoolExecutor(1) as pool,
    ):
        entered = threading.Event()

        def linger(_: list[Reservation]) -> None:
            entered.set()
            time.sleep(1)

        slow = pool.submit(store.release_plan, first, reserve(first), linger)
        assert entered.wait(20)
        assert store.release_plan(second, reserve(second), accept) == second
        slow.result(20)

        def dawdle(cur: cursor) -> None:
            store._lock(cur, ["bin:small_1"])
            cur.execute("SELECT pg_sleep(1)")

        with pytest.raises(StoreUnavailable, match="did not answer within 300 ms"):
            store._transaction(dawdle)
