"""Corruptions of the data: values of the wrong kind, out of range, or not there, all past pydantic."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.verify_kinds import kind
from benchmarks.verify_world import Case
from tomas.schema import RESOURCE_NAMES, Plan

__all__: list[str] = []

NAN, INF = float("nan"), float("inf")
_OF_STEP = (
    "start_ms", "end_ms", "latency_p50_ms", "latency_p90_ms", "predicted_input_bytes", "confidence",
)  # fmt: skip
_OF_PLAN = (
    "makespan_ms", "t_inf_predicted_ms", "dispatch_lag_predicted_ms", "hand_over_predicted_ms",
    "t_inf_actual_ms", "dispatch_lag_actual_ms",
)  # fmt: skip
_WRONG: dict[str, Any] = {
    "nan": NAN, "inf": INF, "minus_inf": -INF, "negative": -1.0, "text": "5", "bool": True, "huge_int": 10**400,
}  # fmt: skip
_EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
_NOT_A_NUMBER = r"finite number|greater than or equal to 0|valid number|less than or equal to 1"


def has_room(case: Case) -> bool:
    """Whether one more step breaks no limit by itself."""
    return len(case.plan.steps) < 10_000


def some_step(case: Case, rng: random.Random) -> int:
    return rng.randrange(len(case.plan.steps))


def _wrong_step_number(value: Any) -> Callable[[Case, random.Random], Case]:
    return lambda case, rng: case.of_step(some_step(case, rng), **{rng.choice(_OF_STEP): value})


def _wrong_plan_number(value: Any) -> Callable[[Case, random.Random], Case]:
    return lambda case, rng: case.of_plan(**{rng.choice(_OF_PLAN): value})


def _wrong_amount(value: Any, which: str) -> Callable[[Case, random.Random], Case]:
    def corrupt(case: Case, rng: random.Random) -> Case:
        index = some_step(case, rng)
        decision = case.plan.steps[index].allocation
        amount = getattr(decision, which).model_copy(update={rng.choice(RESOURCE_NAMES): value})
        return case.of_step(index, allocation=decision.model_copy(update={which: amount}))

    return corrupt


def _wrong_curve(value: Any) -> Callable[[Case, random.Random], Case]:
    def corrupt(case: Case, rng: random.Random) -> Case:
        index = rng.randrange(len(case.plan.forecast))
        name = rng.choice(RESOURCE_NAMES)
        values = list(getattr(case.plan.forecast[index], name))
        values[rng.randrange(len(values))] = value
        return case.of_curve(index, **{name: values})

    return corrupt


for label, wrong in _WRONG.items():
    kind(f"step number {label}", _NOT_A_NUMBER, of_schema=True)(_wrong_step_number(wrong))
    kind(f"plan number {label}", _NOT_A_NUMBER, of_schema=True)(_wrong_plan_number(wrong))
    kind(f"allocation {label}", _NOT_A_NUMBER, of_schema=True)(_wrong_amount(wrong, "final"))
    kind(f"floor {label}", _NOT_A_NUMBER, of_schema=True)(_wrong_amount(wrong, "floor"))
    kind(f"forecast {label}", _NOT_A_NUMBER, of_schema=True)(_wrong_curve(wrong))


@kind("deadline unsound", "deadline_s is", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    return case.of_request(deadline_s=rng.choice([NAN, INF, 0.0, -5.0, "soon"]))


@kind("budget unsound", r"budget\.\w+ is", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    budget = case.plan.request.budget
    name = rng.choice(list(type(budget).model_fields))
    return case.of_request(budget=budget.model_copy(update={name: rng.choice([NAN, INF, 0.0, -1.0, "much"])}))


@kind("grid unsound", "step_ms is", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    return case.of_curve(0, step_ms=rng.choice([0, -1000, 0.5, NAN]))


@kind("forecast uneven", "one common length", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    name = rng.choice(RESOURCE_NAMES)
    return case.of_curve(0, **{name: rng.choice([[], [*getattr(case.plan.forecast[0], name), 1.0]])})


@kind("slots no whole number", "pool_slots is", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    return case.of_step(some_step(case, rng), pool_slots=rng.choice([NAN, 1.5, "2", None, True]))


@kind("schema version", "schema_version is", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    return case.of_plan(schema_version=rng.choice([0, 2, "1", None]))


@kind("language", "language is", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    return case.of_plan(language=rng.choice(["fr", "", None, 1]))


@kind("status", "status is", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    return case.of_plan(status=rng.choice(["lost", None, 3]))


@kind("instant unsound", r"(created|release)_at is", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    name = rng.choice(["created_at", "release_at"])
    naive = datetime(2026, 3, 1)  # noqa: DTZ001 - an instant without a time zone is the fault
    return case.of_plan(**{name: rng.choice([naive, "soon", None, 5])})


@kind("identifier unsound", r"\.(id|tool|bin|queue|pool|worker_class) is", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    name = rng.choice(["id", "tool", "bin", "queue", "pool", "worker_class"])
    value = rng.choice(["", "a b", "a\n", "../x", "ä", "a" * 129, None, 7, "1a", "s'; --"])
    return case.of_step(some_step(case, rng), **{name: value})


@kind("field missing", "Field required|not what its own JSON gives back", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    fields = dict(case.plan)
    del fields[rng.choice([name for name, info in Plan.model_fields.items() if info.is_required()])]
    return replace(case, plan=Plan.model_construct(**fields))


@kind("attribute missing", "Field required|not what its own JSON gives back")
def _(case: Case, rng: random.Random) -> Case:
    plan = case.plan.model_copy()
    del plan.__dict__[rng.choice(list(Plan.model_fields))]
    return replace(case, plan=plan)


@kind("step given as dict", "not what its own JSON gives back, in steps")
def _(case: Case, rng: random.Random) -> Case:
    steps: list[Any] = list(case.plan.steps)
    index = some_step(case, rng)
    steps[index] = steps[index].model_dump()
    return case.of_plan(steps=steps)


@kind("another thing in place", "is ", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    name = rng.choice(["steps", "request", "forecast", "planner", "outputs", "warnings", "snapshots"])
    return case.of_plan(**{name: rng.choice([None, 5, "x", object(), case.plan.steps[0]])})


@kind("no plan at all", "not a Plan")
def _(case: Case, rng: random.Random) -> Case:
    other: Any = rng.choice([None, {}, case.plan.request, "plan"])
    return replace(case, plan=other)


@kind("arguments no JSON", "not JSON|cannot be written as JSON|string")
def _(case: Case, rng: random.Random) -> Case:
    nested: list[Any] = []
    for _level in range(3000):
        nested = [nested]
    bad = rng.choice([NAN, -INF, {1, 2}, b"\xff", object(), "\ud800", (1, 2), {3: 4}, nested, _EPOCH])
    index = some_step(case, rng)
    return case.of_step(index, arguments={**case.plan.steps[index].arguments, "radius": bad})


@kind("character 0", "character 0")
def _(case: Case, rng: random.Random) -> Case:
    if rng.random() < 0.5:
        return case.of_request(task="Blur\0.")
    return case.of_plan(explanation="Because \\\0.")


@kind("plan id no folder name", "not safe as the name of a folder")
def _(case: Case, rng: random.Random) -> Case:
    return case.of_plan(id=rng.choice(["", "../up", "a/b", ".", "a\n", "x" * 129, "a b"]))


@kind("bin unsound", "^Plan .* bin b", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    bins = list(case.bins)
    index = rng.randrange(len(bins))
    amount = bins[index].capacity.model_copy(update={rng.choice(RESOURCE_NAMES): rng.choice([NAN, INF, -4.0, "4"])})
    bins[index] = bins[index].model_copy(update={"capacity": amount})
    return replace(case, bins=bins)


@kind("reservation unsound", "reservation of step", of_schema=True)
def _(case: Case, rng: random.Random) -> Case | None:
    if not case.reservations:
        return None
    held = list(case.reservations)
    change: dict[str, Any] = rng.choice(
        [
            {"need": held[0].need.model_copy(update={"cpu_cores": NAN})},
            {"need": held[0].need.model_copy(update={"cpu_mem_gb": -3.0})},
            {"slots": 0},
            {"slots": -50},
            {"slots": NAN},
        ]
    )
    held[0] = held[0].model_copy(update=change)
    return replace(case, reservations=held)


@kind("reservation of no time", r"reservation of step \w+: (start|end)_at is", of_schema=True)
def _(case: Case, rng: random.Random) -> Case | None:
    if not case.reservations:
        return None
    change: dict[str, Any] = {rng.choice(["start_at", "end_at"]): rng.choice([None, NAN, "now", datetime.min])}  # noqa: DTZ901
    return replace(case, reservations=[case.reservations[0].model_copy(update=change), *case.reservations[1:]])


@kind("reservation ends before it starts", "it ends before it starts")
def _(case: Case, rng: random.Random) -> Case | None:
    if not case.reservations:
        return None
    held = list(case.reservations)
    end_at = held[0].start_at - timedelta(milliseconds=rng.choice([1, 10_000]))
    return replace(case, reservations=[held[0].model_copy(update={"end_at": end_at}), *held[1:]])


@kind("tool unsound", "^Plan .* tool [a-z]+: ", of_schema=True)
def _(case: Case, rng: random.Random) -> Case:
    name = case.plan.steps[some_step(case, rng)].tool
    tool = case.tools[name]
    wrong: Any = rng.choice(
        [tool.model_copy(update={"outputs": []}), tool.model_copy(update={"inputs": None}), None]
    )
    return replace(case, tools={**case.tools, name: wrong})


@kind("tool arguments no JSON", r"tool [a-z]+: arguments: this is not JSON")
def _(case: Case, rng: random.Random) -> Case:
    name = case.plan.steps[some_step(case, rng)].tool
    schema = {**case.tools[name].arguments, "examples": [rng.choice([NAN, (1, 2), {5: 6}])]}
    return replace(case, tools={**case.tools, name: case.tools[name].model_copy(update={"arguments": schema})})


@kind("arguments of a tool of the request no JSON", r"request\.tools\.0\.arguments: this is not JSON")
def _(case: Case, rng: random.Random) -> Case:
    tool = case.tools["blur"]
    schema = {**tool.arguments, "examples": [rng.choice([NAN, (1, 2), {5: 6}])]}
    return case.of_request(tools=[tool.model_copy(update={"arguments": schema})])
