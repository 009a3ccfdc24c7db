"""The migration to partitions loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg2

from tests.integration.store.readings import (
    DAY,
    HOUR,
    NOW,
    query,
    row,
    stored,
)
from tomas.schema import Plan
from tomas.store import Store
from tomas.store.migrations import load_migrations


def test_the_migration_keeps_samples_edges_and_what_old_plans_cite(
    postgres: Any, tmp_path: Any, make_plan: Callable[..., Plan]
) -> None:
    files = load_migrations()
    early = tmp_path / "sql"
    early.mkdir()
    for item in files[:3]:
        (early / f"{item.name}.sql").write_text(item.text)
    dsn = postgres.create_database("old_history", "tomas", postgres._passwords["tomas"])
    plan = make_plan(bins=("small_1", "small_1"))
    cited = (NOW - HOUR).isoformat()
    body = plan.model_dump(mode="json") | {"snapshots": {"samples": f"3 until {cited}"}}
    try:
        with Store(dsn) as store:
            store.migrate(early)
            for i in range(30):
                query(dsn, "INSERT INTO sample VALUES (%s, %s" + ", %s" * 12 + ")", *row(NOW - i * DAY, i))
            query(dsn, "INSERT INTO sample VALUES (%s, %s" + ", 1e20" * 12 + ")", "vast_1", NOW)
            query(
                dsn,
                "INSERT INTO plan (id, status, created_at, release_at, makespan_ms, body)"
                " VALUES (%s, 'succeeded', now(), now(), 1, %s)",
                *(plan.id, psycopg2.extras.Json(body)),
            )
            for i, step in enumerate(plan.steps):
                query(
                    dsn,
                    "INSERT INTO plan_step VALUES (%s, %s, %s, 't', 'b', 'q', 'p', 1" + ", 1" * 8 + ")",
                    *(plan.id, step.id, i),
                )
            store.migrate()
            assert stored(store) == sorted(row(NOW - i * DAY, i) for i in range(30))
            assert query(dsn, "SELECT reason FROM rejected_row") == [("amount",)]
            assert query(dsn, "SELECT samples_from, samples_until FROM plan") == [
                (NOW - HOUR - timedelta(minutes=10), NOW - HOUR)
            ]
            assert query(dsn, "SELECT depends_on FROM plan_step ORDER BY position") == [([],), (["s0"],)]
            store.refresh_rollups()
            assert store.rollups(NOW - 40 * DAY, NOW + DAY) == store.scan_hours(NOW - 40 * DAY, NOW + DAY)
            assert len(store.rollups(NOW - 40 * DAY, NOW + DAY)) == 30
    finally:
        postgres.drop_database("old_history")
