"""Retraining under Airflow's own backfill: three days of real records, each run sees its own day and no later one.

The records are real: plans made by the planner and run here in measured child processes. Only their clock is
moved, day by day into the past, because a test cannot wait three days and a data interval cannot be shorter than
the schedule's.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tomas.demo.stack import Stack
from tomas.planner.inputs import request_input
from tomas.planner.service import make_plan
from tomas.runtime.local import run_plan
from tomas.schema import ModelVersion, Outcome, PlanRequest, PlanStatus
from tomas.tools.registry import Registry

DAG = "tomas_retrain"
DAYS = 3
TEXTS = ["battery_bus", "tea_house", "review_good", "review_bad"]


@pytest.fixture(scope="module")
def days() -> list[datetime]:
    """Starts of three data intervals of the DAG, well in the past."""
    today = datetime.now(UTC).replace(hour=3, minute=0, second=0, microsecond=0)
    return [today - timedelta(days=20 - i) for i in range(DAYS)]


@pytest.fixture(scope="module")
def steps_by_day(stack: Stack, days: list[datetime], tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """Run one plan more on each day than on the day before; returns the number of records of each day."""
    from tomas.config import shared_file

    registry = Registry.load()
    documents = shared_file("data/samples") / "documents"
    counts: list[int] = []
    for number, day in enumerate(days, start=1):
        moved = 0
        for i in range(number):
            at = day + timedelta(hours=6, minutes=i)
            request = PlanRequest(
                task="Extract the keywords of the documents and detect their language",
                inputs={"documents": request_input("documents", documents / f"{TEXTS[i]}.txt")},
            )
            plan = make_plan(request, store=stack.store, registry=registry, now=at)
            records = run_plan(
                plan, registry, stack.store, artifacts_dir=tmp_path_factory.mktemp("artifacts", numbered=True)
            )
            stack.store.release_plan_reservations(plan.id)
            stack.store.set_plan_status(plan.id, PlanStatus.SUCCEEDED)
            for record in records:
                assert record.usage.outcome is Outcome.SUCCESS
                assert record.ended_at is not None
                took = record.ended_at - record.started_at
                stack.store.save_record(record.model_copy(update={"started_at": at, "ended_at": at + took}))
            moved += len(records)
        counts.append(moved)
    return counts


@pytest.fixture(scope="module")
def models(stack: Stack, days: list[datetime], steps_by_day: list[int]) -> dict[datetime, ModelVersion]:
    """Backfill the three days; returns the sizing model that each registered, by interval start."""
    stack.wait_dag(DAG)
    stack.airflow_api.unpause(DAG)
    done = stack.airflow(
        "backfill",
        "create",
        "--dag-id",
        DAG,
        "--from-date",
        days[0].isoformat(),
        "--to-date",
        days[-1].isoformat(),
        "--max-active-runs",
        "1",
        "--reprocess-behavior",
        "completed",
    )
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 300
    while True:
        runs = stack.airflow_api.request(
            "GET", f"/dags/{DAG}/dagRuns", params={"run_type": "backfill", "limit": 50}
        ).json()["dag_runs"]
        ours = [run for run in runs if datetime.fromisoformat(run["data_interval_start"]) in days]
        if len(ours) == DAYS and all(run["state"] in ("success", "failed") for run in ours):
            break
        assert time.monotonic() < deadline, f"the backfill did not end: {[run['state'] for run in ours]}"
        time.sleep(1)
    assert [run["state"] for run in ours] == ["success"] * DAYS
    found = {model.interval_start: model for model in reversed(stack.store.models("sizing", limit=200))}
    return {day: found[day] for day in days}


def test_each_run_learns_from_the_records_of_its_own_day(
    stack: Stack, models: dict[datetime, ModelVersion], days: list[datetime], steps_by_day: list[int]
) -> None:
    assert steps_by_day == [2, 4, 6]
    for day, count in zip(days, steps_by_day, strict=True):
        assert models[day].interval_end == day + timedelta(days=1)
        held = len(stack.store.records_between(day, day + timedelta(days=1)))
        assert held >= count, "an earlier session on the same home may have added to the day"
        assert models[day].metrics["records"] == held
    assert len({models[day].metrics["records"] for day in days}) == DAYS


def test_each_day_has_a_version_of_its_own(models: dict[datetime, ModelVersion], days: list[datetime]) -> None:
    assert len({model.version for model in models.values()}) == DAYS


def test_each_day_is_built_on_the_day_before(models: dict[datetime, ModelVersion], days: list[datetime]) -> None:
    for before, day in pairwise(days):
        assert models[day].parent == models[before].version


def test_the_latency_of_the_planner_is_learned_from_the_same_days(
    stack: Stack, models: dict[datetime, ModelVersion], days: list[datetime]
) -> None:
    latency = {model.interval_start: model for model in stack.store.models("latency", limit=200)}
    for day in days:
        assert latency[day].interval_end == models[day].interval_end


def test_the_next_plan_names_the_model_it_used(stack: Stack, models: dict[datetime, ModelVersion]) -> None:
    run_id = stack.trigger("probe_simple")
    assert stack.wait_run("probe_simple", run_id) == "success"
    plan = stack.store.latest_plan("probe_simple", run_id)
    current = stack.store.current_model("sizing")
    assert plan is not None
    assert current is not None
    assert current.version in str(plan.planner.model_version)
