"""The neural planner on a real Postgres: its weights go, change and come back; its words follow its plan."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.planning.world import REGISTRY
from tests.unit.neural.conftest import IMAGES, KNOWN, settings_of
from tomas.config import Settings
from tomas.planner import drafting, narrative
from tomas.planner.narrative import narrate
from tomas.planner.replay import replay
from tomas.planner.service import make_plan
from tomas.schema import Plan, PlanRequest
from tomas.store import Store


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planners and breakers of this test alone."""
    monkeypatch.setattr(drafting, "_planners", {})
    monkeypatch.setattr(drafting, "_breakers", {})


def stored(store: Store, settings: Settings, **fields: object) -> Plan:
    """A plan as the store has it."""
    request = PlanRequest(**{"task": KNOWN[1][0], "inputs": IMAGES, "allow_unavailable": True, **fields})
    plan = make_plan(request, store=store, registry=REGISTRY, settings=settings)
    kept = store.plan(plan.id)
    assert kept == plan
    return kept


def test_a_stored_plan_says_why_another_planner_made_it_until_the_weights_are_back(
    checkpoint: Path, seeded: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    settings = settings_of(folder)
    for _ in range(drafting.Breaker().failures_allowed + 1):
        missing = stored(seeded, settings)
        assert (missing.planner.kind, missing.planner.fallback_from) == ("retrieval", "neural")
        assert "cannot be read" in (missing.planner.fallback_reason or "")
        assert f"stands in for the neural planner: {missing.planner.fallback_reason}" in missing.explanation
    shutil.copytree(checkpoint, folder)
    weights = folder / "model.safetensors"
    right = weights.read_bytes()
    weights.write_bytes(right[:-7] + bytes([right[-7] ^ 0x10]) + right[-6:])
    altered = stored(seeded, settings)
    assert altered.planner.kind == "retrieval"
    assert "model.safetensors was altered" in (altered.planner.fallback_reason or "")
    weights.write_bytes(right)
    again = stored(seeded, settings)
    assert (again.planner.kind, again.planner.fallback_from) == ("neural", None)
    assert again.planner.version.startswith("tiny@")
    assert {call.planner for call in seeded.recent_calls()} == {"neural"}, "T_inf counts the way round, too"


def test_the_words_follow_the_release_and_are_written_once(checkpoint: Path, seeded: Store) -> None:
    plan = stored(seeded, settings_of(checkpoint))
    assert plan.narrative == ""
    told = narrate(plan, seeded)
    assert told.narrative == "Plan 1."
    assert told.t_inf_actual_ms == plan.t_inf_actual_ms
    assert seeded.plan(plan.id) == told
    seeded.set_plan_narrative(plan.id, "Something else.")
    assert seeded.plan(plan.id) == told
    assert narrate(told, seeded) == told


def test_a_replayed_plan_says_the_same_words(checkpoint: Path, seeded: Store) -> None:
    settings = settings_of(checkpoint)
    plan = narrate(stored(seeded, settings), seeded)
    again = replay(seeded.plan(plan.id), store=seeded, registry=REGISTRY, settings=settings)
    assert (again.inputs, again.results) == ((), ())
    other = plan.model_copy(update={"narrative": "Something else."})
    differing = replay(other, store=seeded, registry=REGISTRY, settings=settings)
    assert [item.where for item in differing.results] == ["narrative"]


def test_a_model_that_fails_at_its_words_costs_no_plan(
    checkpoint: Path, seeded: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = stored(seeded, settings_of(checkpoint))

    def broken() -> str:
        raise RuntimeError("out of memory")

    monkeypatch.setitem(narrative._pending, plan.id, broken)
    assert narrate(plan, seeded) == plan == seeded.plan(plan.id)


def test_a_retry_gets_the_stored_plan_and_has_nothing_to_add(checkpoint: Path, seeded: Store) -> None:
    settings = settings_of(checkpoint)
    first = stored(seeded, settings, idempotency_key="k")
    again = stored(seeded, settings, idempotency_key="k")
    assert again == first
    assert narrate(first, seeded).narrative == seeded.plan(first.id).narrative == "Plan 1."
    assert narrate(again, seeded) == again
