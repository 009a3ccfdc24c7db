"""The tool task: one mapped instance runs one step of a plan, on the route of that step."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.definitions.mappedoperator import MappedOperator, OperatorPartial
from airflow.sdk.exceptions import AirflowFailException
from airflow.triggers.base import StartTriggerArgs

from tomas.airflow.failures import airflow_failures
from tomas.airflow.links import PLAN_LINK_KEY, PlanLink, plan_page
from tomas.airflow.operators.plan import TomasPlanOperator
from tomas.airflow.routing import TOOL_OPERATOR_NAME, UNROUTED_POOL, StepArgument
from tomas.airflow.slots import await_slots, wish_slots
from tomas.errors import BinTooSmall, RoutingError, ToolOutOfMemory
from tomas.schema import ExecutionRecord, Plan, PlanStatus, PlanStep, utc_now

if TYPE_CHECKING:
    from tomas.runtime.escalation import Escalation, Grant
    from tomas.store import Store

__all__ = ["TomasToolOperator"]

_ROUTED_BY_THE_PLAN = ("pool", "pool_slots", "queue")
_POLL_S = 0.5

# The default delay of Airflow gives the world time to recover; here nothing has to, the next try just gets more.
_MORE_MEMORY_AT_ONCE = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=ToolOutOfMemory,
            action=RetryAction.RETRY,
            retry_delay=timedelta(0),
            reason="out of memory; the next try gets more",
        )
    ]
)


def _refuse_routes(names: Mapping[str, Any], task_id: str, where: str) -> None:
    given = [name for name in _ROUTED_BY_THE_PLAN if name in names]
    if given:
        raise RoutingError(
            f"{where}({', '.join(f'{name}=…' for name in given)}) of tool task {task_id!r}: Airflow ignores or "
            f"overrides it, because the plan gives every step its own pool, queue and slots.",
            remedy=f"Leave out {', '.join(given)}; bins, queues and pools are declared in worker_classes.json.",
        )


class _ToolPartial(OperatorPartial):
    """Accepts the one expansion that a plan can route."""

    def expand(self, **mapped_kwargs: Any) -> MappedOperator:
        """Expand over the steps of a plan: ``expand(step=plan.output)``.

        :raises RoutingError: on anything else.
        """
        self._expand_called = True
        task_id = str(self.kwargs["task_id"])
        _refuse_routes(mapped_kwargs, task_id, "expand")
        step = mapped_kwargs.get("step")
        plan = getattr(step, "operator", None)
        if set(mapped_kwargs) != {"step"} or not isinstance(plan, TomasPlanOperator):
            raise RoutingError(
                f"Tool task {task_id!r} expands over {', '.join(mapped_kwargs) or 'nothing'}.",
                remedy="Write .expand(step=plan.output), plan being a TomasPlanOperator; run_plan(plan) does it.",
            )
        mapped = OperatorPartial.expand(self, step=step)
        mapped.start_trigger_args = StartTriggerArgs(
            trigger_cls="tomas.airflow.trigger.PlanTrigger",
            trigger_kwargs={"plan_task_id": plan.task_id, "poll_s": _POLL_S},
            next_method="resume",
        )
        plan.tool_task_ids.append(mapped.task_id)
        return mapped

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> MappedOperator:
        """Refused.

        :raises RoutingError: always.
        """
        del kwargs, strict
        self._expand_called = True
        raise RoutingError(
            f"expand_kwargs() of tool task {self.kwargs['task_id']!r} cannot be routed.",
            remedy="Write .expand(step=plan.output); run_plan(plan) does it.",
        )


class TomasToolOperator(BaseOperator):
    """Runs one step in a measured, limited child process and returns its artifacts.

    Use it as ``TomasToolOperator.partial(task_id=…).expand(step=plan.output)``, or through
    :func:`~tomas.airflow.run_plan`. Each instance waits in the triggerer for exactly its own predecessors; if one
    of them failed it fails with that reason and uses up no retry. ``execution_timeout`` counts the wait.

    A try after one that ran out of memory gets more, and more pool slots with it, up to the capacity of its bin;
    where that was not enough it fails at once, whatever ``retries`` are left. Such a try does not wait for
    ``retry_delay``, unless a ``retry_policy`` is given, which then decides.

    :param step: what the plan task returned for this map index.
    :param tomas_conn_id: connection of type ``tomas``.
    """

    template_fields: Sequence[str] = ("step",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"step": "json"}
    operator_extra_links = (PlanLink(),)
    custom_operator_name = TOOL_OPERATOR_NAME
    start_from_trigger = True

    def __init__(
        self,
        *,
        step: StepArgument,
        tomas_conn_id: str = "tomas_default",
        map_index_template: str = "{{ task.step['tool'] }} on {{ task.step['queue'] }}",
        **kwargs: Any,
    ) -> None:
        kwargs["retry_policy"] = kwargs.get("retry_policy") or _MORE_MEMORY_AT_ONCE
        super().__init__(map_index_template=map_index_template, **kwargs)
        self.step = step
        self.tomas_conn_id = tomas_conn_id
        self._cancel: threading.Event | None = None

    @classmethod
    def partial(cls, **kwargs: Any) -> OperatorPartial:
        """Fix everything but the step.

        :raises RoutingError: a pool, queue or slots are given.
        """
        _refuse_routes(kwargs, str(kwargs.get("task_id", "")), "partial")
        whole = super().partial(**kwargs, pool=UNROUTED_POOL)
        whole._expand_called = True  # noqa: SLF001  its place is taken by the one below
        return _ToolPartial(operator_class=whole.operator_class, kwargs=whole.kwargs, params=whole.params)

    def resume(self, context: Any, event: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Continue after the wait for the predecessors.

        :raises AirflowFailException: one of them failed.
        """
        event = event or {}
        if event.get("verdict") == "failed":
            ti = context["ti"]
            names = ", ".join(f"{ti.task_id}[{i}]" for i in event.get("causes", ()))
            raise AirflowFailException(
                f"Step {self.step['step_id']} did not run: its predecessor {names} failed. Remedy: clear that "
                f"instance and this one together."
            )
        return self._run(context, ready_at=event.get("ready_at"))

    def execute(self, context: Any) -> list[dict[str, Any]]:
        """Run the step at once."""
        return self._run(context, ready_at=None)

    def on_kill(self) -> None:
        """Kill the tool's process tree; its record then says so, and its reservation ends."""
        if self._cancel is not None:
            self._cancel.set()

    def _run(self, context: Any, *, ready_at: float | None) -> list[dict[str, Any]]:
        ti = context["ti"]
        ti.xcom_push(key=PLAN_LINK_KEY, value=plan_page(ti.dag_id, ti.run_id))
        with airflow_failures():
            self._check_route(ti)
            from tomas.airflow.hook import TomasHook
            from tomas.runtime.escalation import Escalation
            from tomas.runtime.step import run_step
            from tomas.store import Store
            from tomas.tools.registry import Registry

            self._cancel = threading.Event()
            waited_s = 0.0 if ready_at is None else max(0.0, time.time() - ready_at)
            self.log.info("Waited %.1f s for pool and worker", waited_s)
            settings = TomasHook(self.tomas_conn_id).settings()
            with Store.from_settings(settings) as store:
                plan = store.plan(self.step["plan_id"])
                if plan.status is PlanStatus.SUPERSEDED:
                    raise RoutingError(
                        f"Plan {plan.id} was superseded by a newer plan of the same task.",
                        remedy="Clear this task together with the plan task.",
                    )
                step = plan.step(self.step["step_id"])
                tool = Registry(store.tools()).with_tools(plan.request.tools).get(step.tool)
                escalation = Escalation.load(store, settings)
                grant = escalation.grant(step, _tries(store, plan, step, ti))
                if grant.slots > step.pool_slots:
                    await_slots(ti, grant.slots)
                self._note_start(store, plan, step, utc_now())
                try:
                    record = run_step(
                        store,
                        plan,
                        step,
                        tool=tool,
                        artifacts_dir=settings.runtime.artifacts_dir,
                        try_number=ti.try_number,
                        outputs_of=lambda name: store.outputs(plan.id, name),
                        settings=settings,
                        dag_id=ti.dag_id,
                        run_id=ti.run_id,
                        task_id=ti.task_id,
                        map_index=ti.map_index,
                        queue=ti.queue,
                        waited_ms=waited_s * 1000,
                        cancel=self._cancel,
                        grant=grant,
                    )
                except BinTooSmall:
                    raise
                except ToolOutOfMemory as error:
                    self._wish_more(ti, step, grant, escalation, error)
                    raise
            self._log_actual(step, record)
            return [artifact.model_dump(mode="json") for artifact in record.outputs]

    def _wish_more(
        self, ti: Any, step: PlanStep, grant: Grant, escalation: Escalation, error: ToolOutOfMemory
    ) -> None:
        """Ask for the slots of the next try, before Airflow is told that this one failed."""
        following = escalation.following(step, grant.need, error.usage)
        if following.slots > grant.slots:
            wish_slots(ti, following.slots)
        self.log.warning(
            "Out of memory with %.3g GB; the next try gets %.3g GB and %d pool slots",
            grant.need.cpu_mem_gb,
            following.need.cpu_mem_gb,
            following.slots,
        )

    def _check_route(self, ti: Any) -> None:
        """Refuse to work anywhere but on the planned queue: no resource was reserved there."""
        planned = self.step["queue"]
        actual = getattr(ti, "queue", None)
        if actual != planned:
            raise RoutingError(
                f"Step {self.step['step_id']} runs on the queue {actual!r}, planned was {planned!r}: the routing "
                f"policy did not act.",
                remedy="Install airflow-provider-tomas as a package (entry point airflow.policy) where scheduler "
                "and API server run, and restart them.",
            )

    @staticmethod
    def _note_start(store: Store, plan: Plan, step: PlanStep, now: datetime) -> None:
        """Mark the plan as running, and log how long its first step took to get going."""
        if plan.status is PlanStatus.RELEASED:
            store.set_plan_status(plan.id, PlanStatus.RUNNING)
        if not step.depends_on and plan.dispatch_lag_actual_ms is None:
            planned_for = (plan.t_inf_actual_ms or 0.0) / 1000
            lag_ms = max(0.0, ((now - plan.created_at).total_seconds() - planned_for) * 1000)
            store.set_plan_actuals(plan.id, dispatch_lag_ms=lag_ms)
            store.set_call_dispatch_lag(plan.id, lag_ms)

    def _log_actual(self, step: PlanStep, record: ExecutionRecord) -> None:
        usage = record.usage
        self.log.info(
            "Step %s (%s): planned %.1f to %.1f s, given %.3g GB; took %.1f s, peak %.3g GB, %.3g CPU s, "
            "memory limit %s",
            step.id,
            step.tool,
            step.latency_p50_ms / 1000,
            step.latency_p90_ms / 1000,
            record.requested.cpu_mem_gb,
            usage.wall_ms / 1000,
            usage.peak_mem_gb,
            usage.cpu_seconds,
            usage.memory_limit,
        )


def _tries(store: Store, plan: Plan, step: PlanStep, ti: Any) -> list[ExecutionRecord]:
    """Records of the tries of a step before this one."""
    if ti.try_number == 1:
        return []
    return [
        record
        for record in store.records(plan.id)
        if record.step_id == step.id and record.try_number < ti.try_number
    ]
