"""Reads Airflow's metadata base: which task instance really ran in which queue and pool.

The one place outside the store with SQL: it asks a base that is not TOMAS's own, and only reads.
"""

from __future__ import annotations

from datetime import datetime

import psycopg2
import psycopg2.extras
from pydantic import BaseModel, ConfigDict

__all__ = ["Metadata", "TaskInstanceRow"]


class TaskInstanceRow(BaseModel):
    """One task instance as the scheduler left it."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    map_index: int
    state: str | None
    queue: str | None
    pool: str
    pool_slots: int
    priority_weight: int | None
    hostname: str | None
    try_number: int
    scheduled_dttm: datetime | None
    queued_dttm: datetime | None
    start_date: datetime | None
    end_date: datetime | None
    rendered_map_index: str | None


class Metadata:
    """Read-only look into Airflow's base; every call opens and closes its own connection."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstanceRow]:
        """The task instances of a run, by task and map index."""
        rows = self._query(
            """
            SELECT task_id, map_index, state, queue, pool, pool_slots, priority_weight, hostname, try_number,
                   scheduled_dttm, queued_dttm, start_date, end_date, rendered_map_index
            FROM task_instance WHERE dag_id = %s AND run_id = %s ORDER BY task_id, map_index
            """,
            (dag_id, run_id),
        )
        return [TaskInstanceRow.model_validate(row) for row in rows]

    def schema_revision(self) -> str | None:
        """Alembic's revision of the base; None while it is empty."""
        if not self._query("SELECT 1 FROM pg_tables WHERE tablename = %s", ("alembic_version",)):
            return None
        rows = self._query("SELECT version_num FROM alembic_version", ())
        return str(rows[0]["version_num"]) if rows else None

    def _query(self, statement: str, parameters: tuple[object, ...]) -> list[dict[str, object]]:
        connection = psycopg2.connect(self._dsn, connect_timeout=10)
        try:
            connection.set_session(readonly=True, autocommit=True)
            with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(statement, parameters)
                return [dict(row) for row in cursor.fetchall()]
        finally:
            connection.close()
