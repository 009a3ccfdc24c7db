"""Execution records: one row per try of a step, written while it runs, or by the million from elsewhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from psycopg2.extensions import cursor
from psycopg2.extras import Json

from tomas.schema import Artifact, ExecutionRecord, canonical_json
from tomas.store.connection import Database
from tomas.store.foreign import CheckedRecords, check_records
from tomas.store.readings import uncollected
from tomas.store.reservations import HEARTBEAT_S, take_up
from tomas.store.samples import (
    CLOCK_TOLERANCE,
    MANY_ROWS,
    CopyReport,
    at_once,
    in_chunks,
    known_bins,
    refresh_statistics,
    reject,
    server_clock,
)

__all__ = ["RecordsMixin"]

_FIELDS = (
    *("plan_id", "step_id", "try_number", "tool", "bin", "host", "outcome", "started_at", "ended_at"),
    *("input_bytes", "output_bytes", "wall_ms", "waited_ms", "peak_mem_gb", "cpu_seconds", "body"),
)
_LIST = ", ".join(_FIELDS)
_CHUNK = 5_000


class RecordsMixin(Database):
    """What steps really took."""

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
            cur.execute(f"SELECT body::text FROM execution_record {where}", values)  # noqa: S608 - fixed clauses
            with uncollected():
                return [ExecutionRecord.model_validate_json(row[0]) for row in cur]

        return self._select(work)

    def recent_records(
        self, tools: Iterable[str], since: datetime, until: datetime, *, per_tool: int = 35
    ) -> list[ExecutionRecord]:
        """The newest ``per_tool`` tries of each tool that ended in ``[since, until)``, by their ends."""

        def work(cur: cursor) -> list[ExecutionRecord]:
            cur.execute(
                "SELECT body::text FROM unnest(%s) AS wanted (name) CROSS JOIN LATERAL ("
                " SELECT ended_at, plan_id, step_id, try_number, body FROM execution_record"
                " WHERE tool = wanted.name AND ended_at IS NOT NULL AND ended_at >= %s AND ended_at < %s"
                " ORDER BY ended_at DESC LIMIT %s) AS found ORDER BY ended_at, plan_id, step_id, try_number",
                (sorted(set(tools)), since, until, per_tool),
            )
            with uncollected():
                return [ExecutionRecord.model_validate_json(row[0]) for row in cur]

        return self._select(work)

    def copy_records(
        self, rows: Iterable[Any], *, now: datetime | None = None, writers: int = 2, chunk: int = _CHUNK
    ) -> CopyReport:
        """Store any number of tries by COPY, as a stream: memory holds at most ``writers + 1`` chunks.

        The first record of a try stays, except that an ended one takes the place of one that was running. What
        cannot be stored goes to ``rejected_row`` with its reason (see
        :func:`~tomas.store.foreign.check_records`), and the rest is stored. Each chunk is a transaction, so after
        a failure the same rows can be given again. Reservations are not touched: this is history.

        :param rows: :class:`~tomas.schema.ExecutionRecord`, mappings or JSON text of such.
        :param now: what the instants are compared with, five minutes allowed; None takes Postgres's clock.
        :param writers: connections that write at once.
        :param chunk: rows per transaction.
        :raises StoreUnavailable: Postgres is down or slow; chunks before are stored.
        """
        known = self._transaction(known_bins)
        writers = min(writers, self.settings.max_connections)

        def store(part: list[Any]) -> CopyReport:
            clock = now or self._transaction(server_clock)
            checked = check_records(part, latest=clock + CLOCK_TOLERANCE)
            return self._transaction(lambda cur: _copy(cur, len(part), checked, known), repeatable=True)

        report = CopyReport()
        for part in at_once(in_chunks(rows, chunk), writers, store):
            report += part
        if report.stored >= MANY_ROWS:
            self._transaction(lambda cur: refresh_statistics(cur, "execution_record"))
        return report

    def hand_over_ms(self, since: datetime, *, steps: int = 300) -> float | None:
        """Median time from the end of a step's last predecessor to its own start, in Airflow.

        Seen are the newest ``steps`` successful tries that ended at ``since`` or later; None if none of
        them had a predecessor among them. Waiting for a taken pool is part of it.
        """

        def work(cur: cursor) -> float | None:
            cur.execute(
                """
                WITH ran AS (
                    SELECT plan_id, step_id, min(started_at) AS started_at, max(ended_at) AS ended_at
                    FROM (
                        SELECT plan_id, step_id, started_at, ended_at FROM execution_record
                        WHERE outcome = 'success' AND body ->> 'dag_id' IS NOT NULL AND ended_at >= %s
                        ORDER BY ended_at DESC LIMIT %s
                    ) AS newest GROUP BY plan_id, step_id
                ), gap AS (
                    SELECT extract(epoch FROM own.started_at - max(before.ended_at)) * 1000 AS ms
                    FROM ran AS own
                    JOIN plan_step AS step USING (plan_id, step_id)
                    JOIN ran AS before ON before.plan_id = own.plan_id AND before.step_id = ANY(step.depends_on)
                    GROUP BY own.plan_id, own.step_id, own.started_at
                )
                SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM gap WHERE ms >= 0
                """,
                (since, steps),
            )
            row = cur.fetchone()
            return None if row is None or row[0] is None else float(row[0])

        return self._select(work)


def _copy(cur: cursor, given: int, checked: CheckedRecords, known: frozenset[str]) -> CopyReport:
    """COPY a chunk into a table of this transaction, and from there what is new."""
    cur.execute("CREATE TEMP TABLE incoming (LIKE execution_record) ON COMMIT DROP")
    cur.execute("ALTER TABLE incoming ALTER updated_at DROP NOT NULL")
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(_row(record, body) for record, body in checked.good)
    buffer.seek(0)
    cur.copy_expert(f"COPY incoming ({_LIST}) FROM STDIN (FORMAT csv)", buffer)
    cur.execute("ANALYZE incoming")
    updated = ", ".join(f"{name} = excluded.{name}" for name in _FIELDS[3:])
    cur.execute(
        f"INSERT INTO execution_record AS old ({_LIST}, updated_at)"  # noqa: S608 - fixed names
        f" SELECT {_LIST}, coalesce(ended_at, started_at) FROM incoming ORDER BY plan_id, step_id, try_number"
        f" ON CONFLICT (plan_id, step_id, try_number) DO UPDATE SET {updated}, updated_at = excluded.updated_at"
        " WHERE old.ended_at IS NULL AND excluded.ended_at IS NOT NULL"
    )
    stored = int(cur.rowcount)
    refused = list(checked.rejected)
    if stored < len(checked.good):
        cur.execute(
            "SELECT incoming.body::text FROM incoming JOIN execution_record AS old"
            " USING (plan_id, step_id, try_number) WHERE old.body <> incoming.body"
            " AND (old.ended_at IS NULL OR incoming.ended_at IS NOT NULL)"
        )
        refused += [checked.conflict(row[0]) for row in cur.fetchall()]
    reject(cur, "record", refused)
    reasons: dict[str, int] = {}
    for item in refused:
        reasons[item.reason] = reasons.get(item.reason, 0) + 1
    return CopyReport(
        given=given,
        stored=stored,
        duplicates=given - stored - len(refused),
        rejected=reasons,
        unknown_bins=sorted({record.bin for record, _ in checked.good} - known),
    )


def _row(record: ExecutionRecord, body: str) -> Sequence[Any]:
    usage = record.usage
    return (
        *(record.plan_id, record.step_id, record.try_number, record.tool, record.bin, record.host),
        *(usage.outcome.value, record.started_at.isoformat(), record.ended_at and record.ended_at.isoformat()),
        *(record.input_bytes, record.output_bytes, usage.wall_ms, record.waited_ms, usage.peak_mem_gb),
        *(usage.cpu_seconds, body),
    )
