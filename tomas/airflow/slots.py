"""Pool slots of a try that needs more than its plan gave: how a step asks for them, and knows that it has them.

A step that ran out of memory writes one row, its wish for the next try. The listeners in Airflow's server
components read it when that try is scheduled, and set the instance's ``pool_slots`` then, so the pool counts the
real need before the try starts (:mod:`tomas.airflow.listeners`). Task code cannot see the slots of its own
instance; the answer to the same row, written again, tells them.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowRescheduleException

from tomas.airflow.routing import SLOTS_KEY
from tomas.airflow.xcom import read_row, write_row
from tomas.errors import RoutingError

__all__ = ["await_slots", "wish_slots"]

log = logging.getLogger(__name__)


def wish_slots(ti: Any, slots: int) -> int:
    """Leave word that the next try of this task instance needs ``slots`` of its pool; returns what it has now.

    :raises RoutingError: the API server runs without TOMAS's listeners.
    """
    where = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
    write_row(SLOTS_KEY, {"slots": slots, "try": ti.try_number}, **where)
    answer = read_row(SLOTS_KEY, **where)
    if not isinstance(answer, dict) or not isinstance(answer.get("held"), int):
        raise RoutingError(
            f"Airflow's API server runs without TOMAS: nobody answered how many pool slots {ti.task_id}"
            f"[{ti.map_index}] holds.",
            remedy="Install airflow-provider-tomas where API server, scheduler and triggerer run; restart them.",
        )
    return int(answer["held"])


def await_slots(ti: Any, slots: int) -> None:
    """Return if this try holds ``slots`` of its pool; else give the worker back until the pool has room.

    A try may hold fewer when the one before died after its memory did and before it left word.

    :raises AirflowRescheduleException: the try goes back to the scheduler, with the slots it needs.
    :raises RoutingError: it has been there already and came back with fewer.
    """
    before = read_row(SLOTS_KEY, dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index)
    held = wish_slots(ti, slots)
    if held >= slots:
        return
    if isinstance(before, dict) and before.get("try") == ti.try_number:
        raise RoutingError(
            f"{ti.task_id}[{ti.map_index}] needs {slots} pool slots and was scheduled again with {held}: TOMAS's "
            "listeners do not run in Airflow's triggerer.",
            remedy="Install airflow-provider-tomas there as a package, and restart the triggerer.",
        )
    log.info("This try needs %d pool slots and holds %d: it waits until the pool has room", slots, held)
    raise AirflowRescheduleException(datetime.now(UTC))
