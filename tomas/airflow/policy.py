"""Cluster policy: gives every mapped tool instance the pool, queue and slots of its plan.

Airflow loads this module through the entry point group ``airflow.policy`` in every process, so it imports
almost nothing. The hook runs inside the scheduler's transaction while instances are expanded, and in the API
server while they are cleared. It must never raise (the run would hang half expanded), never commit and never
flush; what goes wrong leaves the harmless default route, on which the step itself refuses to work.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from airflow import settings
from airflow.policies import hookimpl

from tomas.airflow.routing import ROUTING_KEY, TOOL_OPERATOR_NAME, decode_routing

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

__all__ = ["is_registered", "routing_of_run", "task_instance_mutation_hook"]

log = logging.getLogger(__name__)

_CACHE = "_tomas_routing"

# Airflow decides from airflow_local_settings alone whether to call the hook at all when a run is created;
# a policy that comes from an entry point has to say itself that it is there.
settings.task_instance_mutation_hook.is_noop = False

if sys.argv[1:3] == ["celery", "worker"]:
    from tomas.airflow import presence

    presence.install()


def is_registered() -> bool:
    """Whether Airflow's policy manager of this process holds this module's hook."""
    implementations = settings.get_policy_plugin_manager().hook.task_instance_mutation_hook.get_hookimpls()
    return any(item.function is task_instance_mutation_hook for item in implementations)


def routing_of_run(dag_run: Any) -> dict[str, list[Any]] | None:
    """The routing that the run's plan tasks pushed, read once per ``dag_run`` object.

    :return: routes by tool task id, or None while no plan is there.
    """
    cached: dict[str, list[Any]] | None = dag_run.__dict__.get(_CACHE)
    if cached is not None:
        return cached
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return None
    with session.no_autoflush:
        rows = session.scalars(
            select(XComModel.value).where(
                XComModel.dag_id == dag_run.dag_id,
                XComModel.run_id == dag_run.run_id,
                XComModel.key == ROUTING_KEY,
            )
        ).all()
    routing: dict[str, list[Any]] = {}
    for row in rows:
        routing.update(decode_routing(row) or {})
    if not routing:
        return None
    dag_run.__dict__[_CACHE] = routing
    return routing


@hookimpl
def task_instance_mutation_hook(task_instance: TaskInstance, dag_run: DagRun | None) -> None:
    """Route one instance; without a plan, a run or an expanded instance there is nothing to do."""
    try:
        if dag_run is None or task_instance.map_index < 0:
            return
        if task_instance.custom_operator_name != TOOL_OPERATOR_NAME:
            return
        routing = routing_of_run(dag_run)
        routes = (routing or {}).get(task_instance.task_id, ())
        if task_instance.map_index >= len(routes):
            return
        route = routes[task_instance.map_index]
        queue, pool, slots, priority = route["queue"], route["pool"], route["slots"], route["priority"]
        task_instance.queue = queue
        task_instance.pool = pool
        task_instance.pool_slots = slots
        task_instance.priority_weight = priority
    except Exception:
        log.exception(
            "TOMAS could not route %s[%s]; it keeps its default route",
            getattr(task_instance, "task_id", "?"),
            getattr(task_instance, "map_index", "?"),
        )
