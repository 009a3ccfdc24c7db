"""Plans and the capacity they hold: release in one transaction, idempotent, never overbooked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any

from psycopg2.extensions import cursor
from psycopg2.extras import Json, execute_values

from tomas.errors import PlanRejected, StoreError
from tomas.schema import Plan, PlanOrigin, PlanRequest, PlanStatus, Reservation, canonical_json
from tomas.store.citation import cited_interval
from tomas.store.connection import Database
from tomas.store.reservations import expire, free, read_reservations

__all__ = ["Make", "PlansMixin", "ReadFrom"]

_PLAN = "SELECT body, status, t_inf_actual_ms, dispatch_lag_actual_ms FROM plan"


ReadFrom = Callable[[datetime], list[Reservation]]
"""Reads what other plans hold from an instant on, for ever."""
Make = Callable[[ReadFrom], tuple[Plan, list[Reservation]]]
"""Makes a plan and its reservations from what others hold."""


class PlansMixin(Database):
    """Releasing, reading and ending plans."""

    def release_plan(
        self, plan: Plan, reservations: list[Reservation], verify: Callable[[list[Reservation]], None]
    ) -> Plan:
        """Store a plan with its steps and reservations in ONE transaction; all or nothing.

        Releases on the same bin, of the same idempotency key or of the same origin wait for each other
        (advisory locks, taken in one global order, so they cannot deadlock). Under the locks, in this order:
        a stored plan of the same id or key is returned and nothing written; an older plan of the same origin is
        superseded and its reservations freed; reservations in these bins that nobody ended in their time
        expire; the reservations of all other plans in the bins and the time of this plan go to ``verify``; then
        everything is inserted.

        :param verify: raises to refuse; the transaction is rolled back and the error passed on. It may be
            called twice, if the connection dies between.
        :return: the released plan, or the one that was stored before.
        :raises PlanRejected: a reservation names another plan or an unknown step.
        :raises StoreUnavailable: Postgres is down, slow, or the locks were not free in time.
        """
        _check_own(plan, reservations)
        bins = {item.bin for item in reservations}

        def work(cur: cursor) -> Plan:
            stored = self._enter(cur, plan.id, plan.request, bins)
            if stored is not None:
                return stored
            if reservations:
                start, end = min(item.start_at for item in reservations), max(item.end_at for item in reservations)
                verify(read_reservations(cur, start, end, bins=sorted(bins), without=[plan.id]))
            else:
                verify([])
            _insert(cur, plan, reservations)
            return plan

        return self._transaction(work, repeatable=True)

    def release_under_lock(self, plan_id: str, request: PlanRequest, bins: Iterable[str], make: Make) -> Plan:
        """Make a plan while its bins are locked, and store it in the same transaction.

        What :meth:`release_plan` does, in another order: no other plan can take capacity of ``bins`` between
        the making and the release, so this cannot lose a race; but all other releases on these bins wait
        meanwhile. For planners that lost before, and quick makers.

        :param bins: all bins that the plan may use.
        :param make: gets a function that reads what other plans hold of ``bins`` from an instant on; returns
            the plan, which it has verified, and its reservations. What it raises is passed on, nothing is
            written. It may be called twice, if the connection dies between.
        :return: the released plan, or the one that was stored before.
        :raises PlanRejected: a reservation names another plan, an unknown step or a bin that is not locked.
        :raises StoreUnavailable: Postgres is down, slow, or the locks were not free in time.
        """
        locked = set(bins)

        def work(cur: cursor) -> Plan:
            stored = self._enter(cur, plan_id, request, locked)
            if stored is not None:
                return stored
            plan, reservations = make(
                lambda start: read_reservations(cur, start, bins=sorted(locked), without=[plan_id])
            )
            _check_own(plan, reservations, locked)
            _insert(cur, plan, reservations)
            return plan

        return self._transaction(work, repeatable=True)

    def _enter(self, cur: cursor, plan_id: str, request: PlanRequest, bins: Iterable[str]) -> Plan | None:
        """Lock, return a plan that is stored already, and make room: what every release begins with."""
        key, origin = request.idempotency_key, request.origin
        places = sorted(bins)
        names = [f"plan:{plan_id}", *(f"bin:{name}" for name in places)]
        if key:
            names.append(f"key:{key}")
        if origin:
            names.append(f"origin:{origin.canonical_json()}")
        self._lock(cur, names)
        cur.execute(f"{_PLAN} WHERE id = %s OR idempotency_key = %s", (plan_id, key))
        stored = cur.fetchone()
        if stored is not None:
            return _plan(stored)
        _supersede(cur, origin)
        if places:
            expire(cur, bins=places)
        return None

    # -- reading ------------------------------------------------------------------------------------------

    def plan(self, plan_id: str) -> Plan:
        """The plan of that id; StoreError if there is none."""
        found = self._plans("WHERE id = %s", (plan_id,))
        if not found:
            raise StoreError(
                f"There is no plan {plan_id} in the store.", remedy="Check the id: tomas plan prints it."
            )
        return found[0]

    def plan_by_key(self, key: str) -> Plan | None:
        """The plan released under an idempotency key."""
        return next(iter(self._plans("WHERE idempotency_key = %s", (key,))), None)

    def latest_plan(self, dag_id: str, run_id: str, task_id: str | None = None) -> Plan | None:
        """The newest plan of an Airflow run (and task)."""
        return next(
            iter(
                self._plans(
                    "WHERE dag_id = %s AND run_id = %s AND (%s::text IS NULL OR task_id = %s)"
                    " ORDER BY stored_at DESC LIMIT 1",
                    (dag_id, run_id, task_id, task_id),
                )
            ),
            None,
        )

    def plan_of_origin(self, origin: PlanOrigin) -> str | None:
        """Id of the newest plan of an Airflow task instance."""

        def work(cur: cursor) -> str | None:
            cur.execute(
                "SELECT id FROM plan WHERE dag_id = %s AND run_id = %s AND task_id = %s AND map_index = %s"
                " ORDER BY stored_at DESC LIMIT 1",
                (origin.dag_id, origin.run_id, origin.task_id, origin.map_index),
            )
            row = cur.fetchone()
            return row[0] if row else None

        return self._select(work)

    def plans(self, limit: int = 50) -> list[Plan]:
        """The newest plans, newest first."""
        return self._plans("ORDER BY stored_at DESC LIMIT %s", (limit,))

    def plans_of_run(self, dag_id: str, run_id: str) -> list[Plan]:
        """All plans of an Airflow run, superseded ones too, newest first."""
        return self._plans("WHERE dag_id = %s AND run_id = %s ORDER BY stored_at DESC", (dag_id, run_id))

    def _plans(self, where: str, values: tuple[Any, ...]) -> list[Plan]:
        def work(cur: cursor) -> list[Plan]:
            cur.execute(f"{_PLAN} {where}", values)
            return [_plan(row) for row in cur]

        return self._transaction(work)

    # -- changing -----------------------------------------------------------------------------------------

    def set_plan_status(self, plan_id: str, status: PlanStatus) -> None:
        """Set the status; a superseded plan stays superseded. A plan that ended frees its reservations."""

        def work(cur: cursor) -> None:
            cur.execute(
                "UPDATE plan SET status = %s WHERE id = %s AND status <> 'superseded'", (status.value, plan_id)
            )
            if status in (PlanStatus.SUCCEEDED, PlanStatus.FAILED, PlanStatus.SUPERSEDED):
                free(cur, [plan_id])

        self._transaction(work)

    def set_plan_narrative(self, plan_id: str, narrative: str) -> None:
        """Add the planner's own words to a stored plan that has none; nothing else of a plan ever changes."""

        def work(cur: cursor) -> None:
            cur.execute(
                "UPDATE plan SET body = jsonb_set(body, '{narrative}', to_jsonb(%s::text))"
                " WHERE id = %s AND coalesce(body ->> 'narrative', '') = ''",
                (narrative, plan_id),
            )

        self._transaction(work)

    def set_plan_actuals(
        self, plan_id: str, *, t_inf_ms: float | None = None, dispatch_lag_ms: float | None = None
    ) -> None:
        """Set the measured planner latency and dispatch lag; None leaves what is stored."""

        def work(cur: cursor) -> None:
            cur.execute(
                "UPDATE plan SET t_inf_actual_ms = coalesce(%s, t_inf_actual_ms),"
                " dispatch_lag_actual_ms = coalesce(%s, dispatch_lag_actual_ms) WHERE id = %s",
                (t_inf_ms, dispatch_lag_ms, plan_id),
            )

        self._transaction(work)


def _check_own(plan: Plan, reservations: Iterable[Reservation], locked: Collection[str] | None = None) -> None:
    steps = {step.id for step in plan.steps}
    for item in reservations:
        if item.plan_id != plan.id or item.step_id not in steps:
            raise PlanRejected(
                f"Reservation of step {item.step_id} of plan {item.plan_id} does not belong to plan {plan.id}.",
                remedy="Reserve for the steps of the plan that is released.",
            )
        if locked is not None and item.bin not in locked:
            raise PlanRejected(
                f"Step {item.step_id} of plan {plan.id} reserves bin {item.bin}, which is not locked.",
                remedy="Name all bins that the plan may use.",
            )


def _supersede(cur: cursor, origin: PlanOrigin | None) -> None:
    """Plans of the same origin give way: unfinished ones become superseded, and none keeps a reservation."""
    if origin is None:
        return
    cur.execute(
        "SELECT id FROM plan WHERE dag_id = %s AND run_id = %s AND task_id = %s AND map_index = %s",
        (origin.dag_id, origin.run_id, origin.task_id, origin.map_index),
    )
    older = [row[0] for row in cur.fetchall()]
    if older:
        cur.execute(
            "UPDATE plan SET status = 'superseded' WHERE id = ANY(%s) AND status IN ('released', 'running')",
            (older,),
        )
        free(cur, older)


def _insert(cur: cursor, plan: Plan, reservations: list[Reservation]) -> None:
    origin = plan.request.origin
    cur.execute(
        "INSERT INTO plan (id, idempotency_key, dag_id, run_id, task_id, map_index, status, created_at, release_at,"
        " t_inf_actual_ms, dispatch_lag_actual_ms, makespan_ms, samples_from, samples_until, body)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            plan.id,
            plan.request.idempotency_key,
            *((origin.dag_id, origin.run_id, origin.task_id, origin.map_index) if origin else (None,) * 4),
            plan.status.value,
            plan.created_at,
            plan.release_at,
            plan.t_inf_actual_ms,
            plan.dispatch_lag_actual_ms,
            plan.makespan_ms,
            *(cited_interval(plan.snapshots) or (None, None)),
            Json(plan.model_dump(mode="json"), canonical_json),
        ),
    )
    execute_values(
        cur,
        "INSERT INTO plan_step (plan_id, step_id, position, tool, bin, queue, pool, pool_slots, cpu_cores,"
        " cpu_mem_gb, gpu_sm, gpu_mem_gb, latency_p50_ms, latency_p90_ms, start_ms, end_ms, depends_on) VALUES %s",
        [
            (
                *(plan.id, step.id, i, step.tool, step.bin, step.queue, step.pool, step.pool_slots),
                *step.allocation.final,
                *(step.latency_p50_ms, step.latency_p90_ms, step.start_ms, step.end_ms, step.depends_on),
            )
            for i, step in enumerate(plan.steps)
        ],
        page_size=1000,
    )
    execute_values(
        cur,
        "INSERT INTO reservation (plan_id, step_id, bin, cpu_cores, cpu_mem_gb, gpu_sm, gpu_mem_gb, slots,"
        " start_at, end_at) VALUES %s",
        [(r.plan_id, r.step_id, r.bin, *r.need, r.slots, r.start_at, r.end_at) for r in reservations],
        page_size=1000,
    )


def _plan(row: tuple[Any, ...]) -> Plan:
    body, status, t_inf_ms, dispatch_lag_ms = row
    return Plan.model_validate(
        body | {"status": status, "t_inf_actual_ms": t_inf_ms, "dispatch_lag_actual_ms": dispatch_lag_ms}
    )
