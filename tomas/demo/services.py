"""Which processes a stack consists of, and when each of them is ready."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from tomas.demo.airflow_api import AirflowApi
from tomas.demo.environment import PLANNER_QUEUE
from tomas.demo.processes import Supervisor, died, tail
from tomas.demo.progress import Progress
from tomas.errors import TomasError
from tomas.schema import Bin

__all__ = [
    "AIRFLOW",
    "MIGRATION",
    "SAMPLER",
    "StackError",
    "finish_migration",
    "instant",
    "queues",
    "service_commands",
    "wait_ready",
]

AIRFLOW = [sys.executable, "-m", "airflow"]
SAMPLER = "sampler"
MIGRATION = "airflow-db-migrate"

_FALLBACK_QUEUE = "default"
"""What DAGs written for Airflow's usual default queue name; the planner's worker serves it too."""
_CONCURRENCY = 6
_TIMEOUT_S = 300.0
_HEALTH = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}
"""Services whose heartbeat Airflow's monitor tells, and their names there."""


class StackError(TomasError):
    """The stack did not come up, or is used before it is up."""


def queues(bins: Iterable[Bin]) -> list[str]:
    """Every queue that some worker of the stack consumes."""
    return [PLANNER_QUEUE, _FALLBACK_QUEUE, *(item.queue for item in bins)]


def service_commands(bins: Iterable[Bin]) -> dict[str, list[str]]:
    """The command line of each service, in the order of the start; one worker per bin.

    Workers serve no logs over HTTP: all of them write below one folder that the API server reads.
    """
    worker = [*AIRFLOW, "celery", "worker", "--skip-serve-logs", "--without-gossip", "--without-mingle"]
    commands = {
        "api-server": [*AIRFLOW, "api-server"],
        "scheduler": [*AIRFLOW, "scheduler", "--skip-serve-logs"],
        "dag-processor": [*AIRFLOW, "dag-processor"],
        "worker-planner": [*worker, "-c", "2", "-q", f"{PLANNER_QUEUE},{_FALLBACK_QUEUE}"],
    }
    for item in bins:
        commands[f"worker-{item.name}"] = [*worker, "-c", str(_CONCURRENCY), "-q", item.queue]
    commands["triggerer"] = [*AIRFLOW, "triggerer", "--skip-serve-logs"]
    commands[SAMPLER] = [sys.executable, "-c", "from tomas.cli import main; main()", "sampler"]
    return commands


def finish_migration(supervisor: Supervisor, progress: Progress) -> None:
    """Wait for ``airflow db migrate``, which was spawned as :data:`MIGRATION`.

    :raises ServiceDied: it failed.
    :raises StackError: it did not end in time.
    """
    service = supervisor.services[MIGRATION]
    deadline = time.monotonic() + _TIMEOUT_S
    while service.returncode is None:
        progress.waiting("airflow db migrate")
        if time.monotonic() > deadline:
            raise _late(supervisor, [MIGRATION])
        time.sleep(0.2)
    if service.returncode != 0:
        raise died(service)
    supervisor.forget(MIGRATION)


def wait_ready(supervisor: Supervisor, api: AirflowApi, progress: Progress, *, since: datetime) -> None:
    """Poll until every service has shown a sign of life of its own, younger than ``since``.

    :raises ServiceDied: one of them ended.
    :raises StackError: something is not ready in time.
    """
    waiting = list(supervisor.services)
    deadline = time.monotonic() + _TIMEOUT_S
    while True:
        supervisor.check()
        health = api.health()
        waiting = [name for name in waiting if not _is_ready(name, supervisor, health, since)]
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise _late(supervisor, waiting)
        progress.waiting(", ".join(waiting))
        time.sleep(0.5)


def _is_ready(name: str, supervisor: Supervisor, health: Mapping[str, Any], since: datetime) -> bool:
    if name.startswith("worker-"):
        # The broker has no broadcast to ask a worker by; Celery says this word when it consumes.
        return " ready." in tail(supervisor.log_path(name), lines=1000)
    part = _HEALTH.get(name, "metadatabase")
    state = health.get(part) or {}
    if state.get("status") != "healthy":
        return False
    # The base still holds the heartbeats of the run before.
    return part == "metadatabase" or instant(state.get(f"latest_{part}_heartbeat")) > since


def _late(supervisor: Supervisor, names: list[str]) -> StackError:
    log = supervisor.log_path(names[0])
    return StackError(
        f"Not ready after {_TIMEOUT_S:g} s: {', '.join(names)}. Last messages of {names[0]}:\n{tail(log)}\n",
        remedy=f"Read the logs in {log.parent}.",
    )


def instant(text: str | None) -> datetime:
    """An ISO time of Airflow's API; the beginning of time for None."""
    return datetime.fromisoformat(text) if text else datetime.min.replace(tzinfo=UTC)
