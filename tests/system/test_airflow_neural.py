"""The neural planner in plan tasks: it says who planned, falls back with its weights, comes back with them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the neural planner needs the extra `model`")

from tests.system.airflow_checks import plan_of
from tomas.demo.stack import Stack
from tomas.schema import Plan

DAG = "tomas_quickstart"
WORKER = "worker-planner"
TASK = "对一批图片进行分类"
SHIPPED = Path(__file__).parents[2] / "data/models/tiny"


@pytest.fixture(scope="module")
def weights(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the plan tasks look for weights from now on; nothing is there yet."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    stack.restart(WORKER, TOMAS__PLANNER__KIND="neural", TOMAS__NEURAL__CHECKPOINT=str(folder))
    yield folder
    stack.restart(WORKER)


def planned(stack: Stack) -> Plan:
    run_id = stack.trigger(DAG, {"task": TASK})
    assert stack.wait_run(DAG, run_id) == "success"
    return plan_of(stack, DAG, run_id)


def test_the_stored_plan_says_who_planned_and_why_while_weights_come_and_go(stack: Stack, weights: Path) -> None:
    plan = planned(stack)
    assert (plan.planner.kind, plan.planner.fallback_from) == ("retrieval", "neural")
    assert "cannot be read" in (plan.planner.fallback_reason or "")
    assert "它代替 neural 规划器" in plan.explanation
    assert plan.narrative == ""

    shutil.copytree(SHIPPED, weights)
    plan = planned(stack)
    assert (plan.planner.kind, plan.planner.fallback_from) == ("neural", None)
    assert plan.planner.version.startswith("tiny@")
    deadline = time.monotonic() + 60
    while not plan.narrative and time.monotonic() < deadline:  # written after Airflow has heard of the success
        time.sleep(0.5)
        plan = stack.store.plan(plan.id)
    assert plan.narrative

    file = weights / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    plan = planned(stack)
    assert plan.planner.kind == "retrieval"
    assert "model.safetensors was altered" in (plan.planner.fallback_reason or "")
