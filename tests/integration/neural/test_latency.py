"""The capacity that the model reads starts when its plan lands: now + T_inf + dispatch lag."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from tests.integration.planning.world import REGISTRY, TASK
from tests.unit.neural.conftest import IMAGES, KNOWN, settings_of
from tomas.config import Settings
from tomas.neural import planner
from tomas.neural.checkpoints import Checkpoints
from tomas.neural.reading import Fleet
from tomas.planner.outlook import Outlook
from tomas.planner.service import make_plan
from tomas.schema import Plan, PlannerCall, PlanRequest, utc_now
from tomas.store import Store


@pytest.fixture
def settings(checkpoint: Any) -> Settings:
    return settings_of(checkpoint)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Fleet, Outlook]]:
    """What the model has read of the workers, plan by plan."""
    seen: list[tuple[Fleet, Outlook]] = []
    real = planner.read_fleet

    def kept(outlook: Outlook, *more: Any) -> Fleet:
        fleet = real(outlook, *more)
        seen.append((fleet, outlook))
        return fleet

    monkeypatch.setattr(planner, "read_fleet", kept)
    return seen


def made(store: Store, settings: Settings) -> Plan:
    request = PlanRequest(task=KNOWN[0][0], inputs=IMAGES, allow_unavailable=True)
    return make_plan(request, store=store, registry=REGISTRY, settings=settings)


def log(store: Store, t_inf_ms: float, lag_ms: float) -> None:
    for _ in range(6):
        call = PlannerCall(at=utc_now(), planner="neural", task_chars=9, tools=9, steps=1, t_inf_ms=t_inf_ms,
                           dispatch_lag_ms=lag_ms)  # fmt: skip
        store.log_call(call)


def test_the_curves_start_when_the_plan_lands_as_the_call_log_predicts(
    seeded: Store, settings: Settings, read: list[tuple[Fleet, Outlook]]
) -> None:
    made(seeded, settings)  # the model is loaded
    quick = {"t_inf_default_ms": 1, "dispatch_lag_default_ms": 1, "schedule_limit_s": 0}
    soon = Settings.model_validate({"planner": quick})
    make_plan(PlanRequest(task=TASK, inputs=IMAGES), store=seeded, registry=REGISTRY, settings=soon)
    log(seeded, 1.0, 1.0)
    early = made(seeded, settings)
    log(seeded, 60_000.0, 5_000.0)
    late = made(seeded, settings)
    assert (late.t_inf_predicted_ms, late.dispatch_lag_predicted_ms) == (60_000.0, 5_000.0)
    for plan, (_, outlook) in zip((early, late), read[-2:], strict=True):
        landing = timedelta(milliseconds=plan.t_inf_predicted_ms + plan.dispatch_lag_predicted_ms)
        assert abs(plan.release_at - plan.created_at - landing) < timedelta(milliseconds=1)
        context = outlook.context([])
        assert {curve.start_at for curve in outlook.curves()} == {context.release_at}
        assert context.release_at <= plan.release_at
    (busy, _), (free, _) = read[-2:]
    assert busy.curves[0, 0, 0] <= 0.5, "other plans hold cores when this one lands"
    assert free.curves[0, 0, 0] == 1.0, "they have ended when this one lands"


def test_what_was_spent_before_the_model_could_read_counts(
    seeded: Store, settings: Settings, read: list[tuple[Fleet, Outlook]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(seeded, settings)
    log(seeded, 5.0, 100.0)
    real = Checkpoints.get

    def slow(self: Checkpoints, outlook: Outlook | None) -> Any:
        time.sleep(1.5)
        return real(self, outlook)

    monkeypatch.setattr(Checkpoints, "get", slow)
    plan = made(seeded, settings)
    context = read[-1][1].context([])
    rule_ms = 15.0
    assert context.t_inf_ms > 1500.0 + rule_ms, "not the 5 ms of the log"
    assert plan.t_inf_predicted_ms >= context.t_inf_ms
    assert plan.release_at >= context.release_at > context.now + timedelta(seconds=1.6)
