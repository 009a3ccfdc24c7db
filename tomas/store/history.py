"""Planner calls and model versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg2.extensions import cursor
from psycopg2.extras import Json

from tomas.errors import StoreError
from tomas.schema import ModelVersion, PlannerCall, canonical_json, content_hash
from tomas.store.connection import Database

__all__ = ["HistoryMixin"]

_CALL_FIELDS = tuple(PlannerCall.model_fields)
_MODEL = (
    "SELECT version, kind, payload, interval_start, interval_end, metrics, parent, created_at, promoted"
    " FROM model_version"
)


class HistoryMixin(Database):
    """How long planning took, and what was learned."""

    # -- planner calls ------------------------------------------------------------------------------------

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

        return self._transaction(work)

    # -- model versions -----------------------------------------------------------------------------------

    def register_model(
        self,
        kind: str,
        payload: Mapping[str, Any],
        *,
        interval_start: datetime,
        interval_end: datetime,
        metrics: Mapping[str, float],
        parent: str | None = None,
    ) -> str:
        """Store a fitted model; not used before :meth:`promote_model`.

        The version is made of kind, interval and content, so registering the same again gives the same version
        and changes nothing.

        :param payload: JSON data; NaN and infinity are refused with ValueError.
        """
        digest = content_hash(dict(payload))
        interval = f"{interval_start.astimezone().timestamp():.6f}/{interval_end.astimezone().timestamp():.6f}"
        version = f"{kind}-{interval_end:%Y%m%dT%H%M}-{content_hash([kind, interval, digest])[:10]}"

        def work(cur: cursor) -> str:
            cur.execute(
                "INSERT INTO model_version"
                " (version, kind, payload, payload_hash, interval_start, interval_end, metrics, parent)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (
                    *(version, kind, Json(dict(payload), canonical_json), digest, interval_start, interval_end),
                    *(Json(dict(metrics), canonical_json), parent),
                ),
            )
            return version

        return self._transaction(work)

    def promote_model(self, version: str) -> None:
        """Make a version the current one of its kind; StoreError if there is none of that name."""

        def work(cur: cursor) -> None:
            cur.execute("SELECT kind FROM model_version WHERE version = %s", (version,))
            row = cur.fetchone()
            if row is None:
                raise StoreError(
                    f"There is no model version {version}.", remedy="Register it first, or check its name."
                )
            # Two promotions at once: the second waits, then takes over.
            cur.execute("SELECT pg_advisory_xact_lock(hashtextextended('tomas:model:' || %s, 0))", (row[0],))
            cur.execute("UPDATE model_version SET promoted = false WHERE kind = %s AND promoted", (row[0],))
            cur.execute(
                "UPDATE model_version SET promoted = true, promoted_at = clock_timestamp() WHERE version = %s",
                (version,),
            )

        self._transaction(work)

    def current_model(self, kind: str) -> ModelVersion | None:
        """The promoted version of a kind, or None."""
        return next(iter(self._models("WHERE kind = %s AND promoted", (kind,))), None)

    def models(self, kind: str | None = None, limit: int = 50) -> list[ModelVersion]:
        """The newest versions (of a kind), newest first."""
        return self._models(
            "WHERE %s::text IS NULL OR kind = %s ORDER BY created_at DESC LIMIT %s", (kind, kind, limit)
        )

    def _models(self, where: str, values: tuple[Any, ...]) -> list[ModelVersion]:
        names = tuple(ModelVersion.model_fields)

        def work(cur: cursor) -> list[ModelVersion]:
            cur.execute(f"{_MODEL} {where}", values)
            return [ModelVersion(**dict(zip(names, row, strict=True))) for row in cur]

        return self._transaction(work)
