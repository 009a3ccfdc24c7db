"""Exact dependencies inside one expansion: a step waits in the triggerer until its predecessors are done.

A waiting step holds no worker and no pool slot. All steps of a run that wait in one triggerer share one
reading of the siblings' states per interval, however many they are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from airflow.triggers.base import BaseTrigger, TaskSkippedEvent, TriggerEvent
from asgiref.sync import sync_to_async

from tomas.airflow.routing import ROUTING_KEY, decode_routing, route_of
from tomas.airflow.xcom import read_row

__all__ = ["PlanTrigger", "Verdict", "judge"]

_FAILED = frozenset({"failed", "upstream_failed", "removed"})
_FORGET_AFTER_S = 600.0
_PATIENCE = 10
"""Readings in a row that may fail (an API server that restarts) before the step gives up."""


@dataclass(frozen=True)
class Verdict:
    """What the states of its predecessors mean for a step."""

    kind: str
    """``wait``, ``go``, ``failed`` or ``skipped``."""
    causes: list[int] = field(default_factory=list)


def judge(predecessors: list[int], states: dict[int, str | None]) -> Verdict:
    """Decide whether a step may start; a failure anywhere among its predecessors weighs more than a skip."""
    failed = [i for i in predecessors if states.get(i) in _FAILED]
    if failed:
        return Verdict("failed", failed)
    skipped = [i for i in predecessors if states.get(i) == "skipped"]
    if skipped:
        return Verdict("skipped", skipped)
    if all(states.get(i) == "success" for i in predecessors):
        return Verdict("go")
    return Verdict("wait")


@dataclass
class _Siblings:
    """The last reading of the states of one expanded task."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    read_at: float = float("-inf")
    states: dict[int, str | None] = field(default_factory=dict)


_siblings: dict[tuple[str, str, str], _Siblings] = {}


async def _states(dag_id: str, run_id: str, task_id: str, *, max_age_s: float) -> dict[int, str | None]:
    """States of all instances by map index, at most ``max_age_s`` old; read once for all who wait."""
    now = time.monotonic()
    for stale in [key for key, entry in _siblings.items() if _FORGET_AFTER_S < now - entry.read_at < float("inf")]:
        del _siblings[stale]
    entry = _siblings.setdefault((dag_id, run_id, task_id), _Siblings())
    async with entry.lock:
        if time.monotonic() - entry.read_at >= max_age_s:
            entry.states = await sync_to_async(_read_states)(dag_id, run_id, task_id)
            entry.read_at = time.monotonic()
        return entry.states


def _read_states(dag_id: str, run_id: str, task_id: str) -> dict[int, str | None]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    found: dict[str, Any] = RuntimeTaskInstance.get_task_states(
        dag_id=dag_id, task_ids=[task_id], run_ids=[run_id]
    ).get(run_id, {})
    prefix = f"{task_id}_"
    return {
        int(name[len(prefix) :]): None if state is None else str(getattr(state, "value", state))
        for name, state in found.items()
        if name.startswith(prefix) and name[len(prefix) :].isdigit()
    }


class PlanTrigger(BaseTrigger):
    """Fires when all predecessors of this map index succeeded.

    A failed predecessor resumes the step as well: it then ends itself as failed with the reason, without
    using up its retries, which ``TaskFailedEvent`` would. A skipped predecessor skips the step.

    :param plan_task_id: the task whose XCom holds the routing.
    :param poll_s: seconds between two readings of the siblings' states.
    """

    def __init__(self, plan_task_id: str, poll_s: float = 0.5) -> None:
        super().__init__()
        self.plan_task_id = plan_task_id
        self.poll_s = poll_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, for the triggerer that continues."""
        return (
            "tomas.airflow.trigger.PlanTrigger",
            {"plan_task_id": self.plan_task_id, "poll_s": self.poll_s},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield one event: ``{"verdict", "causes", "ready_at"}``, or a skip."""
        ti = self.task_instance
        if ti is None:
            raise RuntimeError("PlanTrigger runs for a task instance only")
        routing = decode_routing(
            await sync_to_async(read_row)(
                ROUTING_KEY, dag_id=ti.dag_id, run_id=ti.run_id, task_id=self.plan_task_id
            )
        )
        route = route_of(routing, ti.task_id, ti.map_index)
        predecessors = route["after"]
        failures = 0
        while True:
            states: dict[int, str | None] = {}
            if predecessors:
                try:
                    states = await _states(ti.dag_id, ti.run_id, ti.task_id, max_age_s=self.poll_s)
                    failures = 0
                except Exception as error:
                    failures += 1
                    if failures >= _PATIENCE:
                        raise
                    self.log.warning("States of %s could not be read (%s); trying again", ti.task_id, error)
                    await asyncio.sleep(self.poll_s * failures)
                    continue
            verdict = judge(predecessors, states)
            if verdict.kind == "skipped":
                self.log.info("Step %s is skipped: predecessors %s were", route["step"], verdict.causes)
                yield TaskSkippedEvent()
                return
            if verdict.kind != "wait":
                yield TriggerEvent({"verdict": verdict.kind, "causes": verdict.causes, "ready_at": time.time()})
                return
            await asyncio.sleep(self.poll_s)
