"""What TOMAS adds to Airflow's own writes, in the same transaction: API server, scheduler, triggerer.

Two mapper events on XCom rows:

* a new routing re-routes instances that a clear had already put back on the plan before it;
* a plan task's question about pools is answered in place. Task code reaches neither Airflow's base nor, without
  credentials, its REST API; the row it writes and reads back is its only way to ask, and it needs none.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from tomas.airflow.routing import PREFLIGHT_KEY, ROUTING_KEY, decode_routing

__all__ = ["install"]

log = logging.getLogger(__name__)

_installed: list[bool] = []


def install() -> None:
    """Attach the listeners; a second call does nothing."""
    if _installed:
        return
    from airflow.models.xcom import XComModel
    from sqlalchemy import event

    event.listen(XComModel, "before_insert", _answer_preflight)
    event.listen(XComModel, "after_insert", _reroute)
    _installed.append(True)


def _reroute(mapper: Any, connection: Any, row: Any) -> None:
    """Move instances that wait for the scheduler to the routes of the plan that was just pushed."""
    del mapper
    if row.key != ROUTING_KEY:
        return
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import update

    table = TaskInstance.__table__
    moved = 0
    for task_id, routes in (decode_routing(row.value) or {}).items():
        for map_index, route in enumerate(routes):
            moved += connection.execute(
                update(table)
                .where(
                    table.c.dag_id == row.dag_id,
                    table.c.run_id == row.run_id,
                    table.c.task_id == task_id,
                    table.c.map_index == map_index,
                    table.c.state.is_(None),
                )
                .values(
                    queue=route["queue"],
                    pool=route["pool"],
                    pool_slots=route["slots"],
                    priority_weight=route["priority"],
                )
            ).rowcount
    if moved:
        log.info("TOMAS moved %d cleared instances of %s %s to their new plan", moved, row.dag_id, row.run_id)


def _answer_preflight(mapper: Any, connection: Any, row: Any) -> None:
    """Replace the question ``{"pools": [names]}`` by what Airflow's base knows about those pools."""
    del mapper
    if row.key != PREFLIGHT_KEY:
        return
    from airflow.configuration import conf
    from airflow.models.pool import Pool
    from sqlalchemy import select

    from tomas.airflow import policy

    question = json.loads(row.value) if isinstance(row.value, str) else row.value
    pool = Pool.__table__
    found = connection.execute(
        select(pool.c.pool, pool.c.slots, pool.c.include_deferred).where(pool.c.pool.in_(question["pools"]))
    ).all()
    row.value = {
        "answered": True,
        "pools": {name: {"slots": slots, "include_deferred": deferred} for name, slots, deferred in found},
        "max_map_length": conf.getint("core", "max_map_length", fallback=1024),
        "policy": policy.is_registered(),
    }
