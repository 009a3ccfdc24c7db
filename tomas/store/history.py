"""The planner's call log."""

from __future__ import annotations

from datetime import datetime

from psycopg2.extensions import cursor

from tomas.schema import PlannerCall
from tomas.store.connection import Database

__all__ = ["HistoryMixin"]

_CALL_FIELDS = tuple(PlannerCall.model_fields)


class HistoryMixin(Database):
    """How long planning took."""

    def log_call(self, call: PlannerCall) -> None:
        """Append one planner call."""
        values = call.model_dump()
        marks = ", ".join(["%s"] * len(_CALL_FIELDS))

        def work(cur: cursor) -> None:
            cur.execute(
                f"INSERT INTO planner_call ({', '.join(_CALL_FIELDS)}) VALUES ({marks})",  # noqa: S608 - fixed names
                [values[name] for name in _CALL_FIELDS],
            )

        self._transaction(work)

    def set_call_dispatch_lag(self, plan_id: str, ms: float) -> None:
        """Set the measured dispatch lag of the calls that made a plan."""

        def work(cur: cursor) -> None:
            cur.execute("UPDATE planner_call SET dispatch_lag_ms = %s WHERE plan_id = %s", (ms, plan_id))

        self._transaction(work)

    def recent_calls(
        self,
        planner: str | None = None,
        limit: int = 200,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[PlannerCall]:
        """The newest ``limit`` calls in ``[since, until)``, newest first."""

        def work(cur: cursor) -> list[PlannerCall]:
            cur.execute(
                f"SELECT {', '.join(_CALL_FIELDS)} FROM planner_call"  # noqa: S608 - fixed names
                " WHERE (%(planner)s::text IS NULL OR planner = %(planner)s)"
                " AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)"
                " AND (%(until)s::timestamptz IS NULL OR at < %(until)s) ORDER BY at DESC, id DESC LIMIT %(limit)s",
                {"planner": planner, "since": since, "until": until, "limit": limit},
            )
            return [PlannerCall(**dict(zip(_CALL_FIELDS, row, strict=True))) for row in cur]

        return self._select(work)
