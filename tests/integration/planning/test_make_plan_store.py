"""Planning against a real Postgres: release, idempotency, supersession, concurrency, the call log, models."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.integration.planning.world import (
    BINS,
    CAPACITY,
    TASK,
    all_reservations,
    released,
    request,
)
from tomas.config import PlannerSettings, Settings
from tomas.errors import ConfigError, Infeasible, NoToolMatches, PlanRejected
from tomas.planner import release
from tomas.schema import (
    ExecutionRecord,
    Outcome,
    Plan,
    PlannerCall,
    PlanOrigin,
    PlanStatus,
    Reservation,
    Resources,
    Sample,
    StepUsage,
)
from tomas.store import ReadFrom, Store


def test_a_plan_is_stored_with_a_reservation_per_step(seeded: Store) -> None:
    made = released(seeded)
    assert seeded.plan(made.id) == made
    held = {item.step_id: item for item in all_reservations(seeded)}
    assert set(held) == {step.id for step in made.steps}
    for step in made.steps:
        assert held[step.id].need == step.allocation.final
        assert held[step.id].start_at - made.release_at == pytest.approx(
            timedelta(milliseconds=step.start_ms), abs=timedelta(milliseconds=1)
        )


def test_a_second_plan_stays_out_of_the_way_of_the_first(seeded: Store) -> None:
    first, second = released(seeded), released(seeded)
    assert second.steps[0].start_ms > 0
    last = max(first.release_at + timedelta(milliseconds=step.end_ms) for step in first.steps)
    assert second.release_at + timedelta(milliseconds=second.makespan_ms) > last
    assert_never_overbooked(seeded)


def assert_never_overbooked(store: Store) -> None:
    for place in BINS:
        spans = sorted((r.start_at, r.end_at) for r in all_reservations(store) if r.bin == place.name)
        # Every step takes the only core, so no two may overlap.
        assert all(a[1] <= b[0] + timedelta(milliseconds=1) for a, b in pairwise(spans))


def test_plans_made_at_once_never_overbook_and_none_starves(seeded: Store) -> None:
    with ThreadPoolExecutor(12) as threads:
        made = list(threads.map(lambda _: released(seeded, "Detect faces in the images"), range(12)))
    assert len(all_reservations(seeded)) == len({plan.id for plan in made}) == 12
    assert_never_overbooked(seeded)


def test_capacity_that_is_taken_between_scheduling_and_release_makes_a_new_schedule(
    seeded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival: list[Plan] = []
    real = release.assemble

    def slow(*args: object) -> object:
        made = real(*args)
        if not rival:
            rival.append(None)  # type: ignore[arg-type]
            rival[0] = released(seeded, "Detect faces in the images")
        return made

    monkeypatch.setattr(release, "assemble", slow)
    released(seeded, "Find duplicates and classify the images")
    assert_never_overbooked(seeded)
    assert len(all_reservations(seeded)) == 3


def test_who_loses_every_race_is_scheduled_while_the_bins_are_locked(
    seeded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(planner=PlannerSettings(dispatch_lag_default_ms=60_000))  # there is time for another try
    limits: list[float] = []
    real = release.assemble

    def beaten(*args: Any) -> object:
        made = real(*args)
        if args[0].request.task == TASK:
            limits.append(args[4].planner.schedule_limit_s)
            if limits[-1] > 0:
                time.sleep(0.3)  # the rival's release is shorter than this schedule: nobody stands in line
                released(seeded, "Detect faces in the images", settings=settings)
        return made

    monkeypatch.setattr(release, "assemble", beaten)
    made = released(seeded, settings=settings)
    assert limits == [1.0, 1.0, 0.0], "twice beside the others, then the list schedule under the locks"
    assert_never_overbooked(seeded)
    assert len(all_reservations(seeded)) == len(made.steps) + 2


def test_a_plan_that_took_too_long_does_not_reserve_the_past(
    seeded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(planner=PlannerSettings(t_inf_default_ms=1, dispatch_lag_default_ms=200))
    slow = 0.5
    real = release.assemble

    def dawdle(*args: Any) -> object:
        time.sleep(slow)
        return real(*args)

    monkeypatch.setattr(release, "assemble", dawdle)
    made = released(seeded, settings=settings)
    done = datetime.now(UTC)
    waited = timedelta(milliseconds=made.t_inf_predicted_ms + made.dispatch_lag_predicted_ms)
    assert made.release_at - made.created_at == pytest.approx(waited, abs=timedelta(milliseconds=1))
    assert made.t_inf_predicted_ms > 1000 * slow, "predicted anew when the first schedule came too late"
    assert min(item.start_at for item in all_reservations(seeded)) == made.release_at
    assert made.release_at > done - timedelta(milliseconds=200)
    assert seeded.plan(made.id).release_at == made.release_at


def test_waiting_for_the_locks_counts_too(seeded: Store) -> None:
    settings = Settings(planner=PlannerSettings(t_inf_default_ms=1, dispatch_lag_default_ms=200))
    locked, waited_s = threading.Event(), 1.5

    def hold(_: ReadFrom) -> tuple[Plan, list[Reservation]]:
        locked.set()
        time.sleep(waited_s)
        raise PlanRejected("only the locks were wanted.")

    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(seeded.release_under_lock, "holder", request(), ["b1", "b2"], hold)
        assert locked.wait(20)
        began = datetime.now(UTC)
        made = released(seeded, settings=settings)
        assert isinstance(holder.exception(20), PlanRejected)
    assert made.release_at > began + timedelta(seconds=waited_s)
    assert min(item.start_at for item in all_reservations(seeded)) == made.release_at


def test_a_deadline_counts_from_the_request_however_often_the_plan_is_made(
    seeded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(planner=PlannerSettings(t_inf_default_ms=1, dispatch_lag_default_ms=200))
    real = release.assemble

    def dawdle(*args: Any) -> object:
        time.sleep(1.0)
        return real(*args)

    monkeypatch.setattr(release, "assemble", dawdle)
    # 2 s of work end 2.4 s after the request if all goes as predicted, but not when it is planned a second time.
    with pytest.raises(Infeasible, match="deadline"):
        released(seeded, "Detect faces in the images", settings=settings, deadline_s=2.8)
    assert all_reservations(seeded) == []


def test_a_step_that_starts_later_than_seen_is_seen_again(seeded: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rival = released(seeded, "Detect faces in the images")
    (held,) = all_reservations(seeded)
    real = release.assemble
    moved: list[datetime] = []

    def meanwhile(*args: Any) -> object:
        made = real(*args)
        if not moved:
            moved.append(held.start_at + timedelta(milliseconds=1500))
            run_started(seeded, rival, held.bin, moved[0])
        return made

    monkeypatch.setattr(release, "assemble", meanwhile)
    released(seeded, "Find duplicates, classify and caption the images", allow_unavailable=True)
    assert next(item for item in all_reservations(seeded) if item.plan_id == rival.id).start_at == moved[0]
    assert_never_overbooked(seeded)


def run_started(store: Store, plan: Plan, place: str, at: datetime) -> None:
    """The first heartbeat of a plan's first step."""
    store.save_record(
        ExecutionRecord(
            plan_id=plan.id, step_id=plan.steps[0].id, tool=plan.steps[0].tool, try_number=1, bin=place, host="h",
            requested=Resources(cpu_cores=1, cpu_mem_gb=1), input_bytes=500_000, started_at=at,
            usage=StepUsage(
                wall_ms=0, peak_mem_gb=0.1, cpu_seconds=0, peak_cpu_cores=1, outcome=Outcome.RUNNING
            ),
        )
    )  # fmt: skip


def test_the_same_key_returns_the_stored_plan(seeded: Store) -> None:
    first = released(seeded, idempotency_key="dag/run/task/-1/0")
    again = released(seeded, idempotency_key="dag/run/task/-1/0")
    assert again.id == first.id
    assert len(all_reservations(seeded)) == len(first.steps)
    assert len(seeded.recent_calls()) == 1


def test_a_new_plan_of_the_same_origin_takes_over_the_capacity(seeded: Store) -> None:
    origin = PlanOrigin(dag_id="d", run_id="r", task_id="t")
    first = released(seeded, origin=origin, idempotency_key="0")
    second = released(seeded, origin=origin, idempotency_key="1")
    assert seeded.plan(first.id).status is PlanStatus.SUPERSEDED
    assert second.steps[0].start_ms == 0
    assert {item.plan_id for item in all_reservations(seeded)} == {second.id}


def test_calls_are_logged_failed_ones_too_and_predict_the_next(seeded: Store) -> None:
    with pytest.raises(NoToolMatches):
        released(seeded, "Tell me a joke")
    (failed,) = seeded.recent_calls()
    assert (failed.error or "").startswith("NoToolMatches")
    assert failed.plan_id is None
    made = released(seeded)
    assert seeded.recent_calls()[0].plan_id == made.id
    for i in range(6):
        seeded.log_call(
            PlannerCall(
                at=datetime.now(UTC), planner="retrieval", task_chars=1, tools=1, steps=1, t_inf_ms=70 + i,
                dispatch_lag_ms=900,
            )
        )  # fmt: skip
    after = released(seeded)
    # Capacity is read from a moment that nine calls in ten keep to: of seven calls the slowest tells that.
    slowest = max(
        call.t_inf_ms for call in seeded.recent_calls() if call.error is None and call.plan_id != after.id
    )
    assert after.t_inf_predicted_ms == pytest.approx(slowest, abs=0.01)
    assert after.dispatch_lag_predicted_ms == 900


def test_samples_are_what_is_forecast(seeded: Store) -> None:
    now = datetime.now(UTC)
    background = Resources(cpu_mem_gb=1.9)
    seeded.add_samples(
        Sample(bin="b1", at=now - timedelta(seconds=i), free=CAPACITY.minus(background), background=background,
               reserved=Resources())
        for i in range(5)
    )  # fmt: skip
    made = released(seeded)
    assert {step.bin for step in made.steps} == {"b2"}
    assert {curve.bin: curve.source for curve in made.forecast} == {"b1": "samples", "b2": "declared"}


def test_busy_processors_are_planned_with_a_share_of_a_core(seeded: Store) -> None:
    now = datetime.now(UTC)
    for name in ("b1", "b2"):
        seeded.add_samples(
            Sample(bin=name, at=now - timedelta(seconds=i), free=CAPACITY, background=Resources(cpu_cores=1),
                   reserved=Resources())
            for i in range(5)
        )  # fmt: skip
    made = released(seeded)
    assert {step.allocation.final.cpu_cores for step in made.steps} <= {0.25, 0.5}
    assert any("share of a core" in warning for warning in made.warnings)


def test_nothing_is_reserved_while_inputs_are_missing(seeded: Store) -> None:
    made = released(seeded, "Classify the images", inputs={})
    assert any("Not released" in warning for warning in made.warnings)
    assert all_reservations(seeded) == []
    assert seeded.plans() == []


def test_an_unseeded_store_says_what_to_run(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"No worker bins are known.*tomas db seed"):
        released(store)


def test_a_horizon_full_of_other_plans_is_infeasible_within_the_deadline(seeded: Store) -> None:
    settings = Settings(planner=PlannerSettings(horizon_s=30))
    for _ in range(3):
        released(seeded, settings=settings)
    with pytest.raises(Infeasible, match="cannot end within its deadline"):
        released(seeded, settings=settings, deadline_s=6)


# --- learning from runs ----------------------------------------------------------------------------------
