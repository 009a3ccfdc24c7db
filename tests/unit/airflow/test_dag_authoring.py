"""What a DAG author writes, and what is refused while the file is parsed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, task
from airflow.serialization.serialized_objects import DagSerialization

from tomas.airflow import PlanRun, TomasPlanOperator, TomasToolOperator, run_plan
from tomas.airflow.routing import TOOL_OPERATOR_NAME, UNROUTED_POOL
from tomas.errors import DataError, RoutingError


@pytest.fixture
def dag() -> Any:
    with DAG("authoring", schedule=None) as dag:
        yield dag


def make_plan(**arguments: Any) -> TomasPlanOperator:
    return TomasPlanOperator(task_id="plan", task="Summarise the documents", **arguments)


def test_run_plan_makes_a_group_whose_results_other_tasks_take(dag: DAG) -> None:
    plan = make_plan(outputs={"report": "text/html"})
    steps = run_plan(plan, retries=3)

    @task
    def publish(report: Any, everything: Any) -> None: ...

    publish(steps.outputs["report"], steps.results)
    assert isinstance(steps, PlanRun)
    assert set(dag.task_ids) == {"plan", "plan_run.tool", "plan_run.results", "publish"}
    assert plan.tool_task_ids == ["plan_run.tool"]
    assert dag.get_task("plan_run.results").upstream_task_ids == {"plan_run.tool"}
    assert dag.get_task("publish").upstream_task_ids == {"plan_run.results"}
    assert list(steps.outputs) == ["report"]


def test_the_group_joins_other_tasks_by_arrows(dag: DAG) -> None:
    @task
    def before() -> None: ...

    @task
    def after() -> None: ...

    plan = make_plan()
    before() >> plan
    run_plan(plan) >> after()
    assert dag.get_task("after").upstream_task_ids == {"plan_run.results"}


def test_two_plans_in_one_dag_have_two_groups(dag: DAG) -> None:
    first = TomasPlanOperator(task_id="first", task="a")
    second = TomasPlanOperator(task_id="second", task="b")
    run_plan(first)
    run_plan(second)
    assert (first.tool_task_ids, second.tool_task_ids) == (["first_run.tool"], ["second_run.tool"])


def test_the_scheduler_sees_trigger_pool_and_name(dag: DAG) -> None:
    run_plan(make_plan(), retries=3)
    tool = DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task("plan_run.tool")
    assert tool.start_from_trigger is True
    assert tool.start_trigger_args.trigger_cls == "tomas.airflow.trigger.PlanTrigger"
    assert tool.start_trigger_args.next_method == "resume"
    assert tool.pool == UNROUTED_POOL
    assert tool.operator_name == TOOL_OPERATOR_NAME
    assert tool.retries == 3


@pytest.mark.parametrize("name", ["pool", "queue", "pool_slots"])
def test_expanding_a_route_is_refused(dag: DAG, name: str) -> None:
    plan = make_plan()
    with pytest.raises(RoutingError, match=rf"expand\({name}=…\).*Remedy: Leave out {name}"):
        TomasToolOperator.partial(task_id="tool").expand(step=plan.output, **{name: ["a", "b"]})


@pytest.mark.parametrize("name", ["pool", "queue", "pool_slots"])
def test_fixing_a_route_is_refused(dag: DAG, name: str) -> None:
    with pytest.raises(RoutingError, match=f"Leave out {name}"):
        run_plan(make_plan(), **{name: 1})


@pytest.mark.parametrize(
    "expand",
    [
        lambda partial, _: partial.expand(step=[{"plan_id": "x"}]),
        lambda partial, plan: partial.expand(step=plan.output, retries=[1, 2]),
        lambda partial, _: partial.expand(),
        lambda partial, plan: partial.expand_kwargs(plan.output),
    ],
)
def test_only_the_steps_of_a_plan_are_expanded(dag: DAG, expand: Callable[..., Any]) -> None:
    with pytest.raises(RoutingError, match=r"expand\(step=plan.output\)"):
        expand(TomasToolOperator.partial(task_id="tool"), make_plan())


def test_a_mapped_plan_is_refused(dag: DAG) -> None:
    with pytest.raises(RoutingError, match="cannot be mapped"):
        TomasPlanOperator.partial(task_id="plan").expand(task=["a", "b"])
    with pytest.raises(RoutingError, match="run_plan"):
        run_plan("plan")  # type: ignore[arg-type]


def test_an_undeclared_output_names_its_neighbours(dag: DAG) -> None:
    steps = run_plan(make_plan(outputs={"captions": "application/jsonl"}))
    with pytest.raises(DataError, match="Did you mean captions"):
        _ = steps.outputs["caption"]
    with pytest.raises(DataError, match="Declare it"):
        _ = steps.outputs["zzz"]


def test_the_authors_callbacks_come_before_the_words_of_the_model(dag: DAG) -> None:
    called: list[str] = []
    with dag:
        none = TomasPlanOperator(task_id="none", task="Classify")
        one = TomasPlanOperator(task_id="one", task="Classify", on_success_callback=lambda _: called.append("one"))
        two = TomasPlanOperator(
            task_id="two",
            task="Classify",
            on_success_callback=[lambda _: called.append("a"), lambda _: called.append("b")],
        )
    assert [len(list(item.on_success_callback)) for item in (none, one, two)] == [1, 2, 3]
    for item in (one, two):
        for callback in list(item.on_success_callback)[:-1]:
            callback({})
    assert called == ["one", "a", "b"]
    none.write_words()  # no plan was made in this process: there is nothing to write
