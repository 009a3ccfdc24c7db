"""A store with tools, two one-core bins and a history, and plans made from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tomas.config import Settings
from tomas.planner.service import make_plan
from tomas.schema import (
    Bin,
    Plan,
    PlanRequest,
    ProfileRow,
    RequestInput,
    Reservation,
    Resources,
    WorkerClass,
)
from tomas.store import Store
from tomas.tools.registry import Registry

REGISTRY = Registry.load(Path(__file__).parents[3] / "data/tool_registry/tools.json")
CAPACITY = Resources(cpu_cores=1, cpu_mem_gb=2)
BINS = [Bin(name=f"b{i}", worker_class="small", queue=f"q{i}", pool=f"p{i}", capacity=CAPACITY) for i in (1, 2)]
IMAGES = {"images": RequestInput(type="image/*", uris=["s3://in/a.png"], bytes=500_000)}
TASK = "Classify the images, detect faces, find duplicates, and combine all in a report"


def seed(store: Store) -> None:
    """Seed a store with the registry, two one-core bins, and 2 s of history for every tool."""
    store.upsert_tools(REGISTRY)
    store.upsert_worker_classes([WorkerClass(name="small", capacity=CAPACITY, bins=BINS)])
    store.replace_profiles(
        ProfileRow(
            tool=tool.name, input_size="small", input_bytes=500_000, cpu_core=1, cpu_mem_gb=2, latency_ms=2000 + i,
            peak_mem_gb=0.3, output_bytes=1000, source="given",
        )
        for tool in REGISTRY for i in range(3)
    )  # fmt: skip


def request(task: str = TASK, **fields: object) -> PlanRequest:
    return PlanRequest(**{"task": task, "inputs": IMAGES, **fields})


def released(
    store: Store, task: str = TASK, *, settings: Settings | None = None, now_is: datetime | None = None,
    **fields: object,
) -> Plan:  # fmt: skip
    return make_plan(
        request(task, **fields), store=store, registry=REGISTRY, settings=settings or Settings(), now=now_is
    )


def all_reservations(store: Store) -> list[Reservation]:
    now = datetime.now(UTC)
    return store.reservations(now - timedelta(days=1), now + timedelta(days=1))
