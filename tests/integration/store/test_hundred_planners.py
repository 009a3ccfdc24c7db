"""A hundred planners at once on three bins: never overbooked, no deadlock, nobody starves, nothing is left behind.

Every planner is a process with a connection of its own and runs the real ``make_plan``. What is proven is read back
with plain SQL that shares nothing with the product.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from tests.integration.store.fleet import REGISTRY
from tomas.demo.postgres import EmbeddedPostgres
from tomas.schema import Bin, ProfileRow, Resources, WorkerClass, utc_now
from tomas.store import Store

CAPACITIES = {
    "small": Resources(cpu_cores=1, cpu_mem_gb=2),
    "large": Resources(cpu_cores=2, cpu_mem_gb=3),
    "device": Resources(cpu_cores=2, cpu_mem_gb=4, gpu_sm=100, gpu_mem_gb=8),
}

# The load of a bin only rises where a reservation starts. Instants are stored in microseconds.
OVERBOOKED = """
SELECT a.bin, a.start_at, sum(b.cpu_cores), sum(b.cpu_mem_gb), sum(b.gpu_sm), sum(b.gpu_mem_gb), sum(b.slots)
FROM tomas.reservation a
JOIN tomas.reservation b ON b.bin = a.bin AND b.start_at <= a.start_at
                        AND b.end_at > a.start_at + interval '10 microseconds'
JOIN tomas.bin ON bin.name = a.bin
JOIN tomas.worker_class c ON c.name = bin.worker_class
WHERE a.state = ANY(%(states)s) AND b.state = ANY(%(states)s)
  AND a.start_at >= %(since)s AND b.start_at >= %(since)s
GROUP BY a.plan_id, a.step_id, a.bin, a.start_at, c.name
HAVING sum(b.cpu_cores) > c.cpu_cores + 1e-6 OR sum(b.cpu_mem_gb) > c.cpu_mem_gb + 1e-6
    OR sum(b.gpu_sm) > c.gpu_sm + 1e-6 OR sum(b.gpu_mem_gb) > c.gpu_mem_gb + 1e-6 OR sum(b.slots) > 100
"""
LIMIT_S = 240.0
EVER = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


@pytest.fixture
def seeded(fresh_dsn: str) -> str:
    """A database with the registry, one bin of each class, and 2 s of history for every tool."""
    rows = [
        ProfileRow(
            tool=tool.name, input_size="small", input_bytes=500_000, cpu_core=1, cpu_mem_gb=2, latency_ms=2000 + i,
            peak_mem_gb=0.3, output_bytes=1000, source="given",
        )
        for tool in REGISTRY for i in range(3)
    ]  # fmt: skip
    on_device = {"gpu_sm": 40, "gpu_mem_gb": 3, "latency_ms": 900}
    with Store(fresh_dsn) as store:
        store.upsert_tools(REGISTRY)
        store.upsert_worker_classes(
            WorkerClass(
                name=name,
                capacity=capacity,
                bins=[
                    Bin(
                        name=f"{name}_1", worker_class=name, queue=f"q_{name}", pool=f"p_{name}", capacity=capacity,
                        gpu_index=0 if capacity.gpu_sm else None,
                    )
                ],
            )
            for name, capacity in CAPACITIES.items()
        )  # fmt: skip
        store.replace_profiles(
            [*rows, *(row.model_copy(update=on_device) for row in rows if row.tool == "image_captioning")]
        )
    return fresh_dsn


def roster() -> list[dict[str, Any]]:
    """The hundred: who does what."""
    members = [{"role": "single"} for _ in range(22)]
    members += [{"role": "same_key", "key": f"key{i % 4}"} for i in range(16)]
    members += [{"role": "same_origin", "origin": f"origin{i % 3}", "plans": 2} for i in range(15)]
    members += [{"role": "replanner", "plans": 3} for _ in range(10)]
    members += [{"role": "returner", "plans": 3, "gives_back": True} for _ in range(9)]
    members += [{"role": "of_the_past", "plans": 2, "ago_s": 3600} for _ in range(4)]
    members += [{"role": "impatient", "lock_timeout_ms": 50} for _ in range(3)]
    members += [{"role": "impatient", "statement_timeout_ms": 100} for _ in range(2)]
    members += [{"role": "victim", "plans": 3} for _ in range(6)]
    members += [{"role": "doomed_verifying", "stop_at": "verify"} for _ in range(4)]
    members += [{"role": "doomed_committing", "stop_at": "commit"} for _ in range(4)]
    members += [{"role": "doomed_anywhere", "plans": 1000} for _ in range(4)]
    members += [{"role": "reclaimer", "reclaims_s": 5}]
    return [{"name": f"{number:02}_{fields['role']}", **fields} for number, fields in enumerate(members)]


class Fleet:
    """The planners' processes, what they said, and the hand that kills some of them."""

    def __init__(self, dsn: str, planners: list[dict[str, Any]], log: Path) -> None:
        self.events: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.killed: set[str] = set()
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("fleet.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._process.stdin is not None
        with self._process.stdin as order:
            json.dump({"dsn": dsn, "planners": planners}, order)

    def watch(self, on_event: Callable[[dict[str, Any]], None]) -> int:
        """Read until the last planner has ended; the exit status of the fleet."""
        assert self._process.stdout is not None
        limit = threading.Timer(LIMIT_S, self.stop)
        limit.start()
        with self._process.stdout as lines:
            for line in lines:
                event = json.loads(line)
                self.events[event["event"]].append(event)
                on_event(event)
        limit.cancel()
        return self._process.wait(10)

    def kill(self, event: dict[str, Any]) -> None:
        """SIGKILL the process that reported an event."""
        self.killed.add(event["planner"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(event["pid"], signal.SIGKILL)

    def stop(self) -> None:
        """End what still runs, if the test failed or took too long."""
        if self._process.poll() is None:
            for event in self.events["running"]:
                self.kill(event)
            self._process.kill()


class Auditor(threading.Thread):
    """Looks again and again, while the planners work, for an instant at which a bin is overbooked."""

    def __init__(self, dsn: str) -> None:
        super().__init__(name="auditor", daemon=True)
        self.found: list[Any] = []
        self.looks = self.most_connections = self.most_active = 0
        self.terminated = 0
        self.armed = threading.Event()
        """Set when the planners are at work: from then on connections are terminated too."""
        self._dsn = dsn
        self._end = threading.Event()

    def run(self) -> None:
        with connected(self._dsn) as query:
            while not self._end.wait(0.05):
                self.found += query(OVERBOOKED, states=["active"], since=EVER)
                ((connections, active),) = query(
                    "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND backend_type = 'client backend' AND pid <> pg_backend_pid()),"
                    " (SELECT count(*) FROM tomas.reservation WHERE state = 'active')"
                )
                self.looks += 1
                self.most_connections = max(self.most_connections, connections)
                self.most_active = max(self.most_active, active)
                if self.armed.is_set():
                    self.terminated += len(
                        query(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                            " WHERE application_name = 'victim' AND random() < 0.1"
                        )
                    )

    def finish(self) -> None:
        self._end.set()
        self.join(30)
        assert not self.is_alive()


@contextlib.contextmanager
def connected(dsn: str) -> Iterator[Callable[..., list[Any]]]:
    """``query(sql, **values)``, each in a transaction of its own."""
    link = psycopg2.connect(dsn)
    link.autocommit = True

    def query(text: str, **values: object) -> list[Any]:
        with link.cursor() as cur:
            cur.execute(text, values)
            return cur.fetchall()

    try:
        yield query
    finally:
        link.close()


def kill_the_doomed(fleet: Fleet, auditor: Auditor) -> Callable[[dict[str, Any]], None]:
    """Kill who waits inside a transaction after a moment, and some at an instant that nobody chose."""

    def on_event(event: dict[str, Any]) -> None:
        auditor.armed.set()
        if event["event"] == "holding":
            threading.Timer(0.1, fleet.kill, (event,)).start()
        elif event["event"] == "running" and event["role"] == "doomed_anywhere":
            number = int(event["planner"][:2])
            threading.Timer(1.5 + number % 4 * 1.7, fleet.kill, (event,)).start()

    return on_event


def test_a_hundred_planners_never_book_capacity_twice(
    seeded: str, postgres: EmbeddedPostgres, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    planners = roster()
    assert len(planners) == 100
    began, logged = utc_now(), postgres.log_file.stat().st_size
    auditor = Auditor(seeded)
    auditor.start()
    fleet = Fleet(seeded, planners, tmp_path / "fleet.log")
    try:
        status = fleet.watch(kill_the_doomed(fleet, auditor))
    finally:
        fleet.stop()
        auditor.finish()
    events = fleet.events
    assert status == 0
    assert events["failed"] == []

    # Nobody saw an overbooked bin, neither meanwhile nor now.
    assert auditor.found == []
    with connected(seeded) as query:
        assert query(OVERBOOKED, states=["active"], since=EVER) == []
        # What expired was held until its end: it counts too, but for plans of the past, which expire at once.
        assert query(OVERBOOKED, states=["active", "expired"], since=began) == []
        check_keys_and_origins(query, events)
        check_completeness(query, events)
        check_the_dead(query, events)
        assert query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]
        assert query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
        expired = query("SELECT count(*) FROM tomas.reservation WHERE state = 'expired'")[0][0]
    assert b"deadlock detected" not in postgres.log_file.read_bytes()[logged:]

    # Who was not killed has got every plan it asked for.
    doomed = {item["name"] for item in planners if item["role"].startswith("doomed")}
    assert fleet.killed >= doomed
    assert {event["planner"] for event in events["done"]} == {item["name"] for item in planners} - doomed

    # It was as hard as it was meant to be.
    conflicts = sum(event["conflicts"] for event in events["planned"])
    under_lock = sum(event["under_lock"] for event in events["planned"])
    assert conflicts >= 50
    assert under_lock >= 10
    assert Counter(event["role"] for event in events["holding"]) == {"doomed_verifying": 4, "doomed_committing": 4}
    assert "victim" in {event["role"] for event in events["unavailable"]}
    assert auditor.terminated >= 5
    assert auditor.looks >= 20
    assert auditor.most_connections >= 100
    assert auditor.most_active >= 50

    # Waiting for a hundred others is no reason to fail: only who was cut off or would not wait had to ask again.
    assert {event["role"] for event in events["unavailable"]} <= {"victim", "impatient"}
    times = sorted(event["ms"] for event in events["planned"])
    for name, value in {
        "plans": len(times),
        "conflicts": conflicts,
        "under_lock": under_lock,
        "expired": expired,
        "unavailable": len(events["unavailable"]),
        "terminated": auditor.terminated,
        "audits": auditor.looks,
        "p50_ms": round(times[len(times) // 2]),
        "p95_ms": round(times[len(times) * 95 // 100]),
    }.items():
        record_property(name, value)
        print(f"{name}={value}", end=" ")


def check_keys_and_origins(query: Callable[..., list[Any]], events: dict[str, list[dict[str, Any]]]) -> None:
    """One plan per key; one plan of an origin that holds, and it is the last."""
    by_key = defaultdict(set)
    for event in events["planned"]:
        by_key[event["key"]].add(event["plan"])
    assert all(len(plans) == 1 for plans in by_key.values())
    assert sum(event["role"] == "same_key" for event in events["planned"]) == 16
    assert query("SELECT 1 FROM tomas.plan GROUP BY idempotency_key HAVING count(*) > 1") == []
    assert (
        query(
            "SELECT run_id FROM tomas.plan WHERE dag_id IS NOT NULL GROUP BY run_id"
            " HAVING count(*) FILTER (WHERE status IN ('released', 'running')) > 1"
        )
        == []
    )
    raced = query(
        "SELECT run_id, count(*), count(*) FILTER (WHERE status = 'superseded') FROM tomas.plan"
        " WHERE left(run_id, 6) = 'origin' GROUP BY run_id ORDER BY run_id"
    )
    assert raced == [(f"origin{i}", 10, 9) for i in range(3)]
    assert (
        query(
            "SELECT r.plan_id FROM tomas.reservation r JOIN tomas.plan p ON p.id = r.plan_id"
            " WHERE p.status IN ('superseded', 'succeeded') AND r.state <> 'released'"
        )
        == []
    )


def check_completeness(query: Callable[..., list[Any]], events: dict[str, list[dict[str, Any]]]) -> None:
    """A plan that holds has exactly the reservations of its steps, of their size and at their time."""
    assert (
        query(
            "SELECT s.plan_id, s.step_id FROM tomas.plan_step s JOIN tomas.plan p ON p.id = s.plan_id"
            " LEFT JOIN tomas.reservation r ON r.plan_id = s.plan_id AND r.step_id = s.step_id AND r.bin = s.bin"
            " AND (r.cpu_cores, r.cpu_mem_gb, r.gpu_sm, r.gpu_mem_gb, r.slots)"
            "   = (s.cpu_cores, s.cpu_mem_gb, s.gpu_sm, s.gpu_mem_gb, s.pool_slots)"
            " AND abs(extract(epoch FROM r.start_at - p.release_at) * 1000 - s.start_ms) < 0.01"
            " AND abs(extract(epoch FROM r.end_at - p.release_at) * 1000 - s.end_ms) < 0.01"
            " WHERE r.plan_id IS NULL OR jsonb_array_length(p.body -> 'steps') <>"
            "   (SELECT count(*) FROM tomas.plan_step o WHERE o.plan_id = p.id)"
        )
        == []
    )
    held = query(
        "SELECT r.plan_id FROM tomas.reservation r JOIN tomas.plan p ON p.id = r.plan_id"
        " WHERE p.status = 'released' AND r.state = 'released'"
    )
    assert {plan for (plan,) in held} <= {event["plan"] for event in events["returned"]}
    stored = {plan for (plan,) in query("SELECT id FROM tomas.plan")}
    assert {event["plan"] for event in events["planned"]} <= stored
    # Between the last look at the clock and the insertion lie some milliseconds.
    late = query(
        "SELECT id FROM tomas.plan WHERE release_at < stored_at - interval '1 second' AND created_at > %(past)s",
        past=utc_now() - timedelta(minutes=30),
    )
    assert late == []


def check_the_dead(query: Callable[..., list[Any]], events: dict[str, list[dict[str, Any]]]) -> None:
    """A transaction that was killed left no row."""
    dead = [event["plan"] for event in events["holding"]]
    for table, column in (("plan", "id"), ("plan_step", "plan_id"), ("reservation", "plan_id")):
        assert query(f"SELECT 1 FROM tomas.{table} WHERE {column} = ANY(%(dead)s)", dead=dead) == []  # noqa: S608
