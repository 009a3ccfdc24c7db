"""Corruptions of order, time, tools, bindings, arguments and results."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.verify_kinds import kind
from benchmarks.verify_kinds_data import has_room, some_step
from benchmarks.verify_world import TOOLS, Case
from tomas.schema import PlanStep, RequestBinding, RequestInput, StepBinding

__all__: list[str] = []


def _dependent(case: Case, rng: random.Random) -> int | None:
    """A step that depends on another."""
    found = [i for i, step in enumerate(case.plan.steps) if step.depends_on]
    return rng.choice(found) if found else None


def _index(case: Case, name: str) -> int:
    return next(i for i, step in enumerate(case.plan.steps) if step.id == name)


def _moved(case: Case, index: int, start_ms: float) -> Case:
    """A step at another time, and the makespan after it."""
    step = case.plan.steps[index]
    made = case.of_step(index, start_ms=start_ms, end_ms=start_ms + step.latency_p90_ms)
    return made.of_plan(makespan_ms=max(item.end_ms for item in made.plan.steps))


@kind("step id twice", "is used twice")
def _(case: Case, rng: random.Random) -> Case | None:
    if len(case.plan.steps) < 2:
        return None
    first, second = rng.sample(range(len(case.plan.steps)), 2)
    return case.of_step(first, id=case.plan.steps[second].id)


@kind("step ids differ in case", "differ in case alone")
def _(case: Case, rng: random.Random) -> Case | None:
    if not has_room(case):
        return None
    step = case.plan.steps[some_step(case, rng)]
    twin = step.model_copy(update={"id": step.id.upper()})
    return case.of_plan(steps=[*case.plan.steps, twin])


@kind("unknown dependency", "which is not in the plan")
def _(case: Case, rng: random.Random) -> Case:
    index = some_step(case, rng)
    ghost = rng.choice(["ghost", "", "S0", " s0", "s0 ", "s-1"])
    return case.of_step(index, depends_on=[*case.plan.steps[index].depends_on, ghost])


@kind("depends on itself", "depends on itself")
def _(case: Case, rng: random.Random) -> Case:
    step = case.plan.steps[index := some_step(case, rng)]
    return case.of_step(index, depends_on=[*step.depends_on, step.id])


@kind("dependency twice", "lists a dependency twice")
def _(case: Case, rng: random.Random) -> Case | None:
    index = _dependent(case, rng)
    if index is None:
        return None
    before = case.plan.steps[index].depends_on
    return case.of_step(index, depends_on=[*before, rng.choice(before)])


@kind("cycle", "in a cycle")
def _(case: Case, rng: random.Random) -> Case | None:
    """The step at the head of a way through the graph comes to depend on the one at its end."""
    index = _dependent(case, rng)
    if index is None:
        return None
    end = head = case.plan.steps[index]
    while head.depends_on:
        head = case.plan.steps[_index(case, rng.choice(head.depends_on))]
    return case.of_step(_index(case, head.id), depends_on=[end.id])


@kind("cycle at equal times", "in a cycle")
def _(case: Case, rng: random.Random) -> Case | None:
    """Two steps of almost no length that wait for each other; a sharp clock tells no order."""
    if not has_room(case):
        return None
    index = some_step(case, rng)
    step = case.plan.steps[index].model_copy(update={"depends_on": ["loop"], "inputs": {}})
    loop = step.model_copy(update={"id": "loop", "depends_on": [step.id]})
    return case.of_plan(steps=[*case.plan.steps[:index], step, *case.plan.steps[index + 1 :], loop])


@kind("reads without depending", "without depending on it")
def _(case: Case, rng: random.Random) -> Case | None:
    found = [
        (i, binding.step)
        for i, step in enumerate(case.plan.steps)
        for items in step.inputs.values()
        for binding in items
        if isinstance(binding, StepBinding)
    ]
    if not found:
        return None
    index, name = rng.choice(found)
    return case.of_step(index, depends_on=[item for item in case.plan.steps[index].depends_on if item != name])


@kind("starts 1 ms before a predecessor ends", "on which it depends, ends at", judged=True)
def _(case: Case, rng: random.Random) -> Case | None:
    index = _dependent(case, rng)
    if index is None:
        return None
    ready = max(case.plan.steps[_index(case, name)].end_ms for name in case.plan.steps[index].depends_on)
    return _moved(case, index, ready - 1.0) if ready >= 1.0 else None


@kind("hand-over missed by 2 ms", "handing over takes", judged=True)
def _(case: Case, rng: random.Random) -> Case | None:
    index, hand_over_ms = _dependent(case, rng), case.plan.hand_over_predicted_ms
    if index is None or hand_over_ms < 2:
        return None
    ready = max(case.plan.steps[_index(case, name)].end_ms for name in case.plan.steps[index].depends_on)
    return _moved(case, index, ready + hand_over_ms - 2.0)


@kind("end is not start plus latency", "not its start plus its 90 % latency")
def _(case: Case, rng: random.Random) -> Case:
    index = some_step(case, rng)
    end_ms = case.plan.steps[index].end_ms + rng.choice([-0.5, 0.01, 1.0, 1e6])
    return case.of_step(index, end_ms=max(0.0, end_ms))


@kind("median above 90 %", "median latency is above")
def _(case: Case, rng: random.Random) -> Case:
    index = some_step(case, rng)
    return case.of_step(index, latency_p50_ms=case.plan.steps[index].latency_p90_ms + rng.choice([0.01, 1e9]))


@kind("takes no time", "it takes no time")
def _(case: Case, rng: random.Random) -> Case:
    step = case.plan.steps[index := some_step(case, rng)]
    return case.of_step(index, end_ms=step.start_ms, latency_p90_ms=0.0, latency_p50_ms=-0.0)


@kind("makespan off", "but the last step ends at")
def _(case: Case, rng: random.Random) -> Case:
    return case.of_plan(makespan_ms=max(0.0, case.plan.makespan_ms + rng.choice([-0.5, 0.01, 1.0, -1e9, 1e9])))


@kind("deadline missed by 10 ms", "later than the deadline")
def _(case: Case, rng: random.Random) -> Case | None:
    wait_ms = (case.plan.release_at - case.plan.created_at).total_seconds() * 1000.0
    total_ms = wait_ms + case.plan.makespan_ms
    deadline_ms = max(rng.choice([total_ms - 10.0, total_ms / 2, case.plan.makespan_ms - 10.0]), 1e-3)
    return case.of_request(deadline_s=deadline_ms / 1000.0) if deadline_ms < total_ms - 2 else None


@kind("release not as predicted", "are predicted to be")
def _(case: Case, rng: random.Random) -> Case:
    name = rng.choice(["t_inf_predicted_ms", "dispatch_lag_predicted_ms"])
    return case.of_plan(**{name: getattr(case.plan, name) + rng.choice([3.0, 1e6])})


@kind("released before created", "before it was created")
def _(case: Case, rng: random.Random) -> Case:
    wait = case.plan.release_at - case.plan.created_at
    return case.of_plan(created_at=case.plan.release_at + wait + timedelta(microseconds=rng.choice([1, 10**9])))


_FAR = (4e11, 1e18, 1e300, 1.7e308)


@kind("step in the far future", r"step s\d+: \w+ is \S+, more than ten years")
def _(case: Case, rng: random.Random) -> Case:
    names = ("start_ms", "end_ms", "latency_p50_ms", "latency_p90_ms")
    return case.of_step(some_step(case, rng), **{rng.choice(names): rng.choice(_FAR)})


@kind("plan in the far future", r": \w+_ms is \S+, more than ten years")
def _(case: Case, rng: random.Random) -> Case:
    names = ("makespan_ms", "t_inf_predicted_ms", "dispatch_lag_predicted_ms", "hand_over_predicted_ms")
    return case.of_plan(**{rng.choice(names): rng.choice(_FAR)})


@kind("absurd grid", "step_ms is more than ten years")
def _(case: Case, rng: random.Random) -> Case:
    return case.of_curve(rng.randrange(len(case.plan.forecast)), step_ms=rng.choice([10**12, 10**30, 10**400]))


@kind("beyond the calendar", "last instant of the calendar")
def _(case: Case, rng: random.Random) -> Case:
    end = datetime.max.replace(tzinfo=UTC)
    shift = end - case.plan.release_at - timedelta(milliseconds=rng.uniform(0, case.plan.makespan_ms * 0.9))
    curves = [item.model_copy(update={"start_at": item.start_at + shift}) for item in case.plan.forecast]
    return case.of_plan(
        created_at=case.plan.created_at + shift, release_at=case.plan.release_at + shift, forecast=curves
    )


@kind("unknown tool", "the registry has no tool")
def _(case: Case, rng: random.Random) -> Case:
    return case.of_step(some_step(case, rng), tool=rng.choice(["ghost", "Blur", "blur2", "b"]))


@kind("tool not allowed", "does not allow the tool")
def _(case: Case, rng: random.Random) -> Case:
    name = case.plan.steps[some_step(case, rng)].tool
    return case.of_request(allowed_tools=[item for item in TOOLS if item != name])


@kind("registry holds another tool", "under its name")
def _(case: Case, rng: random.Random) -> Case:
    name = case.plan.steps[some_step(case, rng)].tool
    other = rng.choice([item for item in TOOLS if item != name])
    return replace(case, tools={**case.tools, name: TOOLS[other]})


def _of_inputs(case: Case, index: int, port: str, bindings: list[Any]) -> Case:
    return case.of_step(index, inputs={**case.plan.steps[index].inputs, port: bindings})


def _port(step: PlanStep, rng: random.Random) -> str:
    return rng.choice([port.name for port in TOOLS[step.tool].inputs if port.name in step.inputs])


@kind("required input unbound", "is not bound")
def _(case: Case, rng: random.Random) -> Case:
    step = case.plan.steps[index := some_step(case, rng)]
    name = next(port.name for port in TOOLS[step.tool].inputs if port.required)
    if rng.random() < 0.5:
        return _of_inputs(case, index, name, [])
    return case.of_step(index, inputs={port: items for port, items in step.inputs.items() if port != name})


@kind("unknown port", "has no input")
def _(case: Case, rng: random.Random) -> Case:
    index = some_step(case, rng)
    return _of_inputs(case, index, rng.choice(["mask", "Images", ""]), [RequestBinding(name="photos")])


@kind("unknown request input", "the request has no input")
def _(case: Case, rng: random.Random) -> Case:
    step = case.plan.steps[index := some_step(case, rng)]
    return _of_inputs(case, index, _port(step, rng), [RequestBinding(name=rng.choice(["ghost", "", "Photos"]))])


@kind("request input of another type", "but the request's")
def _(case: Case, rng: random.Random) -> Case:
    step = case.plan.steps[index := some_step(case, rng)]
    made = _of_inputs(case, index, _port(step, rng), [RequestBinding(name="sound")])
    sound = RequestInput(type="audio/wav", uris=["a.wav"])
    return made.of_request(inputs={**case.plan.request.inputs, "sound": sound})


@kind("input without files in a run", "names no file, and the plan is to be run")
def _(case: Case, rng: random.Random) -> Case | None:
    used = [
        item.name
        for step in case.plan.steps
        for items in step.inputs.values()
        for item in items
        if isinstance(item, RequestBinding)
    ]
    if case.plan.request.origin is None or not used:
        return None
    name = rng.choice(used)
    given = case.plan.request.inputs
    return case.of_request(inputs={**given, name: given[name].model_copy(update={"uris": []})})


@kind("unknown output", "there is no output")
def _(case: Case, rng: random.Random) -> Case | None:
    index = _dependent(case, rng)
    if index is None:
        return None
    step = case.plan.steps[index]
    ghost = StepBinding(step=rng.choice(step.depends_on), output=rng.choice(["ghost", "", "Images"]))
    return _of_inputs(case, index, _port(step, rng), [ghost])


@kind("output of another type", r"takes .*, but \w+ of")
def _(case: Case, rng: random.Random) -> Case | None:
    index = _dependent(case, rng)
    if index is None:
        return None
    step = case.plan.steps[index]
    before = case.plan.steps[_index(case, rng.choice(step.depends_on))]
    offered = TOOLS[before.tool].outputs[0]
    ports = [port.name for port in TOOLS[step.tool].inputs if port.type.split("/")[0] != offered.type.split("/")[0]]
    if not ports:
        return None
    return _of_inputs(case, index, rng.choice(ports), [StepBinding(step=before.id, output=offered.name)])


@kind("source twice", "one source is listed twice")
def _(case: Case, rng: random.Random) -> Case:
    step = case.plan.steps[index := some_step(case, rng)]
    name = _port(step, rng)
    return _of_inputs(case, index, name, [*step.inputs[name], rng.choice(step.inputs[name])])


_WRONG_VALUES: dict[str, list[dict[str, Any]]] = {
    "blur": [{"radius": value} for value in (0, -3, 1.5, "3", True, None, [1], {"a": 1}, -(10**400))],
    "shorten": [{"ratio": 0}, {"ratio": 1.01}, {"ratio": -1e300}, {"ratio": "half"}, {"style": "loud"}],
}
_WRONG_NAMES: dict[str, list[dict[str, Any]]] = {
    "blur": [{}, {"radius": 1, "x": 1}, {"Radius": 3}, {"radius": 3, "": None}],
    "shorten": [{"x": 0}, {"Ratio": 0.5}],
}


def _with_arguments(case: Case, rng: random.Random, among: dict[str, list[dict[str, Any]]]) -> Case | None:
    found = [i for i, step in enumerate(case.plan.steps) if step.tool in among]
    if not found:
        return None
    index = rng.choice(found)
    return case.of_step(index, arguments=rng.choice(among[case.plan.steps[index].tool]))


@kind("argument of a wrong value", r"step s\d+, (radius|ratio|style): ")
def _(case: Case, rng: random.Random) -> Case | None:
    return _with_arguments(case, rng, _WRONG_VALUES)


@kind("argument missing or unknown", r"step s\d+, arguments: ")
def _(case: Case, rng: random.Random) -> Case | None:
    return _with_arguments(case, rng, _WRONG_NAMES)


@kind("argument schema unsound", "the argument schema of")
def _(case: Case, rng: random.Random) -> Case:
    name = case.plan.steps[some_step(case, rng)].tool
    schema: dict[str, Any] = rng.choice(
        [
            {"type": "objekt"},
            {"properties": 5},
            {"$ref": "https://example.org/schema.json"},
            {"$ref": "#/$defs/ghost"},
            {"$ref": "#"},
            {"required": "radius"},
        ]
    )
    return replace(case, tools={**case.tools, name: case.tools[name].model_copy(update={"arguments": schema})})


@kind("declared result missing", "is not produced")
def _(case: Case, _rng: random.Random) -> Case:
    return case.of_request(outputs={**case.plan.request.outputs, "more": "text/plain"})


@kind("declared result of another type", "is declared as")
def _(case: Case, rng: random.Random) -> Case | None:
    if not case.plan.outputs:
        return None
    return case.of_request(outputs={"result": rng.choice(["audio/wav", "audio/*", "image/jpeg"])})


@kind("result of nothing", "which does not exist")
def _(case: Case, rng: random.Random) -> Case:
    step = case.plan.steps[some_step(case, rng)]
    output = TOOLS[step.tool].outputs[0].name
    ghost = rng.choice([StepBinding(step="ghost", output=output), StepBinding(step=step.id, output="ghost")])
    return case.of_plan(outputs={**case.plan.outputs, rng.choice(["result", "more"]): ghost})
