"""The capacity that steps hold: reading it, giving it back, and reclaiming what nobody gave back.

Every statement that changes several reservations locks their rows in one order, or passes over rows that are
locked, so that no two of them can wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from psycopg2.extensions import cursor

from tomas.schema import POOL_SIZE, Bin, Reservation, Resources
from tomas.schema.base import Schema, UtcDatetime
from tomas.schema.resources import RESOURCE_NAMES
from tomas.store.connection import Database

__all__ = [
    "HEARTBEAT_S",
    "ReservationsMixin",
    "StoredReservation",
    "expire",
    "free",
    "read_reservations",
    "take_up",
]

HEARTBEAT_S = 120
"""A running try whose record was not refreshed for this many seconds is taken for dead."""

# A step that still runs past its reservation holds its capacity on. Nobody knows until when; as the best guess
# it takes as long again as it has taken so far. The clock is the statement's: a transaction may have waited long.
_READ = """
SELECT r.plan_id, r.step_id, r.bin, r.cpu_cores, r.cpu_mem_gb, r.gpu_sm, r.gpu_mem_gb, r.slots, r.start_at,
       CASE WHEN r.end_at > %(start)s THEN r.end_at
            ELSE %(start)s::timestamptz
                 + greatest(statement_timestamp() - run.started_at, interval '1 second') END
FROM reservation r
LEFT JOIN LATERAL (
    SELECT max(e.started_at) AS started_at FROM execution_record e
    WHERE e.plan_id = r.plan_id AND e.step_id = r.step_id AND e.ended_at IS NULL
      AND e.updated_at > statement_timestamp() - %(heartbeat)s * interval '1 second'
) run ON r.end_at <= least(%(start)s, statement_timestamp())
WHERE r.state = 'active' AND (r.end_at > %(start)s OR run.started_at IS NOT NULL)
  AND (%(end)s::timestamptz IS NULL OR r.start_at < %(end)s)
  AND (%(bins)s::text[] IS NULL OR r.bin = ANY(%(bins)s))
  AND r.plan_id <> ALL(%(without)s)
ORDER BY r.bin, r.start_at, r.plan_id, r.step_id
"""

_FREE = """
WITH held AS (
    SELECT plan_id, step_id FROM reservation
    WHERE plan_id = ANY(%(plans)s) AND (%(step)s::text IS NULL OR step_id = %(step)s) AND state <> 'released'
    ORDER BY plan_id, step_id FOR UPDATE
)
UPDATE reservation r SET state = 'released', released_at = statement_timestamp()
FROM held WHERE r.plan_id = held.plan_id AND r.step_id = held.step_id
"""

_EXPIRE = """
WITH due AS (
    SELECT r.plan_id, r.step_id FROM reservation r
    WHERE r.state = 'active' AND r.end_at <= coalesce(%(before)s, statement_timestamp())
      AND (%(bins)s::text[] IS NULL OR r.bin = ANY(%(bins)s))
      AND NOT EXISTS (
          SELECT 1 FROM execution_record e
          WHERE e.plan_id = r.plan_id AND e.step_id = r.step_id AND e.ended_at IS NULL
            AND e.updated_at > statement_timestamp() - %(heartbeat)s * interval '1 second')
    FOR UPDATE OF r SKIP LOCKED
)
UPDATE reservation r SET state = 'expired', released_at = statement_timestamp()
FROM due WHERE r.plan_id = due.plan_id AND r.step_id = due.step_id
"""

_LIST = """
SELECT r.plan_id, r.step_id, r.bin, r.cpu_cores, r.cpu_mem_gb, r.gpu_sm, r.gpu_mem_gb, r.slots, r.start_at,
       r.end_at, r.state, p.stored_at, r.released_at, run.started_at
FROM reservation r
JOIN plan p ON p.id = r.plan_id
LEFT JOIN LATERAL (
    SELECT max(e.started_at) AS started_at FROM execution_record e
    WHERE e.plan_id = r.plan_id AND e.step_id = r.step_id AND e.ended_at IS NULL
      AND e.updated_at > statement_timestamp() - %(heartbeat)s * interval '1 second'
) run ON true
WHERE (%(ended)s OR r.state = 'active')
  AND (%(bin)s::text IS NULL OR r.bin = %(bin)s)
  AND (%(plan)s::text IS NULL OR r.plan_id = %(plan)s)
ORDER BY r.start_at DESC, r.plan_id, r.step_id LIMIT %(limit)s
"""


class StoredReservation(Schema):
    """A reservation as it is stored, with what became of it."""

    reservation: Reservation
    state: Literal["active", "released", "expired"]
    """``expired``: nobody ended it, its time passed. A step that still starts takes it up again."""
    reserved_at: UtcDatetime
    """When its plan was stored."""
    freed_at: UtcDatetime | None
    running_since: UtcDatetime | None
    """When the step's present try started; None if none runs."""


class ReservationsMixin(Database):
    """Reading and ending reservations. Plans make them: see ``release_plan``."""

    def reservations(self, start: datetime, end: datetime, *, exclude_plan: str | None = None) -> list[Reservation]:
        """Active reservations that overlap ``[start, end)``, by bin and start.

        The reservation of a step that overran and still runs counts too: it is returned with an end after
        ``start`` by as long as the step has run already.
        """
        without = [exclude_plan] if exclude_plan else []
        return self._transaction(lambda cur: read_reservations(cur, start, end, without=without))

    def stored_reservations(
        self, *, bin_name: str | None = None, plan_id: str | None = None, ended: bool = False, limit: int = 200
    ) -> list[StoredReservation]:
        """The ``limit`` reservations that start last, newest first.

        :param ended: released and expired ones too.
        """

        def work(cur: cursor) -> list[StoredReservation]:
            cur.execute(
                _LIST,
                {"bin": bin_name, "plan": plan_id, "ended": ended, "limit": limit, "heartbeat": HEARTBEAT_S},
            )
            return [
                StoredReservation(
                    reservation=_reservation(row),
                    state=row[10],
                    reserved_at=row[11],
                    freed_at=row[12],
                    running_since=row[13],
                )
                for row in cur
            ]

        return self._transaction(work)

    def release_reservation(self, plan_id: str, step_id: str) -> int:
        """Free the capacity of one step; how many reservations that ended (0 if it was free)."""
        return self._transaction(lambda cur: free(cur, [plan_id], step_id))

    def release_plan_reservations(self, plan_id: str) -> int:
        """Free the capacity of all steps of a plan; how many reservations that ended."""
        return self._transaction(lambda cur: free(cur, [plan_id]))

    def grow_reservation(
        self,
        plan_id: str,
        step_id: str,
        place: Bin,
        need: Resources,
        slots: int,
        *,
        at: datetime,
        even_if_full: bool,
    ) -> bool:
        """Let a step that starts now hold more than its plan reserved; whether its bin had room for that.

        Under the advisory lock of the bin, so that the proof of every later plan sees either what was held before
        or all of it. The reservation is taken up and moved to ``at`` as :meth:`save_record` does; it never gets
        smaller. There is room if, while it lasts, it fits into the bin and its pool beside what other plans hold
        there; the steps of its own plan wait for each other at the pool.

        :param at: when the try starts; give its record the same instant.
        :param even_if_full: hold it without room too: the bin is then promised more than it has until steps end.
        :return: False, with nothing written unless ``even_if_full``, where others hold too much. A step that has no
            reservation, or whose plan is superseded, holds nothing; the answer tells whether there is room.
        :raises StoreUnavailable: Postgres is down, slow, or the lock was not free in time.
        """

        def work(cur: cursor) -> bool:
            self._lock(cur, [f"bin:{place.name}"])
            own = "WHERE plan_id = %(plan)s AND step_id = %(step)s"
            values = {"plan": plan_id, "step": step_id, "at": at, "slots": slots}
            cur.execute(f"SELECT end_at - start_at FROM reservation {own}", values)  # noqa: S608 - fixed text
            row = cur.fetchone()
            length = row[0] if row else timedelta(seconds=1)
            end = at + max(length, timedelta(milliseconds=1))
            others = read_reservations(cur, at, end, bins=[place.name], without=[plan_id])
            room = _has_room(place, need, slots, others, at)
            if row is None or not (room or even_if_full):
                return room
            # Waits for a plan that is being superseded now, as take_up does.
            cur.execute("SELECT status FROM plan WHERE id = %(plan)s FOR SHARE", values)
            status = cur.fetchone()
            if status is not None and status[0] != "superseded":
                amounts = dict(zip(RESOURCE_NAMES, need, strict=True))
                grown = ", ".join(f"{name} = greatest({name}, %({name})s)" for name in (*amounts, "slots"))
                cur.execute(
                    f"UPDATE reservation SET state = 'active', released_at = NULL, start_at = %(at)s,"  # noqa: S608
                    f" end_at = %(at)s + (end_at - start_at), {grown} {own}",
                    values | amounts,
                )
            return room

        return self._transaction(work)

    def expire_reservations(self, before: datetime | None = None) -> int:
        """Free reservations that ended by ``before`` (None: by now) and whose step does not run; how many.

        Every release of a plan does this for the bins of that plan, so nobody has to call it. A step that
        starts later takes its reservation up again with its first record. Reservations that another
        transaction is changing at this moment are left to it.
        """
        return self._transaction(lambda cur: expire(cur, before=before))


def read_reservations(
    cur: cursor,
    start: datetime,
    end: datetime | None = None,
    *,
    bins: Sequence[str] | None = None,
    without: Sequence[str] = (),
) -> list[Reservation]:
    """Active reservations that overlap ``[start, end)``; an ``end`` of None is never.

    :param bins: only of these; None: of all.
    :param without: plans left out.
    """
    values = {
        "start": start,
        "end": end,
        "bins": None if bins is None else list(bins),
        "without": list(without),
        "heartbeat": HEARTBEAT_S,
    }
    cur.execute(_READ, values)
    return [_reservation(row) for row in cur]


def free(cur: cursor, plan_ids: Sequence[str], step_id: str | None = None) -> int:
    """End all reservations of plans, or those of one step; how many."""
    cur.execute(_FREE, {"plans": list(plan_ids), "step": step_id})
    return int(cur.rowcount)


def expire(cur: cursor, *, before: datetime | None = None, bins: Sequence[str] | None = None) -> int:
    """End reservations whose time passed and whose step does not run; how many."""
    values = {"before": before, "bins": None if bins is None else list(bins), "heartbeat": HEARTBEAT_S}
    cur.execute(_EXPIRE, values)
    return int(cur.rowcount)


def take_up(cur: cursor, plan_id: str, step_id: str, started_at: datetime) -> None:
    """Move a running step's reservation to its real start, and hold it again if it was free.

    Its length stays. A superseded plan takes nothing up.
    """
    values = {"plan": plan_id, "step": step_id, "at": started_at}
    cur.execute(
        "SELECT 1 FROM reservation WHERE plan_id = %(plan)s AND step_id = %(step)s"
        " AND (state <> 'active' OR start_at <> %(at)s)",
        values,
    )
    if cur.fetchone() is None:
        return
    # A plan that is being superseded now is waited for; a join without this lock would see its old status.
    cur.execute("SELECT status FROM plan WHERE id = %(plan)s FOR SHARE", values)
    row = cur.fetchone()
    if row is None or row[0] == "superseded":
        return
    cur.execute(
        "UPDATE reservation SET state = 'active', released_at = NULL, start_at = %(at)s,"
        " end_at = %(at)s + (end_at - start_at) WHERE plan_id = %(plan)s AND step_id = %(step)s",
        values,
    )


def _has_room(place: Bin, need: Resources, slots: int, others: Sequence[Reservation], at: datetime) -> bool:
    """Whether ``need`` fits beside ``others`` from ``at`` on: the load only rises where one of them starts."""
    for instant in {at, *(item.start_at for item in others if item.start_at > at)}:
        held = [item for item in others if item.start_at <= instant < item.end_at]
        load = need
        for item in held:
            load += item.need
        if not load.fits(place.capacity) or slots + sum(item.slots for item in held) > POOL_SIZE:
            return False
    return True


def _reservation(row: tuple[Any, ...]) -> Reservation:
    return Reservation(
        plan_id=row[0],
        step_id=row[1],
        bin=row[2],
        need=Resources(cpu_cores=row[3], cpu_mem_gb=row[4], gpu_sm=row[5], gpu_mem_gb=row[6]),
        slots=row[7],
        start_at=row[8],
        end_at=row[9],
    )
