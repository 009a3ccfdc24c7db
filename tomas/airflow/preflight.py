"""Checks before a plan is released: what is missing would stall the run for ever with at most a warning.

* the routing policy is registered, here and in the API server;
* every bin's pool exists with all its slots, and does not count deferred tasks;
* every bin's queue has a live consumer, as far as that can be known;
* a plan may be as long as ``[core] max_map_length`` allows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tomas.airflow.routing import PREFLIGHT_KEY, UNROUTED_POOL
from tomas.config import Settings
from tomas.errors import RoutingError
from tomas.schema import Bin
from tomas.schema.resources import POOL_SIZE
from tomas.verify import Routes

__all__ = ["Preflight", "check", "check_pools", "live_queues"]

log = logging.getLogger(__name__)

_INSPECT_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Preflight:
    """What the checks found."""

    max_map_length: int
    dead_bins: list[Bin] = field(default_factory=list)
    """Bins whose queue no live worker consumes; nothing may be planned on them."""
    consumers: str = ""
    """How consumers were looked for, for the log."""
    routes: Routes | None = None
    """Pools and consumed queues, for the proof of the plan."""


def check(
    bins: Sequence[Bin], settings: Settings, *, dag_id: str, run_id: str, task_id: str, map_index: int
) -> Preflight:
    """Run all checks from inside a plan task.

    :raises RoutingError: naming what is missing and the remedy.
    """
    from tomas.airflow import policy

    if not bins:
        raise RoutingError("The store knows no bin.", remedy="Run `tomas db seed`, then `tomas airflow sync`.")
    if not policy.is_registered():
        raise RoutingError(
            "TOMAS's routing policy is not registered in this worker.",
            remedy="Install airflow-provider-tomas as a package (its entry point airflow.policy), not only its "
            "plugin file, on scheduler, API server, triggerer and workers, and restart them.",
        )
    answer = _ask([UNROUTED_POOL, *(item.pool for item in bins)], dag_id, run_id, task_id, map_index)
    check_pools(bins, answer["pools"])
    live, how = live_queues(sorted({item.queue for item in bins}), settings)
    dead = [] if live is None else [item for item in bins if item.queue not in live]
    if len(dead) == len(bins):
        queues = ",".join(sorted({item.queue for item in bins}))
        raise RoutingError(
            f"No live worker consumes any of the queues {queues} ({how}).",
            remedy=f"Start workers, e.g. `airflow celery worker --queues {bins[0].queue}`.",
        )
    routes = Routes(pools={name: int(pool["slots"]) for name, pool in answer["pools"].items()}, queues=live)
    return Preflight(max_map_length=int(answer["max_map_length"]), dead_bins=dead, consumers=how, routes=routes)


def _ask(pools: list[str], dag_id: str, run_id: str, task_id: str, map_index: int) -> dict[str, Any]:
    from tomas.airflow.xcom import read_row, write_row

    _answer_here_if_in_process()
    where = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id}
    write_row(PREFLIGHT_KEY, {"pools": pools}, map_index=map_index, **where)
    answer = read_row(PREFLIGHT_KEY, map_index=map_index, **where)
    if not isinstance(answer, dict) or not answer.get("answered"):
        raise RoutingError(
            "Airflow's API server runs without TOMAS: nobody answered the question about pools.",
            remedy="Install airflow-provider-tomas where API server, scheduler and triggerer run; restart them.",
        )
    if not answer.get("policy"):
        raise RoutingError(
            "TOMAS's routing policy is not registered in Airflow's API server.",
            remedy="Install airflow-provider-tomas there as a package, and restart the API server.",
        )
    return answer


def _answer_here_if_in_process() -> None:
    """Under ``dag.test()`` this very process is the API server; no plugin saw that when it was loaded."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.supervisor import InProcessSupervisorComms

    if isinstance(task_runner.SUPERVISOR_COMMS, InProcessSupervisorComms):
        from tomas.airflow import listeners

        listeners.install()


def check_pools(bins: Sequence[Bin], pools: dict[str, dict[str, Any]]) -> None:
    """Compare the pools that exist with those the bins need.

    :param pools: ``slots`` and ``include_deferred`` by name, of those that exist.
    :raises RoutingError: naming every pool that is missing or wrong.
    """
    wrong: list[str] = []
    for name, slots in [(UNROUTED_POOL, 1), *((item.pool, POOL_SIZE) for item in bins)]:
        pool = pools.get(name)
        if pool is None:
            wrong.append(f"pool {name} does not exist")
        elif slots == POOL_SIZE and pool["slots"] != POOL_SIZE:
            wrong.append(f"pool {name} has {pool['slots']} slots instead of {POOL_SIZE}")
        elif pool["slots"] < slots:
            wrong.append(f"pool {name} has no slot")
        elif pool["include_deferred"]:
            wrong.append(f"pool {name} counts deferred tasks")
    if wrong:
        raise RoutingError(
            f"Airflow's pools are not as the bins need them: {'; '.join(wrong)}.",
            remedy="Run `tomas airflow sync`.",
        )


def live_queues(queues: Sequence[str], settings: Settings) -> tuple[set[str] | None, str]:
    """Queues with a live consumer, and how that is known; None where it cannot be known.

    Each Celery worker that has TOMAS's connection in its environment holds a lock per queue in TOMAS's store.
    Workers without it are asked over the broker, if that can broadcast (Redis, RabbitMQ; a Postgres broker
    cannot). Other executors keep no register of consumers that a task could read.
    """
    from airflow.configuration import conf

    executor = conf.get("core", "executor")
    if "CeleryExecutor" not in executor:
        return None, f"consumers not checked: executor {executor} keeps no register of them"
    live: set[str] = set()
    asked: list[str] = []
    if settings.store.dsn is not None:
        from tomas.store.presence import announced_queues

        live = announced_queues(
            settings.store.dsn.get_secret_value(), queues, connect_timeout_s=settings.store.connect_timeout_s
        )
        asked.append("read the locks that workers hold in TOMAS's store")
    if live.issuperset(queues):
        return live, asked[0]
    from airflow.providers.celery.executors.celery_executor_utils import app

    with app.connection_for_read() as connection:
        can_broadcast = connection.supports_exchange_type("fanout")
    if can_broadcast:
        replies = app.control.inspect(timeout=_INSPECT_TIMEOUT_S).active_queues() or {}
        live |= {entry["name"] for worker in replies.values() for entry in worker}
        asked.append("asked the Celery workers")
    return (live, ", ".join(asked)) if asked else (None, "consumers not checked: the broker cannot broadcast")
