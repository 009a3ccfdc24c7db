"""``run_plan``: what a DAG author writes after a plan task."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from airflow.sdk import TaskGroup, XComArg

from tomas.airflow.operators.plan import TomasPlanOperator
from tomas.airflow.operators.results import TomasResultsOperator, output_key
from tomas.airflow.operators.tool import TomasToolOperator
from tomas.errors import DataError, RoutingError

__all__ = ["PlanOutputs", "PlanRun", "run_plan"]


class PlanOutputs(Mapping[str, XComArg]):
    """The declared results by name: each a list of URIs at run time."""

    def __init__(self, plan_task_id: str, results: TomasResultsOperator) -> None:
        self._plan_task_id = plan_task_id
        self._results = results

    def __getitem__(self, name: str) -> XComArg:
        """The result called ``name``.

        :raises DataError: the plan operator does not declare it.
        """
        if name not in self._results.declared:
            near = difflib.get_close_matches(name, self._results.declared, n=3, cutoff=0.4)
            declared = ", ".join(self._results.declared) or "none"
            raise DataError(
                f"Plan task {self._plan_task_id!r} declares no output {name!r} (declared: {declared}).",
                remedy=f"Did you mean {', '.join(near)}?" if near else "Declare it: outputs={name: media type}.",
            )
        return XComArg(self._results, key=output_key(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._results.declared)

    def __len__(self) -> int:
        return len(self._results.declared)


class PlanRun(TaskGroup):
    """The task group that runs a plan: its expanded tool task, and the task that collects the results."""

    outputs: PlanOutputs
    """Declared results by name, to be passed to the next tasks."""
    results: XComArg
    """All results as ``{name: [URI, …]}``; with nothing declared, those of each last step under its id."""
    tool: Any
    """The mapped tool task."""


def run_plan(plan: TomasPlanOperator, *, group_id: str | None = None, **operator_kwargs: Any) -> PlanRun:
    """Run the steps of ``plan``, each on its own pool and queue and after exactly its own predecessors.

    :param plan: the plan task.
    :param group_id: of the task group; default the plan's task id and ``_run``.
    :param operator_kwargs: for the tool task, such as ``retries``.
    :raises RoutingError: ``plan`` is no single plan task, or pool, queue or slots are given.
    """
    if not isinstance(plan, TomasPlanOperator):
        raise RoutingError(
            f"run_plan() was given a {type(plan).__name__}.",
            remedy="Give the TomasPlanOperator itself, not mapped.",
        )
    group = PlanRun(group_id=group_id or f"{plan.task_id.rpartition('.')[2]}_run", dag=plan.dag)
    operator_kwargs.setdefault("tomas_conn_id", plan.tomas_conn_id)
    tool = TomasToolOperator.partial(task_id="tool", task_group=group, **operator_kwargs).expand(step=plan.output)
    results = TomasResultsOperator(
        task_id="results",
        task_group=group,
        plan_task_id=plan.task_id,
        tool_task_id=tool.task_id,
        declared=list(plan.outputs or ()),
        tomas_conn_id=plan.tomas_conn_id,
        queue=plan.queue,
        pool=plan.pool,
    )
    results.set_upstream(tool)
    group.tool = tool
    group.results = results.output
    group.outputs = PlanOutputs(plan.task_id, results)
    return group
