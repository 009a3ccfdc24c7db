"""The verifier: every list schedule passes, and every kind of perturbation is refused by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.errors import PlanRejected
from tomas.schedule import Activity, Mode, Problem, capacity_of, list_schedule, mode_need
from tomas.schema import (
    AllocationDecision,
    Bin,
    CapacityCurve,
    InputSizeThresholds,
    Plan,
    PlannerInfo,
    PlanRequest,
    PlanStep,
    Port,
    RequestBinding,
    RequestInput,
    Reservation,
    Resources,
    StepBinding,
    Tool,
    pool_slots,
)
from tomas.verify import verify_plan

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RELEASE = NOW + timedelta(seconds=3)
SIZES = InputSizeThresholds(small_max_bytes=1000, medium_max_bytes=100_000)
CAPACITY = Resources(cpu_cores=4, cpu_mem_gb=8)
BINS = [
    Bin(name=name, worker_class="c", queue=f"q_{name}", pool=f"p_{name}", capacity=CAPACITY)
    for name in ("b1", "b2")
]
BLUR = Tool(
    name="blur", family="vision", description="Blur.", inputs=[Port(name="images", type="image/*")],
    outputs=[Port(name="images", type="image/png")], input_size=SIZES,
    arguments={
        "type": "object", "additionalProperties": False, "required": ["radius"],
        "properties": {"radius": {"type": "integer", "minimum": 1}},
    },
)  # fmt: skip
LABEL = Tool(
    name="label", family="vision", description="Label.", inputs=[Port(name="images", type="image/*")],
    outputs=[Port(name="labels", type="application/jsonl")], input_size=SIZES,
)  # fmt: skip
TOOLS = {tool.name: tool for tool in (BLUR, LABEL)}


def free(cores: list[float] | None = None, name: str = "b1") -> CapacityCurve:
    cores = cores or [4.0]
    return CapacityCurve(
        bin=name, start_at=RELEASE, step_ms=1000, source="declared", cpu_cores=cores,
        cpu_mem_gb=[8.0] * len(cores), gpu_sm=[0.0] * len(cores), gpu_mem_gb=[0.0] * len(cores),
    )  # fmt: skip


def step(
    name: str,
    start: float = 0,
    length: float = 1000,
    *,
    tool: str = "blur",
    after: tuple[str, ...] = (),
    cores: float = 1,
    gb: float = 1,
    bin_name: str = "b1",
    **more: Any,
) -> PlanStep:
    need = Resources(cpu_cores=cores, cpu_mem_gb=gb)
    sources: list[Any] = [StepBinding(step=item, output="images") for item in after]
    fields: dict[str, Any] = {
        "id": name, "tool": tool, "arguments": {"radius": 3} if tool == "blur" else {},
        "inputs": {"images": sources or [RequestBinding(name="images")]}, "depends_on": list(after),
        "predicted_input_bytes": 10, "allocation": AllocationDecision(floor=need, final=need, why="test"),
        "latency_p50_ms": length / 2, "latency_p90_ms": length, "start_ms": start, "end_ms": start + length,
        "bin": bin_name, "worker_class": "c", "queue": f"q_{bin_name}", "pool": f"p_{bin_name}",
        "pool_slots": pool_slots(need, CAPACITY) if need.fits(CAPACITY) else 100, "confidence": 0.9,
    }  # fmt: skip
    return PlanStep(**{**fields, **more})


def plan(*steps: PlanStep, **more: Any) -> Plan:
    request = more.pop("request", None) or PlanRequest(
        task="Blur the images.", inputs={"images": RequestInput(type="image/png", uris=["a.png"])}
    )
    fields: dict[str, Any] = {
        "request": request, "language": "en", "planner": PlannerInfo(kind="retrieval", version="1"),
        "created_at": NOW, "release_at": RELEASE, "t_inf_predicted_ms": 1000, "dispatch_lag_predicted_ms": 2000,
        "forecast": [free(), free(name="b2")], "steps": list(steps),
        "makespan_ms": max((item.end_ms for item in steps), default=0),
    }  # fmt: skip
    return Plan(**{**fields, **more})


def refused(broken: Plan, says: str, reservations: list[Reservation] | None = None) -> None:
    with pytest.raises(PlanRejected, match=says):
        verify_plan(broken, TOOLS, BINS, reservations or [])


GOOD = plan(step("s1"), step("s2", 1000, after=("s1",)), step("s3", 1000, after=("s1",), tool="label"))


def test_a_good_plan_passes() -> None:
    verify_plan(GOOD, TOOLS, BINS, [])


def changed(index: int, **fields: Any) -> Plan:
    steps = list(GOOD.steps)
    steps[index] = steps[index].model_copy(update=fields)
    return GOOD.model_copy(update={"steps": steps})


SMALL = Resources(cpu_cores=1, cpu_mem_gb=1)
HUGE = Resources(cpu_cores=5, cpu_mem_gb=1)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (plan(), "it has no steps"),
        (changed(1, id="s1"), "step id s1 is used twice"),
        (changed(1, depends_on=["ghost"]), "depends on ghost, which is not in the plan"),
        (changed(1, depends_on=[]), "s2 reads from s1 without depending on it"),
        (changed(1, depends_on=["s2", "s1"]), "s2 depends on itself"),
        (changed(0, depends_on=["s2"]), "depend on each other in a cycle"),
        (changed(1, start_ms=500.0, end_ms=1500.0), "starts at 500 ms, before s1"),
        (changed(1, end_ms=1700.0), "not its start plus its 90 % latency"),
        (changed(1, latency_p50_ms=5000.0), "median latency is above"),
        (changed(1, start_ms=float("nan")), "start_ms is nan"),
        (changed(1, latency_p90_ms=float("inf")), "latency_p90_ms is inf"),
        (changed(1, start_ms=-1.0), "start_ms is -1"),
        (GOOD.model_copy(update={"makespan_ms": 1.0}), "makespan_ms is 1, but the last step ends"),
        (changed(0, tool="ghost"), "the registry has no tool ghost"),
        (changed(0, inputs={}), "required input images of blur is not bound"),
        (changed(0, inputs={"images": [RequestBinding(name="ghost")]}), "the request has no input ghost"),
        (changed(0, inputs={**GOOD.steps[0].inputs, "mask": []}), "blur has no input mask"),
        (changed(1, inputs={"images": [StepBinding(step="s1", output="ghost")]}), "no output ghost of a step s1"),
        (
            changed(1, inputs={"images": [StepBinding(step="s3", output="labels")]}),
            "labels of s3 is application/jsonl",
        ),
        (changed(0, arguments={}), "'radius' is a required property"),
        (changed(0, arguments={"radius": 0}), "s1, radius: 0 is less than the minimum"),
        (changed(0, arguments={"radius": 1, "x": 1}), "Additional properties"),
        (changed(0, bin="ghost"), "there is no bin ghost"),
        (changed(0, queue="other"), "queue is other, but bin b1 has q_b1"),
        (changed(0, pool="other"), "pool is other"),
        (changed(0, worker_class="other"), "worker_class is other"),
        (changed(0, pool_slots=24), "pool_slots is 24, but its dominant share takes 25"),
        (
            changed(0, allocation=AllocationDecision(floor=SMALL, final=HUGE, why="")),
            "needs 5 cpu_cores, but bin b1 has 4",
        ),
        (
            changed(0, allocation=AllocationDecision(floor=HUGE, final=SMALL, why="")),
            "allotted less cpu_cores than its floor",
        ),
        (GOOD.model_copy(update={"outputs": {"x": StepBinding(step="s9", output="images")}}), "s9.images"),
        (GOOD.model_copy(update={"forecast": [free(name="b2")]}), "no forecast for its bin b1"),
        (GOOD.model_copy(update={"forecast": [free(), free()]}), "two forecast curves"),
        (
            GOOD.model_copy(update={"forecast": [free([0.5])]}),
            "the plan loads 1 cpu_cores, but 0.5 are forecast free",
        ),
    ],
)
def test_each_violation_is_named(broken: Plan, says: str) -> None:
    refused(broken, says)


def test_tools_that_the_request_does_not_allow() -> None:
    request = GOOD.request.model_copy(update={"allowed_tools": ["label"]})
    refused(GOOD.model_copy(update={"request": request}), "does not allow the tool blur")


def test_tools_given_in_the_request_are_allowed() -> None:
    request = GOOD.request.model_copy(update={"allowed_tools": ["label"], "tools": [BLUR]})
    verify_plan(GOOD.model_copy(update={"request": request}), {"label": LABEL}, BINS, [])


def test_declared_results_must_be_produced_with_their_type() -> None:
    request = GOOD.request.model_copy(update={"outputs": {"result": "text/html"}})
    refused(GOOD.model_copy(update={"request": request}), "declared result result is not produced")
    bound = {"result": StepBinding(step="s2", output="images")}
    refused(GOOD.model_copy(update={"request": request, "outputs": bound}), "declared as text/html, but s2.images")


def test_deadline_counts_from_the_request() -> None:
    request = GOOD.request.model_copy(update={"deadline_s": 4.9})
    refused(GOOD.model_copy(update={"request": request}), "later than the deadline of 4.9 s")
    verify_plan(
        GOOD.model_copy(update={"request": GOOD.request.model_copy(update={"deadline_s": 5.0})}), TOOLS, BINS, []
    )


def test_loads_add_up_over_time() -> None:
    side_by_side = [step(f"s{i}", cores=1.5, gb=1) for i in range(3)]
    refused(plan(*side_by_side), "loads 4.5 cpu_cores, but 4 are forecast free")
    verify_plan(plan(*(step(f"s{i}", i * 1000.0, cores=1.5) for i in range(3))), TOOLS, BINS, [])


def test_a_dip_inside_a_long_step_is_seen() -> None:
    refused(plan(step("s1", 0, 3500, cores=2), forecast=[free([4, 4, 1, 4])]), "at 2000 ms: the plan loads 2")
    verify_plan(plan(step("s1", 0, 2000, cores=2), forecast=[free([4, 4, 1, 4])]), TOOLS, BINS, [])


def test_pool_slots_of_other_plans_count() -> None:
    other = Reservation(
        plan_id="other", step_id="x", bin="b1", need=Resources(cpu_cores=0.1), slots=90,
        start_at=RELEASE + timedelta(milliseconds=500), end_at=RELEASE + timedelta(milliseconds=900),
    )  # fmt: skip
    refused(plan(step("s1")), "25 pool slots of the plan and 90 reserved by others exceed its 100", [other])
    verify_plan(plan(step("s1")), TOOLS, BINS, [other.model_copy(update={"bin": "b2"})])
    done = other.model_copy(
        update={"start_at": RELEASE + timedelta(seconds=1), "end_at": RELEASE + timedelta(seconds=2)}
    )
    verify_plan(plan(step("s1")), TOOLS, BINS, [done])
    own = plan(step("s1"))
    verify_plan(own, TOOLS, BINS, [other.model_copy(update={"plan_id": own.id})])


def test_at_most_twenty_violations_are_listed() -> None:
    many = plan(*(step(f"s{i}", tool="ghost") for i in range(50)))
    with pytest.raises(PlanRejected, match=r"breaks 20 rule.*There are more\.") as caught:
        verify_plan(many, TOOLS, BINS, [])
    assert caught.value.what.count("no tool ghost") == 20


shapes = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(["b1", "b2"]), st.sampled_from([0.5, 1, 2, 4]), st.integers(1, 8),
                           st.integers(1, 4000)), min_size=1, max_size=3),
        st.sets(st.integers(0, 9), max_size=3),
    ),
    min_size=1, max_size=10,
)  # fmt: skip
curves = st.lists(st.integers(0, 4), max_size=5)
others = st.lists(st.tuples(st.integers(-3000, 8000), st.integers(1, 5000), st.integers(1, 60)), max_size=3)


def scheduled(raw: Any, cells: list[int], taken: Any) -> tuple[Plan, list[Reservation]]:
    """A plan as the planner makes it, from a list schedule."""
    curve = free([*map(float, cells), 4.0])
    held = [(float(begin), float(begin + length), slots) for begin, length, slots in taken]
    capacities = {"b1": capacity_of(curve, held), "b2": capacity_of(free(name="b2"))}
    activities = []
    for index, (modes, before) in enumerate(raw):
        options = tuple(
            Mode(
                name,
                mode_need(need := Resources(cpu_cores=c, cpu_mem_gb=g), pool_slots(need, CAPACITY)),
                ms / 2,
                float(ms),
            )
            for name, c, g, ms in modes
        )
        activities.append(Activity(f"s{index}", options, tuple(f"s{j}" for j in sorted(before) if j < index)))
    solved = list_schedule(Problem(tuple(activities), capacities))
    steps = [
        step(
            item.activity, item.start_ms, item.mode.p90_ms, after=activity.predecessors, bin_name=item.mode.bin,
            cores=item.mode.need[0], gb=item.mode.need[1],
        )
        for item, activity in zip(solved.assignments, activities, strict=True)
    ]  # fmt: skip
    reservations = [
        Reservation(
            plan_id="other", step_id=f"x{i}", bin="b1", need=Resources(), slots=slots,
            start_at=RELEASE + timedelta(milliseconds=begin), end_at=RELEASE + timedelta(milliseconds=end),
        )
        for i, (begin, end, slots) in enumerate(held)
    ]  # fmt: skip
    return plan(*steps, forecast=[curve, free(name="b2")]), reservations


@given(shapes, curves, others)
@settings(max_examples=150, deadline=None)
def test_every_list_schedule_passes(raw: Any, cells: list[int], taken: Any) -> None:
    made, reservations = scheduled(raw, cells, [])
    verify_plan(made, TOOLS, BINS, reservations)
    if sum(slots for *_, slots in taken) <= 100:
        made, reservations = scheduled(raw, cells, taken)
        verify_plan(made, TOOLS, BINS, reservations)


@given(shapes, st.data())
@settings(max_examples=100, deadline=None)
def test_perturbed_schedules_are_refused(raw: Any, data: st.DataObject) -> None:
    made, _ = scheduled(raw, [], [])
    index = data.draw(st.integers(0, len(made.steps) - 1))
    victim = made.steps[index]
    change = data.draw(st.sampled_from(["slots", "end", "bin", "dependency", "argument", "length"]))
    update: dict[str, Any] = {
        "slots": {"pool_slots": victim.pool_slots + 1},
        "end": {"end_ms": victim.end_ms + 7},
        "bin": {"bin": "b2" if victim.bin == "b1" else "b1"},
        "dependency": {"depends_on": [victim.id]},
        "argument": {"arguments": {"radius": "wide"}},
        "length": {"latency_p90_ms": victim.latency_p90_ms * 2 + 1},
    }[change]
    steps = [item.model_copy(update=update) if item.id == victim.id else item for item in made.steps]
    refused(made.model_copy(update={"steps": steps}), "breaks")


@given(st.integers(2, 8), st.sampled_from([1.5, 2, 3, 4]))
@settings(max_examples=40, deadline=None)
def test_overloaded_instants_are_refused(count: int, cores: float) -> None:
    if count * cores > CAPACITY.cpu_cores:
        refused(plan(*(step(f"s{i}", i * 10.0, 1000, cores=cores) for i in range(count))), "forecast free|exceed")
