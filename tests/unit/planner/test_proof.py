"""What the proof of a released plan covers beside the plan itself: Airflow's routes, prices, the hand-over."""

from __future__ import annotations

from typing import Any

import pytest

from tomas.config import Settings
from tomas.errors import PlanError, PlanRejected
from tomas.planner.service import make_plan
from tomas.schema import Bin, Budget, Plan, PlanOrigin, PlanRequest, RequestInput, Resources, WorkerClass
from tomas.tools.registry import Registry
from tomas.verify import Routes

CAPACITY = Resources(cpu_cores=2, cpu_mem_gb=8)
PLACE = Bin(name="w_1", worker_class="w", queue="q_w", pool="p_w", capacity=CAPACITY)
CLASSES = [WorkerClass(name="w", capacity=CAPACITY, bins=[PLACE])]


def planned(registry: Registry, routes: Routes | None = None, **fields: Any) -> Plan:
    request = PlanRequest(
        task="Classify the images and combine the results in a report",
        inputs={"images": RequestInput(type="image/*", uris=["s3://in/a.png"], bytes=2_000_000)},
        allow_unavailable=True,
        **fields,
    )
    return make_plan(
        request, store=None, registry=registry, settings=Settings(), worker_classes=CLASSES, routes=routes
    )


def test_a_plan_passes_where_airflow_has_its_routes(registry: Registry) -> None:
    for queues in (None, {"q_w", "default"}):
        made = planned(registry, Routes({"p_w": 100, "default_pool": 128}, queues))
        assert {step.pool for step in made.steps} == {"p_w"}


@pytest.mark.parametrize(
    ("routes", "says"),
    [
        (Routes({"default_pool": 128}, None), "the pool p_w does not exist"),
        (Routes({"p_w": 99}, None), "the pool p_w has 99 slots instead of 100"),
        (Routes({"p_w": 100}, {"default"}), "no live worker consumes the queue q_w"),
    ],
)
def test_a_plan_is_refused_where_airflow_lacks_a_route(registry: Registry, routes: Routes, says: str) -> None:
    with pytest.raises(PlanRejected, match=says):
        planned(registry, routes)


def test_a_plan_that_is_to_be_run_counts_the_hand_over_between_its_steps(registry: Registry) -> None:
    made = planned(registry, origin=PlanOrigin(dag_id="d", run_id="r", task_id="t"))
    assert made.hand_over_predicted_ms == 3000
    ends = {step.id: step.end_ms for step in made.steps}
    waits = [step.start_ms - ends[name] for step in made.steps for name in step.depends_on]
    assert waits
    assert min(waits) >= 3000 - 1


def test_no_plan_over_its_cost_is_made(registry: Registry) -> None:
    with pytest.raises(PlanError):
        planned(registry, budget=Budget(cost=1e-12))
    assert planned(registry, budget=Budget(cost=1e3)).steps
