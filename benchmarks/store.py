"""History at scale: how fast readings go into the indexed table, and what the planner's context costs then.

Starts a Postgres of its own with the settings that TOMAS ships (durable, 64 MB of shared buffers), loads samples
and execution records through the public methods, rolls the samples up, and reads the planner's whole context:
profiles, bins, models, newest records, call log, recent samples, hand-over, superseded plan, reservations. The
oldest tenth of the samples goes in as rows (``copy_rows``), the others as arrays (``copy_arrays``, the figures
``copy_…``). Prints progress and ends with one line of JSON. All times are wall times; processor times stand beside
them, because other work on the machine lengthens the one much and the other little.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import psutil

from benchmarks.store_rows import fleet, record_rows, sample_blocks, sample_rows, store_calls, store_plans
from tomas.config import Settings, StoreSettings
from tomas.demo.postgres import EmbeddedPostgres
from tomas.planner.context import load_context
from tomas.schema import PlanOrigin, PlanRequest, utc_now
from tomas.store import Store
from tomas.tools.data import load_profiles
from tomas.tools.registry import Registry
from tomas.training.retrain import retrain

T = TypeVar("T")
Figures = dict[str, Any]

PARTS = (
    *("profiles", "worker_classes", "current_model", "recent_records", "recent_calls", "recent_samples"),
    *("sample_arrays", "hand_over_ms", "plan_of_origin", "reservations"),
)
"""The methods of the store that make up a context."""
_BYTES_PER_SAMPLE, _BYTES_PER_RECORD = 450, 2500
_EVERY = 500_000


class TimedStore(Store):
    """A store that counts the time spent in each part of a context, in milliseconds."""

    spent: dict[str, float]
    cpu_ms: float
    """Processor time of this process in all parts."""


def _timed(name: str) -> Callable[..., Any]:
    original: Callable[..., Any] = getattr(Store, name)

    def method(self: TimedStore, *args: Any, **kwargs: Any) -> Any:
        begun, used = time.perf_counter(), time.thread_time()
        try:
            return original(self, *args, **kwargs)
        finally:
            self.cpu_ms += (time.thread_time() - used) * 1000.0
            self.spent[name] = self.spent.get(name, 0.0) + (time.perf_counter() - begun) * 1000.0

    return method


for _name in PARTS:
    setattr(TimedStore, _name, _timed(_name))


def main() -> None:
    """Load, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--bins", type=int, default=20)
    parser.add_argument("--plans", type=int, default=60, help="stored plans, each with an hour of forecast per bin")
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=40, help="contexts that are read")
    parser.add_argument("--home", type=Path, default=None, help="where the temporary folder is made")
    chosen = parser.parse_args()
    home = chosen.home or Path(tempfile.gettempdir())
    home.mkdir(parents=True, exist_ok=True)
    needed = chosen.samples * _BYTES_PER_SAMPLE + chosen.records * _BYTES_PER_RECORD + 2 * 2**30
    free = shutil.disk_usage(home).free
    if free < needed:
        sys.exit(f"{home} has {free / 2**30:.1f} GB free; {needed / 2**30:.1f} GB are needed. Give --home.")
    with (
        tempfile.TemporaryDirectory(prefix="tomas-store-", dir=home) as folder,
        EmbeddedPostgres(Path(folder) / "data", durable=True) as server,
        TimedStore(
            server.create_database("history", "tomas", "tomas"), StoreSettings(statement_timeout_ms=120_000)
        ) as store,
    ):
        figures = _measure(store, server, chosen)
    print(json.dumps(figures))


def _measure(store: TimedStore, server: EmbeddedPostgres, chosen: argparse.Namespace) -> Figures:
    store.spent, store.cpu_ms = {}, 0.0
    store.migrate()
    registry = Registry.load()
    store.upsert_tools(registry)
    store.replace_profiles(load_profiles())
    group = fleet(chosen.bins)
    store.upsert_worker_classes([group])
    now = utc_now().replace(microsecond=0)
    figures: Figures = {"samples": chosen.samples, "records": chosen.records, "bins": chosen.bins}

    newer = chosen.samples - chosen.samples // 10
    rows = sample_rows(group.bins, chosen.samples // 10, now, skip=newer)
    loaded = _clocked(server, lambda: store.copy_samples(_told("rows", rows), now=now, writers=chosen.writers))
    figures |= _rates("copy_as_rows", loaded, loaded["result"].stored)
    blocks = sample_blocks(group.bins, newer, now)
    loaded = _clocked(server, lambda: store.copy_arrays(_told("samples", blocks), now=now, writers=chosen.writers))
    figures |= _rates("copy", loaded, loaded["result"].stored)
    plans = store_plans(store, group.bins, registry.names, chosen.plans, now)
    store_calls(store, Settings().planner.kind, plans, now)
    lines = _told("records", record_rows(group.bins, registry.names, chosen.records, plans, now))
    loaded = _clocked(server, lambda: store.copy_records(lines, now=now, writers=chosen.writers))
    figures |= _rates("records", loaded, loaded["result"].stored)
    plans.clear()  # a planner does not hold the plans of others in memory
    rolled = _clocked(server, store.refresh_rollups)
    figures |= _rates("rollup", rolled, chosen.samples) | {"rollup_hours_of_bins": rolled["result"]}
    begin = now.replace(minute=0, second=0) - timedelta(hours=24)
    figures["rollups_equal_scan"] = store.rollups(begin, now) == store.scan_hours(begin, now + timedelta(hours=1))
    again = list(sample_rows(group.bins, min(chosen.samples, 200_000), now))
    repeated = _clocked(server, lambda: store.copy_samples(again, now=now, writers=chosen.writers))
    figures |= _rates("copy_again", repeated, len(again))

    figures |= _contexts(store, server, registry, now, chosen.repeats, "untrained_context")
    retrain(store, now - timedelta(days=1), now)
    figures |= _contexts(store, server, registry, now, chosen.repeats, "context")
    sizes = {item.name: round(item.bytes / 2**20) for item in store.table_stats()[:4]}
    half = now - chosen.samples // chosen.bins // 2 * timedelta(seconds=5)
    pruned = _clocked(server, lambda: store.prune_samples(half))
    figures |= {"prune_s": round(pruned["wall_s"], 1), "pruned_samples": pruned["result"].samples}
    return figures | {"megabytes": sizes, "cpu_count": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}


def _contexts(
    store: TimedStore, server: EmbeddedPostgres, registry: Registry, now: datetime, repeats: int, name: str
) -> Figures:
    """Read the whole context again and again; the first three warm up."""
    request = PlanRequest(
        task="Caption the images", origin=PlanOrigin(dag_id="captions", run_id="run-1", task_id="plan")
    )
    settings = Settings()
    whole, query, cpu = [], [], []
    postgres = 0.0
    parts: dict[str, list[float]] = {part: [] for part in PARTS}
    for number in range(repeats + 3):
        store.spent, store.cpu_ms = {}, 0.0
        if number == 3:
            postgres = _server_cpu_s(server)
        begun = time.perf_counter()
        context = load_context(
            request,
            store=store,
            registry=registry,
            settings=settings,
            profiles=None,
            worker_classes=None,
            now=now,
        )
        context.reservations(store, settings)
        if number >= 3:
            whole.append((time.perf_counter() - begun) * 1000.0)
            cpu.append(store.cpu_ms)
            query.append(sum(store.spent.values()))
            for part in PARTS:
                parts[part].append(store.spent.get(part, 0.0))
    read = context.snapshots["samples"].split()[1]
    print(f"{name}: samples {read}; {median(query):.1f} ms in the store", file=sys.stderr, flush=True)
    return {
        f"{name}_query_ms": round(median(query), 1),
        f"{name}_query_ms_p95": round(_p95(query), 1),
        f"{name}_query_ms_min": round(min(query), 1),
        f"{name}_whole_ms": round(median(whole), 1),
        f"{name}_query_cpu_ms": {
            "client": round(median(cpu), 1),
            "postgres": round((_server_cpu_s(server) - postgres) / repeats * 1000.0, 1),
        },
        f"{name}_parts_ms": {part: round(median(times), 2) for part, times in parts.items()},
    }


def _clocked(server: EmbeddedPostgres, work: Callable[[], Any]) -> Figures:
    """Result, wall seconds, and processor seconds of this process and of Postgres."""
    begun, client, postgres = time.perf_counter(), time.process_time(), _server_cpu_s(server)
    result = work()
    return {
        "result": result,
        "wall_s": time.perf_counter() - begun,
        "client_s": time.process_time() - client,
        "server_s": _server_cpu_s(server) - postgres,
    }


def _rates(name: str, clocked: Figures, rows: int) -> Figures:
    client, postgres = clocked["client_s"], clocked["server_s"]
    cores = min(2, os.cpu_count() or 1)
    return {
        f"{name}_rows_per_s": round(rows / clocked["wall_s"]),
        f"{name}_cpu_us_per_row": {
            "client": round(client / rows * 1e6, 2),
            "postgres": round(postgres / rows * 1e6, 2),
        },
        f"{name}_rows_per_s_of_two_cores": round(cores * rows / (client + postgres)),
    }


def _server_cpu_s(server: EmbeddedPostgres) -> float:
    """Processor seconds of all server processes; those that ended count in their parent."""
    root = psutil.Process(server.pid)
    own = root.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in root.children():
        used = child.cpu_times()
        total += used.user + used.system
    return float(total)


def _told(name: str, rows: Iterator[T]) -> Iterator[T]:
    begun, count, last = time.perf_counter(), 0, 0
    for row in rows:
        yield row
        count += sum(len(part.at_us) for part in row.values()) if isinstance(row, dict) else 1
        if count - last >= _EVERY:
            last, rate = count, count / (time.perf_counter() - begun)
            print(f"{name}: {count:,} rows, {rate:,.0f} rows/s", file=sys.stderr, flush=True)


def _p95(values: list[float]) -> float:
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)]


if __name__ == "__main__":
    main()
