"""The results task: ends the plan as its steps ended, and hands the declared results on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseOperator, TriggerRule
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tomas.airflow.failures import airflow_failures
from tomas.airflow.links import PLAN_LINK_KEY, PlanLink, plan_page
from tomas.schema import ExecutionRecord, Outcome, Plan, PlanStatus

__all__ = ["TomasResultsOperator", "output_key"]


def output_key(name: str) -> str:
    """The XCom key under which the declared result ``name`` is pushed."""
    return f"output_{name}"


def _bindings(plan: Plan) -> dict[str, tuple[str, str | None]]:
    """Step and port by result name; where nothing was declared, each step that no other one reads."""
    if plan.outputs:
        return {name: (bound.step, bound.output) for name, bound in plan.outputs.items()}
    read = {name for step in plan.steps for name in step.depends_on}
    return {step.id: (step.id, None) for step in plan.steps if step.id not in read}


class TomasResultsOperator(BaseOperator):
    """Runs when all steps are done: sets the plan's status, frees what is still reserved, returns the results.

    Its return value is ``{result name: [URI, …]}``; each declared result is also pushed under a key of its own.
    It fails, and with it the run, if a step failed.

    :param plan_task_id: the plan task.
    :param tool_task_id: the task that expands it.
    :param declared: names of the declared results.
    :param tomas_conn_id: connection of type ``tomas``.
    """

    operator_extra_links = (PlanLink(),)
    custom_operator_name = "TOMAS results"

    def __init__(
        self,
        *,
        plan_task_id: str,
        tool_task_id: str,
        declared: Sequence[str] = (),
        tomas_conn_id: str = "tomas_default",
        trigger_rule: str = TriggerRule.ALL_DONE,
        **kwargs: Any,
    ) -> None:
        super().__init__(trigger_rule=trigger_rule, **kwargs)
        self.plan_task_id = plan_task_id
        self.tool_task_id = tool_task_id
        self.declared = list(declared)
        self.tomas_conn_id = tomas_conn_id

    def execute(self, context: Any) -> dict[str, list[str]]:
        """Collect the results.

        :raises AirflowFailException: a step failed, or no plan was released.
        :raises AirflowSkipException: the plan task, or a step that a result comes from, was skipped.
        """
        ti = context["ti"]
        ti.xcom_push(key=PLAN_LINK_KEY, value=plan_page(ti.dag_id, ti.run_id))
        states = _states(ti, [self.plan_task_id, self.tool_task_id])
        if states.get(self.plan_task_id) == "skipped":
            raise AirflowSkipException("The plan task was skipped.")
        steps = ti.xcom_pull(task_ids=self.plan_task_id)
        if states.get(self.plan_task_id) != "success" or not steps:
            raise AirflowFailException("The plan task released no plan; its log says why.")
        with airflow_failures():
            results = self._collect(steps[0]["plan_id"], states)
        for name in self.declared:
            ti.xcom_push(key=output_key(name), value=results.get(name, []))
        return results

    def _collect(self, plan_id: str, states: Mapping[str, str | None]) -> dict[str, list[str]]:
        from tomas.airflow.hook import TomasHook

        with TomasHook(self.tomas_conn_id).get_store() as store:
            plan = store.plan(plan_id)
            by_step = {step.id: states.get(f"{self.tool_task_id}_{i}") for i, step in enumerate(plan.steps)}
            store.release_plan_reservations(plan_id)
            records = store.records(plan_id)
            self._note_lag(store, plan, records)
            bad = [name for name, state in by_step.items() if state not in ("success", "skipped")]
            if bad:
                store.set_plan_status(plan_id, PlanStatus.FAILED)
                raise AirflowFailException(_failure(plan, bad, records))
            store.set_plan_status(plan_id, PlanStatus.SUCCEEDED)
            results: dict[str, list[str]] = {}
            for name, (step_id, port) in _bindings(plan).items():
                if by_step[step_id] == "skipped":
                    raise AirflowSkipException(f"Result {name} comes from step {step_id}, which was skipped.")
                results[name] = [
                    artifact.uri for artifact in store.outputs(plan_id, step_id) if port in (None, artifact.name)
                ]
        for name, uris in results.items():
            self.log.info("Result %s: %s", name, ", ".join(uris))
        return results

    @staticmethod
    def _note_lag(store: Any, plan: Plan, records: Sequence[ExecutionRecord]) -> None:
        """The dispatch lag, exactly: roots that started together may each have noted their own."""
        if not records:
            return
        first = min(record.started_at for record in records)
        lag_ms = (first - plan.created_at).total_seconds() * 1000 - (plan.t_inf_actual_ms or 0.0)
        store.set_plan_actuals(plan.id, dispatch_lag_ms=max(0.0, lag_ms))
        store.set_call_dispatch_lag(plan.id, max(0.0, lag_ms))


def _states(ti: Any, task_ids: list[str]) -> dict[str, str | None]:
    found: Mapping[str, Any] = ti.get_task_states(dag_id=ti.dag_id, task_ids=task_ids, run_ids=[ti.run_id]).get(
        ti.run_id, {}
    )
    return {name: None if state is None else str(getattr(state, "value", state)) for name, state in found.items()}


def _failure(plan: Plan, bad: Sequence[str], records: Sequence[ExecutionRecord]) -> str:
    """One line that names each failed step and the error of those that ran."""
    last: dict[str, ExecutionRecord] = {}
    for item in sorted(records, key=lambda item: item.try_number):
        last[item.step_id] = item
    parts = []
    for name in bad:
        record = last.get(name)
        tool = plan.step(name).tool
        if record is None:
            parts.append(f"{name} ({tool}) did not run")
        elif record.usage.outcome is Outcome.SUCCESS:
            parts.append(f"{name} ({tool}) ran, but its task did not end well")
        else:
            parts.append(f"{name} ({tool}): {record.usage.outcome.value} {record.error or ''}".rstrip())
    return f"{len(bad)} of {len(plan.steps)} steps failed: {'; '.join(parts)}"
