"""The routing hook: routes what a plan routes, leaves everything else alone, never raises."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow import settings

from tests.unit.airflow.plans import plan
from tomas.airflow import policy
from tomas.airflow.routing import TOOL_OPERATOR_NAME, routing_payload


def instance(map_index: int = 2, task_id: str = "tool", name: str = TOOL_OPERATOR_NAME) -> Any:
    return SimpleNamespace(
        task_id=task_id,
        map_index=map_index,
        custom_operator_name=name,
        queue="default",
        pool="tomas_unrouted",
        pool_slots=1,
        priority_weight=1,
    )


def run_with_plan() -> Any:
    return SimpleNamespace(_tomas_routing=routing_payload(plan(), ["tool"]))


def test_an_expanded_instance_gets_the_route_of_its_step() -> None:
    ti = instance()
    policy.task_instance_mutation_hook(ti, run_with_plan())
    assert (ti.queue, ti.pool, ti.pool_slots, ti.priority_weight) == ("tomas_large_1", "tomas_large_1", 100, 2)


@pytest.mark.parametrize(
    "ti",
    [instance(map_index=-1), instance(map_index=4), instance(task_id="other"), instance(name="PythonOperator")],
)
def test_what_the_plan_does_not_know_keeps_its_route(ti: Any) -> None:
    policy.task_instance_mutation_hook(ti, run_with_plan())
    assert (ti.queue, ti.pool, ti.pool_slots) == ("default", "tomas_unrouted", 1)


def test_without_a_run_nothing_happens() -> None:
    ti = instance()
    policy.task_instance_mutation_hook(ti, None)
    assert ti.pool == "tomas_unrouted"


@pytest.mark.parametrize(
    "routing",
    [{"tool": [{"queue": "q"}] * 3}, {"tool": None}, {"tool": [None] * 3}, {"tool": 7}],
    ids=["incomplete", "null", "null rows", "number"],
)
def test_a_broken_plan_leaves_the_harmless_route_and_the_scheduler_alive(routing: Any) -> None:
    ti = instance()
    policy.task_instance_mutation_hook(ti, SimpleNamespace(_tomas_routing=routing))
    assert (ti.queue, ti.pool, ti.pool_slots) == ("default", "tomas_unrouted", 1)


def test_a_base_that_fails_leaves_the_harmless_route() -> None:
    ti = instance()
    policy.task_instance_mutation_hook(ti, SimpleNamespace(dag_id="d", run_id="r"))
    assert ti.pool == "tomas_unrouted"


def test_airflow_holds_the_hook_and_calls_it() -> None:
    assert policy.is_registered()
    assert settings.task_instance_mutation_hook.is_noop is False
