"""Planning against a real Postgres: release, idempotency, supersession, concurrency, the call log, models."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tomas.config import PlannerSettings, Settings
from tomas.errors import ConfigError, Infeasible, NoToolMatches, PlanRejected
from tomas.planner import release
from tomas.planner.service import make_plan
from tomas.schema import (
    Bin,
    ExecutionRecord,
    ModelVersion,
    Outcome,
    Plan,
    PlannerCall,
    PlanOrigin,
    PlanRequest,
    PlanStatus,
    ProfileRow,
    RequestInput,
    Reservation,
    Resources,
    Sample,
    StepUsage,
    WorkerClass,
)
from tomas.sizing import LearnedSizer
from tomas.store import ReadFrom, Store
from tomas.tools.registry import Registry
from tomas.training.retrain import retrain

REGISTRY = Registry.load(Path(__file__).parents[3] / "data/tool_registry/tools.json")
CAPACITY = Resources(cpu_cores=1, cpu_mem_gb=2)
BINS = [Bin(name=f"b{i}", worker_class="small", queue=f"q{i}", pool=f"p{i}", capacity=CAPACITY) for i in (1, 2)]
IMAGES = {"images": RequestInput(type="image/*", uris=["s3://in/a.png"], bytes=500_000)}
TASK = "Classify the images, detect faces, find duplicates, and combine all in a report"


@pytest.fixture
def seeded(store: Store) -> Store:
    """A store with the registry, two one-core bins, and 2 s of history for every tool."""
    store.upsert_tools(REGISTRY)
    store.upsert_worker_classes([WorkerClass(name="small", capacity=CAPACITY, bins=BINS)])
    store.replace_profiles(
        ProfileRow(
            tool=tool.name, input_size="small", input_bytes=500_000, cpu_core=1, cpu_mem_gb=2, latency_ms=2000 + i,
            peak_mem_gb=0.3, output_bytes=1000, source="given",
        )
        for tool in REGISTRY for i in range(3)
    )  # fmt: skip
    return store


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

DAY = timedelta(days=1)
FIRST = datetime(2026, 3, 1, tzinfo=UTC)


def run(
    store: Store, plan: Plan, number: int, ended: datetime, wall_ms: float, tool: str = "object_detection"
) -> None:
    store.save_record(
        ExecutionRecord(
            plan_id=plan.id, step_id="s1", tool=tool, try_number=number, bin="b1", host="h",
            requested=Resources(cpu_cores=1, cpu_mem_gb=1), input_bytes=500_000, output_bytes=100,
            started_at=ended - timedelta(milliseconds=wall_ms), ended_at=ended,
            usage=StepUsage(
                wall_ms=wall_ms, peak_mem_gb=0.6, cpu_seconds=1, peak_cpu_cores=1, outcome=Outcome.SUCCESS
            ),
        )
    )  # fmt: skip


@pytest.fixture
def three_days(seeded: Store) -> Store:
    """Runs of object detection on three days: 1, 2 and 9 seconds each."""
    for day, wall_ms in enumerate((1000, 2000, 9000)):
        for i in range(5):
            made = released(seeded, "Detect faces in the images")
            run(seeded, made, 1, FIRST + day * DAY + timedelta(hours=i + 1), wall_ms)
            seeded.log_call(
                PlannerCall(
                    at=FIRST + day * DAY + timedelta(hours=i), planner="retrieval", task_chars=1, tools=1, steps=1,
                    t_inf_ms=100.0 * (day + 1), dispatch_lag_ms=10.0 * (day + 1), plan_id=made.id,
                )
            )  # fmt: skip
            seeded.release_plan_reservations(made.id)
    return seeded


def p50(model: ModelVersion | None) -> float:
    """What a version foretells of object detection, in ms."""
    assert model is not None
    return float(LearnedSizer.from_payload(model.payload).times_ms("object_detection", 500_000, [1])[0, 0])


def test_each_interval_sees_only_its_past(three_days: Store) -> None:
    foretold = []
    for day in range(3):
        model = retrain(three_days, FIRST + day * DAY, FIRST + (day + 1) * DAY)
        assert model.metrics["records"] == 5
        foretold.append(p50(model))
        latency = three_days.current_model("latency")
        assert latency is not None
        assert latency.payload["t_inf_p50_ms"] == 100.0 * (day + 1)
        assert latency.payload["dispatch_lag_p50_ms"] == 10.0 * (day + 1)
    assert foretold[0] == pytest.approx(1000, rel=0.01)
    assert 1000 < foretold[1] < 2100 < 4000 < foretold[2] < 12_000


def test_a_challenger_is_promoted_where_it_foretells_the_next_interval_better(three_days: Store) -> None:
    first = retrain(three_days, FIRST, FIRST + DAY)
    assert first.promoted, "there was no champion"
    second = retrain(three_days, FIRST + DAY, FIRST + 2 * DAY)
    assert not second.promoted
    assert "challenger_loss" not in second.metrics, "there was nobody to judge but the champion"
    assert three_days.current_model("sizing").version == first.version  # type: ignore[union-attr]
    third = retrain(three_days, FIRST + 2 * DAY, FIRST + 3 * DAY)
    assert third.metrics["judged_steps"] == 5
    assert third.metrics["challenger_loss"] < third.metrics["champion_loss"]
    assert third.metrics["better_by_chance"] == 1 / 32
    assert third.metrics["challenger_promoted"] == 1.0
    assert third.metrics["champion_latency_within_p90"] == 0.0
    current = three_days.current_model("sizing")
    assert current is not None
    assert current.version == second.version
    assert third.parent == second.version


def test_a_challenger_that_is_no_better_stays_one(three_days: Store) -> None:
    first = retrain(three_days, FIRST, FIRST + DAY)
    retrain(three_days, FIRST + DAY, FIRST + 2 * DAY)
    for hour in range(6):  # as on the first day, which the champion foretells better
        made = released(three_days, "Detect faces in the images")
        run(three_days, made, 1, FIRST + 5 * DAY + timedelta(hours=hour), 1000)
        three_days.release_plan_reservations(made.id)
    judged = retrain(three_days, FIRST + 5 * DAY, FIRST + 6 * DAY).metrics
    assert judged["challenger_loss"] > judged["champion_loss"]
    assert judged["better_by_chance"] > 0.5
    assert judged["challenger_promoted"] == 0.0
    current = three_days.current_model("sizing")
    assert current is not None
    assert current.version == first.version


def test_a_champion_that_cannot_be_read_is_replaced(three_days: Store) -> None:
    version = three_days.register_model(
        "sizing", {"version": 1}, interval_start=FIRST - DAY, interval_end=FIRST, metrics={}
    )
    three_days.promote_model(version)
    assert retrain(three_days, FIRST, FIRST + DAY).promoted


def test_the_same_interval_gives_the_same_version(three_days: Store) -> None:
    first = retrain(three_days, FIRST, FIRST + DAY)
    later = retrain(three_days, FIRST + DAY, FIRST + 2 * DAY)
    assert retrain(three_days, FIRST + DAY, FIRST + 2 * DAY).version == later.version
    assert later.parent == first.version
    again = retrain(three_days, FIRST, FIRST + DAY)
    assert (again.version, again.promoted) == (first.version, True)


def test_a_backfill_of_the_past_does_not_displace_the_present(three_days: Store) -> None:
    present = retrain(three_days, FIRST + 2 * DAY, FIRST + 3 * DAY)
    past = retrain(three_days, FIRST, FIRST + DAY)
    assert not past.promoted
    current = three_days.current_model("sizing")
    assert current is not None
    assert current.version == present.version


def test_an_interval_without_runs_keeps_what_was_learned(three_days: Store) -> None:
    retrain(three_days, FIRST, FIRST + DAY)
    empty = retrain(three_days, FIRST + 10 * DAY, FIRST + 11 * DAY)
    assert empty.metrics["records"] == 0
    assert p50(empty) == p50(three_days.current_model("sizing")) == pytest.approx(1000, rel=0.01)
    latency = three_days.current_model("latency")
    assert latency is not None
    assert latency.payload["t_inf_calls"] == 5


def test_the_next_plan_names_and_uses_the_models(three_days: Store) -> None:
    assert released(three_days).planner.model_version is None
    sizing = retrain(three_days, FIRST + 2 * DAY, FIRST + 3 * DAY)
    latency = three_days.current_model("latency")
    assert latency is not None
    made = released(three_days, "Detect faces in the images")
    assert made.planner.model_version == f"{latency.version} {sizing.version}"
    assert made.steps[0].latency_p50_ms == pytest.approx(9000, rel=0.01)
    assert 0.6 <= made.steps[0].allocation.final.cpu_mem_gb <= 0.75
    assert made.snapshots["records"] == "none"


def test_what_ended_since_the_model_is_learned_on_top(three_days: Store) -> None:
    sizing = retrain(three_days, FIRST, FIRST + DAY)
    before = released(three_days, "Detect faces in the images", now_is=FIRST + DAY)
    after = released(three_days, "Detect faces in the images", now_is=FIRST + 2 * DAY)
    assert sizing.version in str(before.planner.model_version)
    assert sizing.version in str(after.planner.model_version)
    assert before.steps[0].latency_p50_ms == pytest.approx(1000, rel=0.01)
    assert before.snapshots["records"] == "none"
    assert 1000 < after.steps[0].latency_p50_ms < 2100
    assert after.snapshots["records"].startswith("5 from ")


def test_a_model_of_another_version_is_left_out_with_a_warning(three_days: Store) -> None:
    version = three_days.register_model(
        "sizing", {"version": 99}, interval_start=FIRST, interval_end=FIRST + DAY, metrics={}
    )
    three_days.promote_model(version)
    made = released(three_days)
    assert any("was not used" in warning for warning in made.warnings)
    assert made.planner.model_version is None
