"""What the demo does to TOMAS's base at its start: seed it, and close what a killed run left open."""

from __future__ import annotations

from datetime import timedelta

from tomas.config import shared_file
from tomas.demo.seed import close_interrupted, seed_store
from tomas.planner.service import make_plan
from tomas.schema import ExecutionRecord, Outcome, PlanRequest, RequestInput, StepUsage, utc_now
from tomas.store import Store
from tomas.tools.registry import Registry


def test_seeding_twice_gives_the_same_bins(store: Store) -> None:
    bins = seed_store(store)
    assert {item.name for item in bins} == {"small_1", "large_1"}
    assert seed_store(store) == bins
    assert len(store.tools()) == len(Registry.load())
    assert store.profiles()


def test_steps_that_a_killed_stack_left_running_end_and_free_their_reservations(store: Store) -> None:
    seed_store(store)
    files = sorted(str(path) for path in shared_file("data/samples/images").glob("*.jpg"))
    request = PlanRequest(
        task="find duplicate images", inputs={"images": RequestInput(type="image/jpeg", uris=files, bytes=100_000)}
    )
    plan = make_plan(request, store=store, registry=Registry.load())
    step = plan.steps[0]
    now = utc_now()
    held = store.reservations(now, now + timedelta(hours=1))
    assert [item.step_id for item in held if item.plan_id == plan.id]
    record = ExecutionRecord(
        plan_id=plan.id,
        step_id=step.id,
        tool=step.tool,
        try_number=1,
        bin=step.bin,
        host="gone",
        requested=step.allocation.final,
        input_bytes=100,
        started_at=now,
        usage=StepUsage(wall_ms=10, peak_mem_gb=0.5, cpu_seconds=1, peak_cpu_cores=1, outcome=Outcome.RUNNING),
    )
    store.save_record(record)

    assert close_interrupted(store) == 1
    (closed,) = store.records(plan.id)
    assert closed.usage.outcome is Outcome.KILLED
    assert closed.usage.peak_mem_gb == 0.5
    assert closed.ended_at is not None
    left = store.reservations(now, now + timedelta(hours=1))
    assert not [item for item in left if (item.plan_id, item.step_id) == (plan.id, step.id)]
    assert close_interrupted(store) == 0
