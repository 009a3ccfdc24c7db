"""Retraining on a real Postgres: intervals, champions and challengers, and plans that use what was learned."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.planning.world import (
    released,
)
from tomas.schema import (
    ExecutionRecord,
    ModelVersion,
    Outcome,
    Plan,
    PlannerCall,
    Resources,
    StepUsage,
)
from tomas.sizing import LearnedSizer
from tomas.store import Store
from tomas.training.retrain import retrain

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
