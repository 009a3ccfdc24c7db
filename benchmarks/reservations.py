"""How fast planners reserve on one Postgres: 1, 10 and 100 of them at once, each a process with a connection.

Every planner asks for one plan of one to four steps on the same three bins, so that all compete for the same
capacity. Prints a table and ends with one line of JSON. With ``--schedule-limit 0`` the list schedule alone is
measured.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tomas.config import PlannerSettings, Settings, StoreSettings
from tomas.demo.postgres import EmbeddedPostgres
from tomas.errors import PlanRejected, TomasError
from tomas.planner.service import make_plan
from tomas.schema import Bin, Plan, PlanRequest, RequestInput, Reservation, Resources, WorkerClass
from tomas.store import Store
from tomas.store.plans import Make
from tomas.tools.data import load_profiles
from tomas.tools.registry import Registry

TASKS = (
    "Detect faces in the images",
    "Classify the images and find duplicates",
    "Caption the images, classify them, and combine all in a report",
    "对一批图片进行分类",
)
CAPACITIES = (
    Resources(cpu_cores=1, cpu_mem_gb=2),
    Resources(cpu_cores=2, cpu_mem_gb=4),
    Resources(cpu_cores=4, cpu_mem_gb=8),
)
IMAGES = {"images": RequestInput(type="image/*", uris=["s3://in/a.png"], bytes=500_000)}


class Outcome(NamedTuple):
    """What one planner met."""

    took_ms: float
    lost: int
    """Schedules that another plan, or the clock, made useless."""
    under_lock: int
    error: str | None


class CountingStore(Store):
    """A store that counts lost races."""

    lost = 0
    under_lock = 0

    def release_plan(self, plan: Plan, reservations: list[Reservation], verify: object) -> Plan:
        try:
            return super().release_plan(plan, reservations, verify)  # type: ignore[arg-type]
        except PlanRejected:
            self.lost += 1
            raise

    def release_under_lock(self, plan_id: str, request: PlanRequest, bins: object, make: Make) -> Plan:
        self.under_lock += 1
        return super().release_under_lock(plan_id, request, bins, make)  # type: ignore[arg-type]


def _planner(
    dsn: str, number: int, settings: Settings, ready: multiprocessing.Queue[int], go: Event,
    done: multiprocessing.Queue[Outcome],
) -> None:  # fmt: skip
    registry = Registry.load()
    request = PlanRequest(task=TASKS[number % len(TASKS)], inputs=IMAGES, allow_unavailable=True)
    with CountingStore(dsn, StoreSettings(max_connections=1)) as store:
        profiles, classes = store.profiles(), store.worker_classes()
        make_plan(
            request, store=None, registry=registry, settings=settings, profiles=profiles, worker_classes=classes
        )
        ready.put(number)
        go.wait()
        begun = time.perf_counter()
        error = None
        try:
            make_plan(request, store=store, registry=registry, settings=settings)
        except TomasError as failure:
            error = f"{type(failure).__name__}: {failure.what}"
        done.put(Outcome((time.perf_counter() - begun) * 1000.0, store.lost, store.under_lock, error))


def _seed(dsn: str) -> None:
    with Store(dsn) as store:
        store.migrate()
        store.upsert_tools(Registry.load())
        store.replace_profiles(load_profiles())
        classes = []
        for number, capacity in enumerate(CAPACITIES):
            name = f"bin_{number}"
            place = Bin(name=name, worker_class=f"class_{number}", queue=name, pool=name, capacity=capacity)
            classes.append(WorkerClass(name=place.worker_class, capacity=capacity, bins=[place]))
        store.upsert_worker_classes(classes)


def measure(dsn: str, planners: int, settings: Settings) -> dict[str, float | int]:
    """Let ``planners`` plan at once on a freshly seeded database."""
    _seed(dsn)
    context = multiprocessing.get_context("fork")
    ready: multiprocessing.Queue[int] = context.Queue()
    done: multiprocessing.Queue[Outcome] = context.Queue()
    go = context.Event()
    processes = [
        context.Process(target=_planner, args=(dsn, number, settings, ready, go, done))
        for number in range(planners)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.get(timeout=300)
    begun = time.perf_counter()
    go.set()
    outcomes = [done.get(timeout=900) for _ in processes]
    wall_s = time.perf_counter() - begun
    for process in processes:
        process.join()
    for text in sorted({item.error for item in outcomes if item.error}):
        print(f"  failed: {text}", file=sys.stderr)
    times = sorted(item.took_ms for item in outcomes)
    released = sum(item.error is None for item in outcomes)
    return {
        "planners": planners,
        "released": released,
        "plans_per_s": round(released / wall_s, 2),
        "p50_ms": round(median(times)),
        "p95_ms": round(times[max(0, round(0.95 * len(times)) - 1)]),
        "max_ms": round(times[-1]),
        "lost_races": sum(item.lost for item in outcomes),
        "under_lock": sum(item.under_lock for item in outcomes),
    }


def main() -> None:
    """Measure each number of planners on a database of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planners", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--schedule-limit", type=float, default=None, help="seconds; default: the setting's")
    chosen = parser.parse_args()
    planner = PlannerSettings()
    if chosen.schedule_limit is not None:
        planner = planner.model_copy(update={"schedule_limit_s": chosen.schedule_limit})
    settings = Settings(planner=planner)
    figures = []
    with (
        tempfile.TemporaryDirectory(prefix="tomas-reservations-") as folder,
        EmbeddedPostgres(Path(folder) / "data", durable=True) as server,
    ):
        for count in chosen.planners:
            dsn = server.create_database(f"planners_{count}", "tomas", "tomas")
            figures.append(measure(dsn, count, settings))
            print("  ".join(f"{name} {value}" for name, value in figures[-1].items()), flush=True)
    print(json.dumps({"schedule_limit_s": settings.planner.schedule_limit_s, "reservations": figures}))
    sys.exit(any(item["released"] != item["planners"] for item in figures))


if __name__ == "__main__":
    main()
