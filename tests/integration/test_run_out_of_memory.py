"""A local run with a store: a step that runs out of memory gets more, reserved where every other plan sees it."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from tomas.planner.inputs import request_input
from tomas.planner.service import make_plan
from tomas.runtime.local import run_plan
from tomas.schema import (
    Bin,
    CommandRunner,
    InputSize,
    InputSizeThresholds,
    Outcome,
    Plan,
    PlanRequest,
    Port,
    ProfileRow,
    ProfileSource,
    Reservation,
    Resources,
    Tool,
    WorkerClass,
    utc_now,
)
from tomas.store import Store
from tomas.tools.registry import Registry

CAPACITY = Resources(cpu_cores=100, cpu_mem_gb=2)
NEED_GB = 0.45
NOTHING = "import pathlib, sys; pathlib.Path(sys.argv[2]).write_text('[]')"
GROW = f"""
import sys, time
heap = []
while 32 * len(heap) < float(sys.argv[3]) * 1024:
    heap.append(b"x" * 2**25)
    time.sleep(0.05)
{NOTHING}
"""


def hungry(need_gb: float) -> Tool:
    """A tool that fills ``need_gb``."""
    return Tool(
        name="devour",
        family="test",
        description="Devour the documents.",
        aliases=["devour"],
        inputs=[Port(name="documents", type="text/plain")],
        outputs=[Port(name="records", type="application/jsonl")],
        input_size=InputSizeThresholds(small_max_bytes=1000, medium_max_bytes=100000),
        runner=CommandRunner(
            argv=[sys.executable, "-c", GROW, "{input}", "{output}", str(need_gb)], output_suffix=".jsonl"
        ),
    )


@pytest.fixture
def registry(store: Store) -> Registry:
    """The store knows one bin, and the tool as one that takes half a minute and little memory."""
    place = Bin(name="small_1", worker_class="small", queue="q", pool="p", capacity=CAPACITY)
    store.upsert_worker_classes([WorkerClass(name="small", capacity=CAPACITY, bins=[place])])
    row = ProfileRow(
        tool="devour",
        input_size=InputSize.SMALL,
        input_bytes=18,
        cpu_core=1,
        cpu_mem_gb=0.0625,
        latency_ms=30_000,
        peak_mem_gb=0.05,
        source=ProfileSource.MEASURED,
    )
    store.replace_profiles([row] * 40)
    return Registry.load()


def released(store: Store, registry: Registry, tmp_path: Path, need_gb: float) -> Plan:
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time.\n", encoding="utf-8")
    request = PlanRequest(
        task="Devour the documents",
        inputs={"documents": request_input("documents", str(text))},
        tools=[hungry(need_gb)],
        allowed_tools=["devour"],
    )
    return make_plan(request, store=store, registry=registry)


class Watch(threading.Thread):
    """Reads what is reserved now, again and again."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store, self.done = store, threading.Event()
        self.seen: list[Reservation] = []

    def run(self) -> None:
        while not self.done.wait(0.05):
            self.seen += self.store.reservations(now := utc_now(), now)

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join()


def test_the_larger_need_is_reserved_while_the_try_runs(store: Store, registry: Registry, tmp_path: Path) -> None:
    plan = released(store, registry, tmp_path, NEED_GB)
    (step,) = plan.steps
    assert step.allocation.final.cpu_mem_gb < NEED_GB
    with Watch(store) as watch:
        records = run_plan(plan, registry, store, artifacts_dir=tmp_path / "out")
    *broken, last = records
    assert broken
    assert {record.usage.outcome for record in broken} == {Outcome.OUT_OF_MEMORY}
    assert last.usage.outcome is Outcome.SUCCESS
    assert [record.requested for record in store.records(plan.id)] == [record.requested for record in records]
    seen = {item.need.cpu_mem_gb for item in watch.seen}
    assert seen == {record.requested.cpu_mem_gb for record in records}
    assert store.stored_reservations(plan_id=plan.id) == [], "all is given back"


def test_it_waits_until_another_plan_leaves_room(
    store: Store, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tomas.runtime.escalation.ROOM_POLL_S", 0.1)
    plan = released(store, registry, tmp_path, NEED_GB)
    other = released(store, registry, tmp_path, 0.01)
    (place,) = store.bins()
    store.grow_reservation(other.id, "s1", place, CAPACITY, 100, at=utc_now(), even_if_full=True)
    began = utc_now()
    freeing = threading.Timer(4.0, lambda: store.release_plan_reservations(other.id))
    freeing.start()
    records = run_plan(plan, registry, store, artifacts_dir=tmp_path / "out")
    freeing.join()
    first, second = records[:2]
    assert records[-1].usage.outcome is Outcome.SUCCESS
    assert first.started_at < began + timedelta(seconds=4), "what the plan reserved is its own"
    assert second.started_at >= began + timedelta(seconds=4)
    assert second.waited_ms > 0
