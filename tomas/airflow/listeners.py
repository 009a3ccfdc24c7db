"""What TOMAS adds to Airflow's own writes, in the same transaction: API server, scheduler, triggerer.

Mapper events on XCom rows and task instances:

* a new routing re-routes instances that a clear had already put back on the plan before it;
* questions of tasks, a plan task's about pools and a step's about its own slots, are answered in place. Task code
  reaches neither Airflow's base nor, without credentials, its REST API; the row it writes and reads back is its
  only way to ask, and it needs none;
* a step that is scheduled again gets the pool slots that the try before asked for. Airflow itself never changes
  them between tries, and calls no hook then; but every try of a step starts from a trigger, so each is scheduled
  through the triggerer, one object at a time.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from tomas.airflow.routing import (
    PREFLIGHT_KEY,
    ROUTING_KEY,
    SLOTS_KEY,
    TOOL_OPERATOR_NAME,
    decode_routing,
)
from tomas.schema.resources import POOL_SIZE

__all__ = ["install"]

log = logging.getLogger(__name__)

_installed: list[bool] = []


def install() -> None:
    """Attach the listeners; a second call does nothing."""
    if _installed:
        return
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import event

    event.listen(XComModel, "before_insert", _answer_preflight)
    event.listen(XComModel, "before_insert", _answer_slots)
    event.listen(XComModel, "after_insert", _reroute)
    event.listen(TaskInstance, "before_update", _grow_slots)
    _installed.append(True)


def _reroute(mapper: Any, connection: Any, row: Any) -> None:
    """Move instances that wait for the scheduler to the routes of the plan that was just pushed.

    What steps of the plan before wished for their next tries is forgotten.
    """
    del mapper
    if row.key != ROUTING_KEY:
        return
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import delete, update

    table, xcom = TaskInstance.__table__, XComModel.__table__
    moved = 0
    for task_id, routes in (decode_routing(row.value) or {}).items():
        connection.execute(
            delete(xcom).where(
                xcom.c.dag_id == row.dag_id,
                xcom.c.run_id == row.run_id,
                xcom.c.task_id == task_id,
                xcom.c.key == SLOTS_KEY,
            )
        )
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

    question = _content(row.value)
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


def _answer_slots(mapper: Any, connection: Any, row: Any) -> None:
    """Add to a step's wish ``{"slots", "try"}`` how many slots its instance has: ``held``."""
    del mapper
    if row.key != SLOTS_KEY:
        return
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    table = TaskInstance.__table__
    held = connection.execute(select(table.c.pool_slots).where(*_same_instance(table, row))).scalar_one_or_none()
    row.value = {**_content(row.value), "held": held}


def _grow_slots(mapper: Any, connection: Any, instance: Any) -> None:
    """Give a step that is being scheduled for another try the slots that were asked for it.

    It runs inside Airflow's own transaction and must not raise.
    """
    del mapper
    if instance.custom_operator_name != TOOL_OPERATOR_NAME or instance.state != "scheduled":
        return
    if (instance.try_number or 0) < 2:
        return
    from airflow.models.xcom import XComModel
    from sqlalchemy import inspect, select

    try:
        if not inspect(instance).attrs.state.history.has_changes():
            return
        xcom = XComModel.__table__
        wish: Any = connection.execute(
            select(xcom.c.value).where(*_same_instance(xcom, instance), xcom.c.key == SLOTS_KEY)
        ).scalar_one_or_none()
        slots = _content(wish).get("slots")
        if isinstance(slots, int) and instance.pool_slots < slots <= POOL_SIZE:
            log.info(
                "TOMAS raises %s[%d] of %s %s from %d to %d pool slots for try %d",
                instance.task_id,
                instance.map_index,
                instance.dag_id,
                instance.run_id,
                instance.pool_slots,
                slots,
                instance.try_number,
            )
            instance.pool_slots = slots
    except Exception:
        log.exception("TOMAS could not raise the pool slots of %s[%s]", instance.task_id, instance.map_index)


def _same_instance(table: Any, row: Any) -> list[Any]:
    return [getattr(table.c, name) == getattr(row, name) for name in ("dag_id", "run_id", "task_id", "map_index")]


def _content(value: Any) -> dict[str, Any]:
    """The object in an XCom row, which may still be JSON text; empty where it is none."""
    content = json.loads(value) if isinstance(value, str) else value
    return content if isinstance(content, dict) else {}
