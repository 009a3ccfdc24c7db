"""Plans and the capacity they hold: release in one transaction, idempotent, never overbooked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from psycopg2.extensions import cursor
from psycopg2.extras import Json, execute_values

from tomas.errors import PlanRejected, StoreError
from tomas.schema import Plan, PlanOrigin, PlanStatus, Reservation, Resources, canonical_json
from tomas.store.connection import Database

__all__ = ["HEARTBEAT_S", "PlansMixin"]

HEARTBEAT_S = 120
"""A running try whose record was not refreshed for this many seconds is taken for dead."""

_PLAN = "SELECT body, status, t_inf_actual_ms, dispatch_lag_actual_ms FROM plan"

# A step that still runs past its reservation holds its capacity on. Nobody knows until when; as the best guess
# it takes as long again as it has taken so far.
_RESERVATIONS = """
SELECT r.plan_id, r.step_id, r.bin, r.cpu_cores, r.cpu_mem_gb, r.gpu_sm, r.gpu_mem_gb, r.slots, r.start_at,
       CASE WHEN r.end_at > %(start)s THEN r.end_at
            ELSE %(start)s::timestamptz + greatest(now() - run.started_at, interval '1 second') END
FROM reservation r
LEFT JOIN LATERAL (
    SELECT max(e.started_at) AS started_at FROM execution_record e
    WHERE e.plan_id = r.plan_id AND e.step_id = r.step_id AND e.ended_at IS NULL
      AND e.updated_at > now() - %(heartbeat)s * interval '1 second'
) run ON r.end_at <= least(%(start)s, now())
WHERE r.state = 'active' AND r.start_at < %(end)s AND (r.end_at > %(start)s OR run.started_at IS NOT NULL)
  AND (%(bins)s::text[] IS NULL OR r.bin = ANY(%(bins)s))
  AND r.plan_id <> ALL(%(without)s)
ORDER BY r.bin, r.start_at, r.plan_id, r.step_id
"""


class PlansMixin(Database):
    """Releasing, reading and ending plans."""

    def reservations(self, start: datetime, end: datetime, *, exclude_plan: str | None = None) -> list[Reservation]:
        """Active reservations that overlap ``[start, end)``, by bin and start.

        The reservation of a step that overran and still runs counts too: it is returned with an end after
        ``start`` by as long as the step has run already.
        """
        without = [exclude_plan] if exclude_plan else []
        return self._transaction(lambda cur: _reservations(cur, start, end, bins=None, without=without))

    def release_plan(
        self, plan: Plan, reservations: list[Reservation], verify: Callable[[list[Reservation]], None]
    ) -> Plan:
        """Store a plan with its steps and reservations in ONE transaction; all or nothing.

        Releases on the same bin, of the same idempotency key or of the same origin wait for each other
        (advisory locks, taken in one global order, so they cannot deadlock). Under the locks, in this order:
        a stored plan of the same id or key is returned and nothing written; an older plan of the same origin is
        superseded and its reservations freed; the reservations of all other plans in the bins and the time of
        this plan go to ``verify``; then everything is inserted.

        :param verify: raises to refuse; the transaction is rolled back and the error passed on. It may be
            called twice, if the connection dies between.
        :return: the released plan, or the one that was stored before.
        :raises PlanRejected: a reservation names another plan or an unknown step.
        :raises StoreUnavailable: Postgres is down, slow, or the locks were not free in time.
        """
        steps = {step.id for step in plan.steps}
        for item in reservations:
            if item.plan_id != plan.id or item.step_id not in steps:
                raise PlanRejected(
                    f"Reservation of step {item.step_id} of plan {item.plan_id} does not belong to plan {plan.id}.",
                    remedy="Reserve for the steps of the plan that is released.",
                )
        return self._transaction(lambda cur: _release(cur, plan, reservations, verify))

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
                _free(cur, [plan_id])

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

    def release_reservation(self, plan_id: str, step_id: str) -> None:
        """Free the capacity of one step; nothing happens if it is free."""

        def work(cur: cursor) -> None:
            cur.execute(
                "UPDATE reservation SET state = 'released', released_at = now()"
                " WHERE plan_id = %s AND step_id = %s AND state <> 'released'",
                (plan_id, step_id),
            )

        self._transaction(work)

    def release_plan_reservations(self, plan_id: str) -> None:
        """Free the capacity of all steps of a plan."""
        self._transaction(lambda cur: _free(cur, [plan_id]))

    def expire_reservations(self, now: datetime) -> int:
        """Free reservations that ended before ``now`` and whose step does not run; how many.

        A step that starts later than that takes its reservation up again with its first record.
        """

        def work(cur: cursor) -> int:
            cur.execute(
                "UPDATE reservation r SET state = 'expired', released_at = now()"
                " WHERE r.state = 'active' AND r.end_at <= %s AND NOT EXISTS (SELECT 1 FROM execution_record e"
                "  WHERE e.plan_id = r.plan_id AND e.step_id = r.step_id AND e.ended_at IS NULL"
                "  AND e.updated_at > now() - %s * interval '1 second')",
                (now, HEARTBEAT_S),
            )
            return int(cur.rowcount)

        return self._transaction(work)


def _release(
    cur: cursor, plan: Plan, reservations: list[Reservation], verify: Callable[[list[Reservation]], None]
) -> Plan:
    key, origin = plan.request.idempotency_key, plan.request.origin
    bins = sorted({item.bin for item in reservations})
    _lock(
        cur,
        [f"plan:{plan.id}", *([f"key:{key}"] if key else []), *_origin_lock(origin), *(f"bin:{b}" for b in bins)],
    )
    cur.execute(f"{_PLAN} WHERE id = %s OR idempotency_key = %s", (plan.id, key))
    stored = cur.fetchone()
    if stored is not None:
        return _plan(stored)
    _supersede(cur, origin)
    if reservations:
        start, end = min(item.start_at for item in reservations), max(item.end_at for item in reservations)
        verify(_reservations(cur, start, end, bins=bins, without=[plan.id]))
    else:
        verify([])
    _insert(cur, plan, reservations)
    return plan


def _origin_lock(origin: PlanOrigin | None) -> list[str]:
    return [f"origin:{origin.canonical_json()}"] if origin else []


def _lock(cur: cursor, names: Iterable[str]) -> None:
    """Lock names until the transaction ends, in the order of their hashes: one order for everybody."""
    cur.execute(
        "SELECT DISTINCT hashtextextended('tomas:' || name, 0) AS h FROM unnest(%s) AS name ORDER BY h",
        (list(names),),
    )
    for (number,) in cur.fetchall():
        cur.execute("SELECT pg_advisory_xact_lock(%s)", (number,))


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
        _free(cur, older)


def _free(cur: cursor, plan_ids: list[str]) -> None:
    cur.execute(
        "UPDATE reservation SET state = 'released', released_at = now()"
        " WHERE plan_id = ANY(%s) AND state <> 'released'",
        (plan_ids,),
    )


def _insert(cur: cursor, plan: Plan, reservations: list[Reservation]) -> None:
    origin = plan.request.origin
    cur.execute(
        "INSERT INTO plan (id, idempotency_key, dag_id, run_id, task_id, map_index, status, created_at, release_at,"
        " t_inf_actual_ms, dispatch_lag_actual_ms, makespan_ms, body)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
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
            Json(plan.model_dump(mode="json"), canonical_json),
        ),
    )
    execute_values(
        cur,
        "INSERT INTO plan_step (plan_id, step_id, position, tool, bin, queue, pool, pool_slots, cpu_cores,"
        " cpu_mem_gb, gpu_sm, gpu_mem_gb, latency_p50_ms, latency_p90_ms, start_ms, end_ms) VALUES %s",
        [
            (
                *(plan.id, step.id, i, step.tool, step.bin, step.queue, step.pool, step.pool_slots),
                *step.allocation.final,
                *(step.latency_p50_ms, step.latency_p90_ms, step.start_ms, step.end_ms),
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


def _reservations(
    cur: cursor, start: datetime, end: datetime, *, bins: list[str] | None, without: list[str]
) -> list[Reservation]:
    cur.execute(
        _RESERVATIONS, {"start": start, "end": end, "bins": bins, "without": without, "heartbeat": HEARTBEAT_S}
    )
    return [
        Reservation(
            plan_id=row[0],
            step_id=row[1],
            bin=row[2],
            need=Resources(cpu_cores=row[3], cpu_mem_gb=row[4], gpu_sm=row[5], gpu_mem_gb=row[6]),
            slots=row[7],
            start_at=row[8],
            end_at=row[9],
        )
        for row in cur
    ]


def _plan(row: tuple[Any, ...]) -> Plan:
    body, status, t_inf_ms, dispatch_lag_ms = row
    return Plan.model_validate(
        body | {"status": status, "t_inf_actual_ms": t_inf_ms, "dispatch_lag_actual_ms": dispatch_lag_ms}
    )
