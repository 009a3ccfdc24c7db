"""What happened and what was learned: execution records, planner calls, model versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg2.extensions import cursor
from psycopg2.extras import Json

from tomas.errors import StoreError
from tomas.schema import Artifact, ExecutionRecord, ModelVersion, PlannerCall, canonical_json, content_hash
from tomas.store.connection import Database
from tomas.store.reservations import HEARTBEAT_S, take_up

__all__ = ["HistoryMixin"]

_CALL_FIELDS = tuple(PlannerCall.model_fields)
_MODEL = (
    "SELECT version, kind, payload, interval_start, interval_end, metrics, parent, created_at, promoted"
    " FROM model_version"
)


class HistoryMixin(Database):
    """Logs that close the loop from plan to better model."""

    # -- execution records --------------------------------------------------------------------------------

    def save_record(self, record: ExecutionRecord) -> None:
        """Store one try; called at its start, about every 2 s while it runs, and at its end.

        A record without ``ended_at`` is a heartbeat: it moves the step's reservation to the real start (same
        length) and takes it up again if it was free, unless the plan is superseded. A late heartbeat never
        overwrites the end of the same run.
        """
        usage = record.usage

        def work(cur: cursor) -> None:
            cur.execute(
                "INSERT INTO execution_record AS old (plan_id, step_id, try_number, tool, bin, host, outcome,"
                " started_at, ended_at, input_bytes, output_bytes, wall_ms, waited_ms, peak_mem_gb, cpu_seconds,"
                " body)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (plan_id, step_id, try_number) DO UPDATE SET"
                " tool = excluded.tool, bin = excluded.bin,"
                " host = excluded.host, outcome = excluded.outcome, started_at = excluded.started_at,"
                " ended_at = excluded.ended_at, input_bytes = excluded.input_bytes,"
                " output_bytes = excluded.output_bytes, wall_ms = excluded.wall_ms, waited_ms = excluded.waited_ms,"
                " peak_mem_gb = excluded.peak_mem_gb, cpu_seconds = excluded.cpu_seconds, body = excluded.body,"
                " updated_at = clock_timestamp() WHERE old.ended_at IS NULL"
                " OR excluded.ended_at IS NOT NULL OR excluded.started_at > old.started_at",
                (
                    *(record.plan_id, record.step_id, record.try_number, record.tool, record.bin, record.host),
                    *(usage.outcome.value, record.started_at, record.ended_at),
                    *(record.input_bytes, record.output_bytes, usage.wall_ms, record.waited_ms),
                    *(usage.peak_mem_gb, usage.cpu_seconds),
                    Json(record.model_dump(mode="json"), canonical_json),
                ),
            )
            if cur.rowcount and record.ended_at is None:
                take_up(cur, record.plan_id, record.step_id, record.started_at)

        self._transaction(work)

    def records(self, plan_id: str) -> list[ExecutionRecord]:
        """All tries of a plan's steps, in the order in which they started."""
        return self._records("WHERE plan_id = %s ORDER BY started_at, step_id, try_number", (plan_id,))

    def records_between(self, start: datetime, end: datetime) -> list[ExecutionRecord]:
        """Tries that ended in ``[start, end)``, in the order of their ends."""
        return self._records(
            "WHERE ended_at >= %s AND ended_at < %s ORDER BY ended_at, plan_id, step_id, try_number", (start, end)
        )

    def running_records(self) -> list[ExecutionRecord]:
        """Tries that run now: not ended, and refreshed within the last 120 s."""
        return self._records(
            "WHERE ended_at IS NULL AND updated_at > now() - %s * interval '1 second' ORDER BY started_at",
            (HEARTBEAT_S,),
        )

    def outputs(self, plan_id: str, step_id: str) -> list[Artifact]:
        """Files of the last successful try of a step; none if no try succeeded."""
        found = self._records(
            "WHERE plan_id = %s AND step_id = %s AND outcome = 'success' ORDER BY try_number DESC LIMIT 1",
            (plan_id, step_id),
        )
        return found[0].outputs if found else []

    def _records(self, where: str, values: tuple[Any, ...]) -> list[ExecutionRecord]:
        def work(cur: cursor) -> list[ExecutionRecord]:
            cur.execute(f"SELECT body FROM execution_record {where}", values)  # noqa: S608 - fixed clauses
            return [ExecutionRecord.model_validate(row[0]) for row in cur]

        return self._transaction(work)

    def hand_over_ms(self, since: datetime, *, steps: int = 300) -> float | None:
        """Median time from the end of a step's last predecessor to its own start, in Airflow.

        Seen are the newest ``steps`` successful steps that started at ``since`` or later; None if none of
        them had a predecessor. Waiting for a taken pool is part of it.
        """

        def work(cur: cursor) -> float | None:
            cur.execute(
                """
                WITH ran AS (
                    SELECT plan_id, step_id, min(started_at) AS started_at, max(ended_at) AS ended_at
                    FROM execution_record
                    WHERE outcome = 'success' AND body ->> 'dag_id' IS NOT NULL AND ended_at >= %s
                    GROUP BY plan_id, step_id ORDER BY max(ended_at) DESC LIMIT %s
                ), edge AS (
                    SELECT plan.id AS plan_id, step ->> 'id' AS step_id,
                           jsonb_array_elements_text(step -> 'depends_on') AS predecessor
                    FROM plan, jsonb_array_elements(plan.body -> 'steps') AS step
                    WHERE plan.id IN (SELECT plan_id FROM ran)
                ), gap AS (
                    SELECT extract(epoch FROM min(own.started_at) - max(before.ended_at)) * 1000 AS ms
                    FROM edge
                    JOIN ran AS own USING (plan_id, step_id)
                    JOIN ran AS before ON before.plan_id = edge.plan_id AND before.step_id = edge.predecessor
                    GROUP BY edge.plan_id, edge.step_id
                )
                SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM gap WHERE ms >= 0
                """,
                (since, steps),
            )
            row = cur.fetchone()
            return None if row is None or row[0] is None else float(row[0])

        return self._transaction(work)

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
