"""Stored plans made again from what they cite."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from typer.testing import CliRunner

from tests.integration.planning.world import BINS, REGISTRY, released
from tomas.cli.app import app
from tomas.config import Settings, get_settings
from tomas.errors import StoreError
from tomas.planner.replay import replay
from tomas.schema import Plan, Resources, Sample, utc_now
from tomas.store import Store
from tomas.tools.registry import Registry
from tomas.training.retrain import retrain


def _sampled(store: Store, until: datetime) -> None:
    store.add_samples(
        Sample(
            bin=place.name, at=until - timedelta(seconds=5 * number), reserved=Resources(),
            free=Resources(cpu_cores=1 - 0.02 * (number % 7), cpu_mem_gb=1.9),
            background=Resources(cpu_cores=0.02 * (number % 7), cpu_mem_gb=0.1),
        )
        for place in BINS for number in range(1, 60)
    )  # fmt: skip


@pytest.fixture
def world(seeded: Store) -> Store:
    """Samples, a registered model, and another plan that holds a part of the bins."""
    now = utc_now()
    _sampled(seeded, now)
    retrain(seeded, now - timedelta(days=1), now - timedelta(hours=1))
    released(seeded, "Detect faces in the images")
    return seeded


def _replayed(plan: Plan, store: Store, registry: Registry = REGISTRY) -> tuple[list[str], list[str]]:
    made = replay(plan, store=store, registry=registry, settings=Settings())
    assert made.same is (not made.results)
    return [item.where for item in made.inputs], [item.where for item in made.results]


def test_a_plan_comes_out_the_same_bit_for_bit(world: Store) -> None:
    plan = released(world)
    assert "model.sizing" in plan.snapshots
    assert _replayed(world.plan(plan.id), world) == ([], [])


def test_what_happened_afterwards_does_not_change_it(world: Store) -> None:
    plan = released(world, deadline_s=600)
    other = released(world, "Find duplicates among the images")
    world.release_plan_reservations(other.id)
    _sampled(world, utc_now() + timedelta(minutes=5))
    now = utc_now()
    retrain(world, now - timedelta(hours=1), now + timedelta(hours=1))
    assert _replayed(world.plan(plan.id), world) == ([], [])


def test_a_plan_that_stood_in_line_was_list_scheduled_and_is_again(world: Store) -> None:
    quick = Settings.model_validate({"planner": {"schedule_limit_s": 0.0}})
    plan = released(world, settings=quick)
    assert plan.scheduling is not None
    assert plan.scheduling.limit_s == 0.0
    assert _replayed(world.plan(plan.id), world) == ([], [])


def test_what_differs_is_named(world: Store) -> None:
    plan = released(world)
    fewer = Registry([tool for tool in REGISTRY if tool.name != "video_transcoding"])
    assert _replayed(plan, world, fewer)[0] == ["registry"]
    first = plan.steps[0]
    forged = plan.model_copy(update={"steps": [first.model_copy(update={"bin": "b9"}), *plan.steps[1:]]})
    assert _replayed(forged, world) == ([], ["steps.0.bin"])
    world.replace_profiles([])
    inputs, results = _replayed(plan, world)
    assert inputs == ["profiles"]
    assert results


def test_a_model_that_was_deleted_is_named(world: Store) -> None:
    plan = released(world)
    gone = plan.model_copy(update={"snapshots": {**plan.snapshots, "model.sizing": "sizing-gone"}})
    with pytest.raises(StoreError, match="sizing-gone"):
        replay(gone, store=world, registry=REGISTRY, settings=Settings())


def test_the_command_says_same_or_what_differs(world: Store, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOMAS__STORE__DSN", dsn)
    get_settings.cache_clear()
    try:
        plan = released(world)
        result = CliRunner().invoke(app, ["replay", plan.id])
        assert result.exit_code == 0, result.output
        assert "bit for bit" in result.output
        world.replace_profiles([])
        result = CliRunner().invoke(app, ["replay", plan.id])
        assert result.exit_code == 1
        assert "profiles" in result.output
    finally:
        get_settings.cache_clear()
