"""The plan task: a task in plain language becomes a released plan and its routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.sdk import BaseOperator

from tomas.airflow.failures import airflow_failures
from tomas.airflow.links import PLAN_LINK_KEY, PlanLink, plan_page
from tomas.airflow.plan_error import shown_in_plan_tab
from tomas.airflow.routing import ROUTING_KEY, StepArgument, routing_payload, step_arguments
from tomas.errors import ConfigError, DataError, FitsNoBin, Infeasible, RoutingError, TaskError
from tomas.schema import Plan, PlanOrigin, PlanRequest, Tool

if TYPE_CHECKING:
    from tomas.config import Settings
    from tomas.store import Store

__all__ = ["WHOLE_REGISTRY", "TomasPlanOperator", "idempotency_key"]

WHOLE_REGISTRY = "*"
"""In ``tools``: every tool of the registry, beside those given as objects."""


def idempotency_key(context: Mapping[str, Any]) -> str:
    """Names one wish for a plan: equal for all retries of a task instance, new after each clear.

    A retry changes neither the run's ``clear_number`` nor the instance's ``max_tries``. A clear counts the
    first up, and sets the second to the tries so far plus the retries; either alone has a gap (a clear that
    leaves the run's state alone; an instance cleared while it runs), so the key holds both.
    """
    ti, dag_run = context["ti"], context["dag_run"]
    generation = f"{getattr(dag_run, 'clear_number', 0)}.{ti.max_tries}"
    return "|".join([ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index), generation])


class TomasPlanOperator(BaseOperator):
    """Makes, proves and releases a plan for a task in plain language; returns its steps for expansion.

    Follow it by :func:`~tomas.airflow.run_plan`. Jinja renders ``task``, ``inputs`` and ``outputs`` as the
    author wrote them; what a parameter inserts there is data and is not rendered again.

    :param task: what is to be done, English or Chinese.
    :param inputs: by name: a path, folder, glob or URI, a list of them, or ``{"type", "uris"}``.
    :param outputs: declared results: media type by name. A type that renders to nothing is not asked for.
    :param tools: what may be planned: names, and :class:`~tomas.schema.Tool` objects in addition to the
        registry; ``"*"`` among them allows the whole registry. None allows the whole registry.
    :param deadline: the plan's estimated end may lie no later than this after its release.
    :param budget: what the whole plan may consume at p90 latencies: ``cpu_core_hours``, ``cpu_mem_gb_hours``,
        ``gpu_hours``, ``cost`` (at the prices ``TOMAS__PLANNER__PRICES__*``).
    :param priority: 1 to 100, relative to other plans.
    :param tomas_conn_id: connection of type ``tomas``.
    :param allow_unavailable: whether tools that cannot run here may be planned.
    :param planner: name in the entry-point group ``tomas.planners``; None takes the configured one.
    :param seed: of the planner.
    """

    template_fields: Sequence[str] = ("task", "inputs", "outputs")
    template_fields_renderers: ClassVar[dict[str, str]] = {"inputs": "json", "outputs": "json"}
    operator_extra_links = (PlanLink(),)
    custom_operator_name = "TOMAS plan"

    def __init__(
        self,
        *,
        task: str,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, str] | None = None,
        tools: Sequence[Tool | str] | None = None,
        deadline: timedelta | None = None,
        budget: Mapping[str, float] | None = None,
        priority: int = 1,
        tomas_conn_id: str = "tomas_default",
        allow_unavailable: bool = False,
        planner: str | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        # Airflow reports the success before it calls back: no step waits until the words are written.
        given = kwargs.pop("on_success_callback", None) or []
        callbacks = [*given] if isinstance(given, Sequence) else [given]
        super().__init__(on_success_callback=[*callbacks, _write_words], **kwargs)
        self.task = task
        self.inputs = inputs
        self.outputs = outputs
        self.tools = tools
        self.deadline = deadline
        self.budget = budget
        self.priority = priority
        self.tomas_conn_id = tomas_conn_id
        self.allow_unavailable = allow_unavailable
        self.planner = planner
        self.seed = seed
        self.tool_task_ids: list[str] = []
        """Tasks that expand this plan; they enter themselves while the DAG file is parsed."""
        self._made: tuple[Plan, Settings] | None = None

    @classmethod
    def partial(cls, **kwargs: Any) -> NoReturn:
        """Refused: the routes of a mapped plan's steps would collide.

        :raises RoutingError: always.
        """
        raise RoutingError(
            f"{cls.__name__} {kwargs.get('task_id', '')!r} cannot be mapped: the steps of a plan already are.",
            remedy="Give all files as one input of a single plan, or write one plan task per task text.",
        )

    def execute(self, context: Any) -> list[StepArgument]:
        """Make the plan, or find the one an earlier try released; push its routes, return its steps."""
        ti = context["ti"]
        ti.xcom_push(key=PLAN_LINK_KEY, value=plan_page(ti.dag_id, ti.run_id))
        with airflow_failures(), shown_in_plan_tab(ti):
            plan = self._plan(context)
            self._log_plan(plan)
            self._publish(plan, ti)
            return step_arguments(plan)

    def write_words(self) -> None:
        """Let the model that planned say in its own words what it planned, and add them to the stored plan."""
        from tomas.planner.narrative import narrate
        from tomas.store import Store

        if self._made is not None:
            plan, settings = self._made
            with Store.from_settings(settings) as store:
                narrate(plan, store)

    def _plan(self, context: Any) -> Plan:
        from tomas.airflow.hook import TomasHook
        from tomas.store import Store

        settings = TomasHook(self.tomas_conn_id).settings()
        if self.planner:
            settings = settings.model_copy(
                update={"planner": settings.planner.model_copy(update={"kind": self.planner})}
            )
        with Store.from_settings(settings) as store:
            key = idempotency_key(context)
            stored = store.plan_by_key(key)
            if stored is not None:
                self.log.info("Plan %s was released by an earlier try", stored.id)
                return stored
            plan = self._new_plan(self._request(context, key), store, settings)
            self._made = plan, settings
            return plan

    def _request(self, context: Any, key: str) -> PlanRequest:
        from tomas.planner.inputs import request_input

        if not isinstance(self.task, str):
            raise TaskError(
                f"The task rendered to {type(self.task).__name__}, not to text.",
                remedy="Give a text; with render_template_as_native_obj, quote the template.",
            )
        for name, value in (("inputs", self.inputs), ("outputs", self.outputs)):
            if value is not None and not isinstance(value, Mapping):
                raise DataError(f"{name} is a {type(value).__name__}.", remedy=f"Give {name} as a mapping by name.")
        names: list[str] | None = None
        if self.tools is not None and WHOLE_REGISTRY not in self.tools:
            names = [tool if isinstance(tool, str) else tool.name for tool in self.tools]
        ti = context["ti"]
        fields: dict[str, Any] = {
            "task": self.task,
            "inputs": {name: request_input(name, value) for name, value in (self.inputs or {}).items()},
            "outputs": {name: media for name, media in (self.outputs or {}).items() if media},
            "allowed_tools": names,
            "tools": [tool for tool in self.tools or () if isinstance(tool, Tool)],
            "deadline_s": None if self.deadline is None else self.deadline.total_seconds(),
            "budget": dict(self.budget or {}),
            "priority": self.priority,
            "allow_unavailable": self.allow_unavailable,
            "idempotency_key": key,
            "origin": PlanOrigin(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index),
            "seed": self.seed,
        }
        from pydantic import ValidationError

        try:
            return PlanRequest(**fields)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"Task {ti.task_id}, field {field}: {first['msg']}.",
                remedy=f"Correct {field} of the plan operator.",
            ) from None

    def _new_plan(self, request: PlanRequest, store: Store, settings: Settings) -> Plan:
        from tomas.airflow import preflight
        from tomas.planner.service import make_plan
        from tomas.tools.registry import Registry

        origin = request.origin
        if origin is None:
            raise ConfigError("A plan task has an origin.", remedy="Report this as a defect of TOMAS.")
        store.check_schema()
        classes = store.worker_classes()
        found = preflight.check(
            [item for group in classes for item in group.bins],
            settings,
            dag_id=origin.dag_id,
            run_id=origin.run_id,
            task_id=origin.task_id,
            map_index=origin.map_index,
        )
        self.log.info("Pools and policy are in place; %s", found.consumers)
        dead = {item.name for item in found.dead_bins}
        left = ", ".join(f"{item.name} (queue {item.queue})" for item in found.dead_bins)
        if dead:
            self.log.warning("No live worker serves %s: nothing is planned there", left)
            classes = [
                group.model_copy(update={"bins": bins})
                for group in classes
                if (bins := [item for item in group.bins if item.name not in dead])
            ]
        if settings.planner.max_steps > found.max_map_length:
            settings = settings.model_copy(
                update={"planner": settings.planner.model_copy(update={"max_steps": found.max_map_length})}
            )
            self.log.warning(
                "A plan may have %d steps at most: Airflow's [core] max_map_length", found.max_map_length
            )
        try:
            plan: Plan = make_plan(
                request,
                store=store,
                registry=Registry(store.tools()),
                settings=settings,
                worker_classes=classes,
                routes=found.routes,
            )
        except (FitsNoBin, Infeasible) as error:
            if not dead:
                raise
            raise RoutingError(
                f"{error.what} No live worker consumes the queue of {left}.",
                remedy=f"Start it: `airflow celery worker --queues {found.dead_bins[0].queue}`.",
            ) from error
        return plan

    def _publish(self, plan: Plan, ti: Any) -> None:
        """Push the routes before the return value: the scheduler expands as soon as that is there."""
        from tomas.airflow.xcom import write_row

        if not self.tool_task_ids:
            self.log.warning("No tool task expands this plan: follow it by run_plan(plan)")
        write_row(
            ROUTING_KEY,
            routing_payload(plan, self.tool_task_ids),
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=ti.map_index,
        )

    def _log_plan(self, plan: Plan) -> None:
        self.log.info(
            "Plan %s: %d steps by %s %s, makespan %.1f s%s",
            plan.id,
            len(plan.steps),
            plan.planner.kind,
            plan.planner.version,
            plan.makespan_ms / 1000,
            f", fallback from {plan.planner.fallback_from}: {plan.planner.fallback_reason}"
            if plan.planner.fallback_from
            else "",
        )
        for i, step in enumerate(plan.steps):
            final = step.allocation.final
            self.log.info(
                "[%d] %s: %s on %s, %d slots, %.3g cores, %.3g GB, after %s",
                i,
                step.id,
                step.tool,
                step.queue,
                step.pool_slots,
                final.cpu_cores,
                final.cpu_mem_gb,
                ", ".join(step.depends_on) or "nothing",
            )
        for warning in plan.warnings:
            self.log.warning("Plan %s: %s", plan.id, warning)


def _write_words(context: Any) -> None:
    context["ti"].task.write_words()
