"""Releasing plans: all or nothing, once per key, never more than a bin has, whoever else releases or dies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import psycopg2
import pytest

from tomas.config import StoreSettings
from tomas.errors import PlanRejected, StoreError, StoreUnavailable
from tomas.schema import ExecutionRecord, Plan, PlanOrigin, PlanStatus, Reservation, utc_now
from tomas.store import Store

MakePlan = Callable[..., Plan]
Reserve = Callable[[Plan], list[Reservation]]
ORIGIN = PlanOrigin(dag_id="captions", run_id="manual__1", task_id="plan")
FAR = timedelta(days=1)


def accept(_: list[Reservation]) -> None:
    """A verifier that finds nothing wrong."""


def limit(slots: int, own: int = 50) -> Callable[[list[Reservation]], None]:
    """A verifier that refuses more than ``slots`` at once (all reservations of these tests overlap)."""

    def verify(others: list[Reservation]) -> None:
        if sum(item.slots for item in others) + own > slots:
            raise PlanRejected("full.", remedy="wait.")

    return verify


def count(dsn: str, table: str) -> int:
    link = psycopg2.connect(dsn)
    try:
        with link.cursor() as cur:
            cur.execute(f"SELECT count(*) FROM tomas.{table}")  # noqa: S608 - table names of this file
            row = cur.fetchone()
            assert row is not None
            return int(row[0])
    finally:
        link.close()


def test_plan_comes_back_as_it_was_released(store: Store, make_plan: MakePlan, reserve: Reserve) -> None:
    plan = make_plan(
        ("small_1", "large_1", "small_1"), key="k", origin=ORIGIN, task="翻译 {{ params }} ' \\u0041 %s"
    )
    assert store.release_plan(plan, reserve(plan), accept) == plan
    assert store.plan(plan.id) == store.plan_by_key("k") == store.latest_plan("captions", "manual__1") == plan
    assert store.plans() == store.plans_of_run("captions", "manual__1") == [plan]
    assert store.latest_plan("captions", "manual__1", "other") is None
    assert store.plan_by_key("other") is None
    with pytest.raises(StoreError, match="no plan nothing"):
        store.plan("nothing")


def test_verifier_sees_what_others_hold_then(
    store: Store, make_plan: MakePlan, reserve: Reserve, t0: datetime
) -> None:
    first, elsewhere, later = make_plan(("small_1", "large_1")), make_plan(("large_1",)), make_plan(at=t0 + FAR)
    for plan in (first, elsewhere, later):
        store.release_plan(plan, reserve(plan), accept)
    seen: list[list[Reservation]] = []
    plan = make_plan()
    store.release_plan(plan, reserve(plan), seen.append)
    assert seen == [reserve(first)[:1]]


def test_reservations_are_half_open_and_can_leave_out_a_plan(
    store: Store, make_plan: MakePlan, reserve: Reserve, t0: datetime
) -> None:
    plan = make_plan(("small_1", "small_1"))
    store.release_plan(plan, reserve(plan), accept)
    held = reserve(plan)
    second = timedelta(seconds=1)
    assert store.reservations(t0, t0 + 20 * second) == held
    assert store.reservations(t0 + 10 * second, t0 + 11 * second) == held[1:]
    assert store.reservations(t0 - second, t0) == []
    assert store.reservations(t0 + 20 * second, t0 + FAR) == []
    assert store.reservations(t0, t0 + FAR, exclude_plan=plan.id) == []


def test_refused_plan_leaves_nothing_and_keeps_the_older_one(
    store: Store, dsn: str, make_plan: MakePlan, reserve: Reserve
) -> None:
    older = make_plan(key="1", origin=ORIGIN)
    store.release_plan(older, reserve(older), accept)
    newer = make_plan(key="2", origin=ORIGIN)
    with pytest.raises(PlanRejected, match="full"):
        store.release_plan(newer, reserve(newer), limit(0))
    assert store.plans() == [older]
    assert count(dsn, "reservation") == count(dsn, "plan_step") == 1
    strange = [item.model_copy(update={"step_id": "s9"}) for item in reserve(newer)]
    with pytest.raises(PlanRejected, match="does not belong"):
        store.release_plan(newer, strange, accept)


def test_twenty_racing_plans_never_overbook_a_bin(
    store: Store, make_plan: MakePlan, reserve: Reserve, t0: datetime
) -> None:
    start = threading.Barrier(20)

    def release(number: int) -> bool:
        # Opposite orders of the same two bins would deadlock without one global order of the locks.
        bins = ("small_1", "large_1") if number % 2 else ("large_1", "small_1")
        plan = make_plan(bins)
        held = [item.model_copy(update={"start_at": t0, "end_at": t0 + FAR}) for item in reserve(plan)]
        start.wait(20)
        try:
            store.release_plan(plan, held, limit(500, own=100))
        except PlanRejected:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(release, range(20)))
    assert sum(outcomes) == 5
    stored = store.reservations(t0, t0 + FAR)
    assert {name: sum(i.slots for i in stored if i.bin == name) for name in ("small_1", "large_1")} == {
        "small_1": 250,
        "large_1": 250,
    }


def test_one_key_from_eight_threads_gives_one_plan(
    store: Store, dsn: str, make_plan: MakePlan, reserve: Reserve
) -> None:
    start = threading.Barrier(8)

    def release(_: int) -> str:
        plan = make_plan(key="dag/run/plan/-1/0", origin=ORIGIN)
        start.wait(20)
        return store.release_plan(plan, reserve(plan), limit(50)).id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(release, range(8)))
    assert len(ids) == 1
    assert count(dsn, "plan") == count(dsn, "reservation") == 1


def test_retry_returns_the_stored_plan_without_verifying(
    store: Store, make_plan: MakePlan, reserve: Reserve
) -> None:
    plan = make_plan(key="k")
    store.release_plan(plan, reserve(plan), accept)
    store.set_plan_status(plan.id, PlanStatus.RUNNING)
    store.set_plan_actuals(plan.id, t_inf_ms=12.5)
    store.set_plan_actuals(plan.id, dispatch_lag_ms=2000)
    retry = make_plan(key="k")
    stored = store.release_plan(retry, reserve(retry), limit(0))
    assert stored.id == plan.id
    assert (stored.status, stored.t_inf_actual_ms, stored.dispatch_lag_actual_ms) == ("running", 12.5, 2000.0)
    assert store.release_plan(plan, reserve(plan), limit(0)) == stored


def test_new_clear_generation_supersedes_and_frees_in_the_same_transaction(
    store: Store, make_plan: MakePlan, reserve: Reserve, t0: datetime
) -> None:
    first = make_plan(key="generation-0", origin=ORIGIN)
    store.release_plan(first, reserve(first), limit(50))
    second = make_plan(key="generation-1", origin=ORIGIN)
    # The bin has room for one plan only: it fits because the older one gives way.
    store.release_plan(second, reserve(second), limit(50))
    assert store.plan(first.id).status is PlanStatus.SUPERSEDED
    assert [item.plan_id for item in store.reservations(t0, t0 + FAR)] == [second.id]
    store.set_plan_status(first.id, PlanStatus.RUNNING)
    assert store.plan(first.id).status is PlanStatus.SUPERSEDED
    # A zombie of the old generation gets its own old plan back, and writes nothing.
    late = make_plan(key="generation-0", origin=ORIGIN)
    assert store.release_plan(late, reserve(late), limit(0)).id == first.id
    assert store.latest_plan("captions", "manual__1", "plan") == second
    mapped = make_plan(origin=ORIGIN.model_copy(update={"map_index": 3}), at=t0 + FAR)
    store.release_plan(mapped, reserve(mapped), accept)
    assert store.plan(second.id).status is PlanStatus.RELEASED


def test_finished_plan_of_the_same_origin_keeps_its_status(
    store: Store, make_plan: MakePlan, reserve: Reserve
) -> None:
    done = make_plan(origin=ORIGIN)
    store.release_plan(done, reserve(done), accept)
    store.set_plan_status(done.id, PlanStatus.SUCCEEDED)
    newer = make_plan(origin=ORIGIN)
    store.release_plan(newer, reserve(newer), limit(50))
    assert store.plan(done.id).status is PlanStatus.SUCCEEDED


def kill_other_sessions(dsn: str) -> int:
    link = psycopg2.connect(dsn)
    link.autocommit = True
    try:
        with link.cursor() as cur:
            cur.execute(
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
            row = cur.fetchone()
            assert row is not None
            return int(row[0])
    finally:
        link.close()


def test_connection_killed_midway_leaves_nothing_half_written(
    store: Store, dsn: str, make_plan: MakePlan, reserve: Reserve, t0: datetime
) -> None:
    older = make_plan(key="1", origin=ORIGIN)
    store.release_plan(older, reserve(older), accept)
    newer = make_plan(key="2", origin=ORIGIN)
    calls = []

    def die(_: list[Reservation]) -> None:
        calls.append(kill_other_sessions(dsn))

    with pytest.raises(StoreUnavailable, match="Nothing was half written"):
        store.release_plan(newer, reserve(newer), die)
    assert calls == [1, 1], "once on the pooled connection, once on its replacement"
    assert store.plans() == [older]
    assert store.reservations(t0, t0 + FAR) == reserve(older)
    assert store.release_plan(newer, reserve(newer), limit(50)) == newer


def test_dead_pooled_connection_is_replaced_unnoticed(
    store: Store, dsn: str, make_plan: MakePlan, reserve: Reserve
) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.bins(), range(8)))
    assert kill_other_sessions(dsn) >= 1
    plan = make_plan()
    assert store.release_plan(plan, reserve(plan), accept) == plan
    kill_other_sessions(dsn)
    assert store.plans() == [plan]


def test_waiting_for_a_locked_bin_ends_with_a_remedy(dsn: str, make_plan: MakePlan, reserve: Reserve) -> None:
    entered, leave = threading.Event(), threading.Event()

    def linger(_: list[Reservation]) -> None:
        entered.set()
        leave.wait(20)

    with Store(dsn, StoreSettings(lock_timeout_ms=200)) as store, ThreadPoolExecutor(1) as pool:
        slow, other, elsewhere = make_plan(), make_plan(), make_plan(("large_1",))
        running = pool.submit(store.release_plan, slow, reserve(slow), linger)
        assert entered.wait(20)
        try:
            with pytest.raises(StoreUnavailable, match=r"lock was not free within 200 ms.*Try again"):
                store.release_plan(other, reserve(other), accept)
            assert store.release_plan(elsewhere, reserve(elsewhere), accept) == elsewhere
        finally:
            leave.set()
        assert running.result(20) == slow
        assert store.release_plan(other, reserve(other), accept) == other


def test_reservations_end_with_their_steps_or_expire(
    store: Store, make_plan: MakePlan, reserve: Reserve, t0: datetime
) -> None:
    plan = make_plan(("small_1", "small_1", "large_1"))
    store.release_plan(plan, reserve(plan), accept)

    def held() -> list[str]:
        return [item.step_id for item in store.reservations(t0, t0 + FAR)]

    store.release_reservation(plan.id, "s1")
    store.release_reservation(plan.id, "s1")
    assert sorted(held()) == ["s0", "s2"]
    assert store.expire_reservations(t0 + timedelta(seconds=15)) == 1
    assert store.expire_reservations(t0 + timedelta(seconds=15)) == 0
    assert held() == ["s2"]
    store.release_plan_reservations(plan.id)
    assert held() == []


@pytest.mark.parametrize("status", [PlanStatus.SUCCEEDED, PlanStatus.FAILED])
def test_ended_plan_frees_its_reservations(
    store: Store, make_plan: MakePlan, reserve: Reserve, t0: datetime, status: PlanStatus
) -> None:
    plan = make_plan()
    store.release_plan(plan, reserve(plan), accept)
    store.set_plan_status(plan.id, status)
    assert store.reservations(t0, t0 + FAR) == []


def test_running_step_keeps_its_overdue_reservation(
    store: Store, make_plan: MakePlan, reserve: Reserve, make_record: Callable[..., ExecutionRecord]
) -> None:
    now = utc_now()
    plan = make_plan(("small_1", "large_1"), at=now - timedelta(minutes=5))
    store.release_plan(plan, reserve(plan), accept)
    assert store.reservations(now, now + FAR) == []
    started = now - timedelta(seconds=100)
    store.save_record(make_record(plan.id, started_at=started))
    (held,) = store.reservations(now, now + FAR)
    assert (held.step_id, held.start_at) == ("s0", started)
    assert timedelta(seconds=99) < held.end_at - now < timedelta(seconds=130), "as long again as it has taken"
    assert store.expire_reservations(now) == 1, "the other step's"
    assert len(store.reservations(now, now + FAR)) == 1
    store.save_record(make_record(plan.id, started_at=started, ended_at=now))
    assert store.reservations(now, now + FAR) == []


def test_late_step_takes_its_expired_reservation_up_again(
    store: Store, make_plan: MakePlan, reserve: Reserve, make_record: Callable[..., ExecutionRecord]
) -> None:
    now = utc_now()
    plan = make_plan(at=now - timedelta(minutes=5))
    store.release_plan(plan, reserve(plan), accept)
    store.expire_reservations(now)
    for _ in range(3):
        store.save_record(make_record(plan.id, started_at=now))
    (held,) = store.reservations(now, now + FAR)
    assert (held.start_at, held.end_at) == (now, now + timedelta(seconds=10))
    store.set_plan_status(plan.id, PlanStatus.SUPERSEDED)
    store.save_record(make_record(plan.id, started_at=now))
    assert store.reservations(now, now + FAR) == [], "a superseded plan holds nothing"
