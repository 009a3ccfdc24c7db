"""Many planners at once, each a process of its own with one connection: started as a script by the tests.

It reads one JSON object from standard input, ``{"dsn": …, "planners": [{"name": …, "role": …, …}, …]}``, forks a
process per planner, lets all of them start at the same instant once all are connected, and ends when the last one
has. Each planner writes lines of JSON to standard output: ``{"planner": …, "role": …, "pid": …, "event": …, …}``.
Whoever reads them may kill a planner that says ``holding``: it waits for that inside its transaction, locks held.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from psycopg2.extensions import cursor

from tomas.config import PlannerSettings, Settings, StoreSettings
from tomas.errors import PlanRejected, StoreUnavailable
from tomas.planner.service import make_plan
from tomas.schema import Plan, PlanOrigin, PlanRequest, PlanStatus, RequestInput, utc_now
from tomas.store import Store
from tomas.tools.registry import Registry

T = TypeVar("T")

REGISTRY = Registry.load(Path(__file__).parents[3] / "data/tool_registry/tools.json")
IMAGES = {"images": RequestInput(type="image/*", uris=["s3://in/a.png"], bytes=500_000)}
TASKS = (
    "Detect faces in the images",
    "Classify the images and find duplicates",
    "Caption the images, classify them, and combine all in a report",
    "对一批图片进行分类",
)
SETTINGS = Settings(planner=PlannerSettings(schedule_limit_s=0.05))
"""A short search: what is tested is the race for capacity, not the schedule."""
PATIENCE_S = 120
"""How long a plan whose store is unavailable is asked for again, as Airflow's ``retries`` would."""


class Planner(Store):
    """A store that counts what happened to it, and can stop where a test wants to kill it."""

    conflicts = 0
    under_lock = 0
    stop_at: str | None = None
    tell: Callable[..., None]

    def release_plan(self, plan: Plan, reservations: Any, verify: Callable[..., None]) -> Plan:
        def watched(others: Any) -> None:
            if self.stop_at == "verify":
                self._hold(plan.id)
            verify(others)

        try:
            return super().release_plan(plan, reservations, watched)
        except PlanRejected:
            self.conflicts += 1
            raise

    def release_under_lock(self, *arguments: Any) -> Plan:
        self.under_lock += 1
        return super().release_under_lock(*arguments)

    def _transaction(self, work: Callable[[cursor], T], *, repeatable: bool = False) -> T:
        def watched(cur: cursor) -> T:
            result = work(cur)
            if self.stop_at == "commit" and isinstance(result, Plan):
                self._hold(result.id)  # everything is inserted, nothing committed
            return result

        return super()._transaction(watched, repeatable=repeatable)

    def _hold(self, plan_id: str) -> None:
        self.tell("holding", plan=plan_id)
        time.sleep(60)


class Member:
    """One planner of the fleet: a role, a connection, and a voice.

    :param key: an idempotency key that it shares with others; None: one of its own for each plan.
    :param origin: run id of an origin that it shares with others; None: its own.
    :param plans: how many it makes, each superseding the one before.
    :param ago_s: how long ago its plans are taken to be asked for.
    :param gives_back: whether it ends each plan as soon as it has it.
    :param reclaims_s: for how long it does nothing but expire reservations; 0: it plans.
    """

    def __init__(
        self,
        dsn: str,
        name: str,
        role: str,
        *,
        key: str | None = None,
        origin: str | None = None,
        plans: int = 1,
        ago_s: float = 0.0,
        gives_back: bool = False,
        reclaims_s: float = 0.0,
        stop_at: str | None = None,
        lock_timeout_ms: int = 60_000,
        statement_timeout_ms: int = 15_000,
    ) -> None:
        self.name, self.role = name, role
        self.key, self.plans, self.ago_s = key, plans, ago_s
        self.gives_back, self.reclaims_s = gives_back, reclaims_s
        self.origin = PlanOrigin(dag_id="d", run_id=origin or name, task_id="plan") if key is None else None
        self.random = random.Random(name)  # noqa: S311 - a choice of tasks, no secret
        settings = StoreSettings(
            max_connections=1, lock_timeout_ms=lock_timeout_ms, statement_timeout_ms=statement_timeout_ms
        )
        self.store = Planner(f"{dsn}?application_name={role}", settings)
        self.store.stop_at = stop_at
        self.store.tell = self.tell

    def tell(self, event: str, **fields: Any) -> None:
        line = {"planner": self.name, "role": self.role, "pid": os.getpid(), "event": event, **fields}
        os.write(1, json.dumps(line).encode() + b"\n")  # one write: lines of different processes never mix

    def run(self) -> None:
        self.tell("running")
        until = time.monotonic() + self.reclaims_s
        while time.monotonic() < until:
            self.tell("reclaimed", count=self.store.expire_reservations())
            time.sleep(0.02)
        for generation in range(0 if self.reclaims_s else self.plans):
            made = self._plan(self.key or f"{self.name}/{generation}")
            if self.gives_back:
                self._give_back(made, generation)
        self.tell("done")

    def _plan(self, key: str) -> Plan:
        """Plan until a plan comes back; the time of all tries is told."""
        asked = PlanRequest(
            task=self.random.choice(TASKS),
            inputs=IMAGES,
            idempotency_key=key,
            origin=self.origin,
            allow_unavailable=True,
        )
        begun, unavailable = time.perf_counter(), 0
        self.store.conflicts = self.store.under_lock = 0
        while True:
            try:
                made = make_plan(
                    asked,
                    store=self.store,
                    registry=REGISTRY,
                    settings=SETTINGS,
                    now=utc_now() - timedelta(seconds=self.ago_s),
                )
            except StoreUnavailable as error:
                unavailable += 1
                if time.perf_counter() - begun > PATIENCE_S:
                    raise
                self.tell("unavailable", error=error.what)
                time.sleep(0.05)
            else:
                break
        self.tell(
            "planned",
            plan=made.id,
            key=key,
            ms=(time.perf_counter() - begun) * 1000,
            conflicts=self.store.conflicts,
            under_lock=self.store.under_lock,
        )
        return made

    def _give_back(self, made: Plan, generation: int) -> None:
        """End a plan, each time in another of the ways in which plans end."""
        if generation % 3 == 0:
            for step in made.steps:
                self.store.release_reservation(made.id, step.id)
        elif generation % 3 == 1:
            self.store.set_plan_status(made.id, PlanStatus.SUCCEEDED)
        else:
            self.store.release_plan_reservations(made.id)
        self.tell("returned", plan=made.id)


def _child(dsn: str, fields: dict[str, Any], gate: int, ready: int) -> None:
    member = Member(dsn, **fields)
    try:
        try:
            member.store.bins()
        finally:
            os.write(ready, b".")
        os.read(gate, 1)  # returns when the parent closes its end
        member.run()
        member.store.close()
    except BaseException as error:  # noqa: BLE001 - the parent's interpreter must not go on in this process
        member.tell("failed", error=f"{type(error).__name__}: {error}\n{traceback.format_exc()}"[:3000])
        os._exit(1)
    os._exit(0)


def main() -> None:
    """Fork the fleet, open the gate, wait for all."""
    order = json.loads(sys.stdin.read())
    with Store(order["dsn"], StoreSettings(max_connections=1)) as store:
        profiles, classes = store.profiles(), store.worker_classes()
    # What every planner would compute for itself is computed once, before the fork.
    for task in TASKS:
        make_plan(
            PlanRequest(task=task, inputs=IMAGES, allow_unavailable=True),
            store=None,
            registry=REGISTRY,
            settings=SETTINGS,
            profiles=profiles,
            worker_classes=classes,
        )
    gate, opener = os.pipe()
    heard, ready = os.pipe()
    for fields in order["planners"]:
        if os.fork() == 0:
            os.close(opener)
            _child(order["dsn"], fields, gate, ready)
    for _ in order["planners"]:
        os.read(heard, 1)
    os.close(opener)
    for _ in order["planners"]:
        os.wait()


if __name__ == "__main__":
    main()
