"""Plans with a known verdict: the benchmark's catalogue at a fixed seed, and cases at the edge of a rule."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from benchmarks.verify_kinds import kinds_of
from benchmarks.verify_plans import good_case
from benchmarks.verify_world import TOOLS, Case
from tomas.errors import PlanRejected
from tomas.schema import (
    Budget,
    PlanStep,
    RequestBinding,
    Reservation,
    Resources,
    StepBinding,
)
from tomas.verify import Routes

__all__ = ["Specimen", "catalogue", "dips", "edges", "large", "plain", "verdict", "words"]


@dataclass(frozen=True)
class Specimen:
    """A case; ``says`` is what its refusal matches, None where it is good."""

    name: str
    case: Case
    says: str | None


def verdict(verify: Callable[..., None], item: Specimen) -> str:
    """What ``verify`` does wrong with a specimen; empty where it is right."""
    case = item.case
    try:
        verify(case.plan, case.tools, case.bins, case.reservations, prices=case.prices, routes=case.routes)
    except PlanRejected as error:
        if item.says is None:
            return f"good, but refused: {error.what}"
        stumbled = "cannot be checked further" in error.what
        return f"not named: {error.what}" if stumbled or not re.search(item.says, error.what) else ""
    except Exception as error:  # noqa: BLE001 - whatever a broken verifier may raise
        return f"raised {error!r}"
    return "" if item.says is None else "released"


def catalogue(good: int, per_kind: int) -> Iterator[Specimen]:
    """Good plans, then corrupted ones of every kind."""
    rng = random.Random(7)  # noqa: S311
    for _ in range(good):
        yield Specimen("good", good_case(rng, rng.randint(1, 6)), None)
    for kind in [*kinds_of(heavy=False), *kinds_of(heavy=True)]:
        rng = random.Random(kind.name)  # noqa: S311 - of its own, so that kinds do not depend on each other
        made = 0
        while made < (1 if kind.heavy else per_kind):
            case = kind.corrupt(good_case(rng, rng.randint(1, 6)), rng)
            if case is not None:
                yield Specimen(kind.name, case, kind.says)
                made += 1


def plain(steps: int = 1, *, length_ms: float = 1000.0, gap_ms: float = 0.0) -> Case:
    """Steps one after the other, each 1 core of an idle bin of 4 cores and 8 GB, without any limit."""
    rng = random.Random(1)  # noqa: S311
    case = next(item for item in iter(lambda: good_case(rng, 1), None) if _is_idle(item))
    need = Resources(cpu_cores=1)
    made: list[PlanStep] = []
    for i in range(steps):
        start_ms = i * (length_ms + gap_ms)
        made.append(
            case.plan.steps[0].model_copy(
                update={
                    "id": f"s{i}",
                    "tool": "label",
                    "arguments": {},
                    "inputs": {"images": [RequestBinding(name="photos")]},
                    "depends_on": [],
                    "allocation": case.plan.steps[0].allocation.model_copy(update={"floor": need, "final": need}),
                    "pool_slots": 25,
                    "latency_p50_ms": length_ms,
                    "latency_p90_ms": length_ms,
                    "start_ms": start_ms,
                    "end_ms": start_ms + length_ms,
                }
            )
        )
    made_plan = case.of_plan(
        id="plain", steps=made, outputs={}, makespan_ms=made[-1].end_ms, hand_over_predicted_ms=0.0
    )
    request = {"outputs": {}, "deadline_s": None, "budget": Budget(), "allowed_tools": None}
    return replace(made_plan.of_request(**request), routes=None)


def _is_idle(case: Case) -> bool:
    """Whether a case has one small bin, of which all is free all the time."""
    curve = case.plan.forecast[0]
    return (
        len(case.bins) == 1
        and case.bins[0].worker_class == "small"
        and len(curve) == 1
        and len(case.plan.steps) == 1
    )


def reserved(case: Case, start_ms: float, end_ms: float, slots: int, *, plan: str = "other", **need: float) -> Case:
    """A case with one more reservation on its first bin."""
    item = Reservation(
        plan_id=plan,
        step_id="x",
        bin=case.bins[0].name,
        need=Resources(**need),
        slots=slots,
        start_at=case.plan.release_at + timedelta(milliseconds=start_ms),
        end_at=case.plan.release_at + timedelta(milliseconds=end_ms),
    )
    return replace(case, reservations=[*case.reservations, item])


def _shifted(case: Case, by: timedelta) -> Case:
    curves = [item.model_copy(update={"start_at": item.start_at + by}) for item in case.plan.forecast]
    return case.of_plan(created_at=case.plan.created_at + by, release_at=case.plan.release_at + by, forecast=curves)


def _with_twin(case: Case, *names: str) -> Case:
    """A case with more bins that share the first one's pool."""
    return replace(case, bins=[*case.bins, *(case.bins[0].model_copy(update={"name": name}) for name in names)])


def edges() -> Iterator[Specimen]:
    """Cases just within a rule, and refusals whose words matter."""
    one, two = plain(), plain(2, gap_ms=5000.0)
    label, blur = TOOLS["label"], TOOLS["blur"]
    ghosts = {f"r{i}": StepBinding(step="ghost", output="o") for i in range(21)}
    yield Specimen("21 faults", one.of_plan(outputs=ghosts), r"breaks 20 rule\(s\).*There are more\.$")
    fewer = {name: binding for name, binding in ghosts.items() if name != "r20"}
    yield Specimen("20 faults", one.of_plan(outputs=fewer), r"breaks 20 rule\(s\)((?!There are more).)*$")
    yield Specimen("long names are cut", one.of_step(0, depends_on=["g" * 9999]), "^.{100,600}$")
    yield Specimen("longest task", one.of_request(task="x" * 8000), None)
    yield Specimen("most warnings", one.of_plan(warnings=["w"] * 1000), None)
    only = one.of_request(allowed_tools=["blur"])
    yield Specimen("tool of the request", replace(only.of_request(tools=[label]), tools={"blur": blur}), None)
    yield Specimen("not allowed", only, "does not allow the tool label")
    yield Specimen(
        "more results than declared", one.of_plan(outputs={"x": StepBinding(step="s0", output="labels")}), None
    )
    yield Specimen("a backslash before u0000", one.of_plan(explanation="\\u0000"), None)
    yield Specimen("two backslashes and character 0", one.of_plan(explanation="\\\\\0"), "character 0")
    at_once = one.of_plan(created_at=one.plan.release_at, t_inf_predicted_ms=0.0, dispatch_lag_predicted_ms=0.0)
    yield Specimen("released at once", at_once, None)
    last = datetime.max.replace(tzinfo=UTC)
    at_the_end = last - timedelta(seconds=1) - one.plan.release_at
    yield Specimen("ends with the calendar", _shifted(one, at_the_end), None)
    yield Specimen("a microsecond more", _shifted(one, at_the_end + timedelta(microseconds=1)), "of the calendar")
    yield Specimen("reservation of no length", reserved(one, 500, 500, 1, cpu_cores=1), None)
    yield Specimen("it counts at its instant", reserved(one, 500, 500, 76), "25 pool slots of the plan and 76")
    yield Specimen("own reservation", reserved(one, 0, 1000, 100, plan="plain", cpu_cores=4), None)
    yield Specimen("as much as is left", reserved(one, 0, 1000, 75, cpu_cores=3), None)
    yield Specimen("reserved until the start", reserved(one, -1000, 0, 100, cpu_cores=4), None)
    yield Specimen("reserved from the end", reserved(one, 1000, 2000, 100, cpu_cores=4), None)
    yield Specimen("others take too much of what is not used", reserved(one, 0, 1000, 1, cpu_mem_gb=99), None)
    yield Specimen("others take too much in between", reserved(two, 2000, 3000, 150, cpu_cores=5), None)
    yield Specimen("shared pool, not used", _with_twin(one, "t"), None)
    apart = replace(one, bins=[*one.bins, *(one.bins[0].model_copy(update={"name": n, "pool": "t"}) for n in "uv")])
    yield Specimen("another shared pool", apart, None)
    for slots, says in (
        (75, None),
        (76, "^Plan plain breaks 1 rule.s.: pool p. at 500 ms: 25 slots of the plan and 76 "),
    ):
        on_twin = reserved(_with_twin(two, "t"), 500, 900, slots)
        moved = on_twin.reservations[0].model_copy(update={"bin": "t"})
        yield Specimen(f"{slots} slots on a twin", replace(on_twin, reservations=[moved]), says)
    in_between = reserved(_with_twin(two, "t"), 2000, 3000, 150)
    moved = in_between.reservations[0].model_copy(update={"bin": "t"})
    yield Specimen("a shared pool overbooked by others", replace(in_between, reservations=[moved]), None)
    prices = dict.fromkeys(("cpu_core_hour", "mem_gb_hour", "gpu_hour"), 0.0)
    free = replace(one.of_request(budget=Budget(cost=1e-9)), prices=prices)
    for size in (2.0**52, 1e17, 1e300):
        # Capacities that no machine has; a step takes the whole bin, which is fine, and a bit more is seen.
        need = Resources(cpu_cores=size)
        vast = replace(one, bins=[one.bins[0].model_copy(update={"capacity": need})])
        vast = vast.of_step(
            0, pool_slots=100, allocation=one.plan.steps[0].allocation.model_copy(update={"final": need})
        )
        yield Specimen(f"{size:g} cores", vast.of_curve(0, cpu_cores=[size]), None)
        yield Specimen(f"not quite {size:g} cores", vast.of_curve(0, cpu_cores=[size * 0.999]), "are forecast free")
    yield Specimen("nothing costs anything", free, None)
    endless = replace(free, prices={**prices, "gpu_hour": float("inf")})
    for price in (float("nan"), -1.0, -1e-300):
        unsound = replace(free, prices={**prices, "gpu_hour": price})
        yield Specimen(f"a price of {price}", unsound, "no sound price is given per gpu_hour")
    yield Specimen("no prices", replace(free, prices=None), "no sound price is given per cpu_core_hour, ")
    decision = one.plan.steps[0].allocation
    for excess, says in ((1e-4, "is allotted less cpu_cores than its floor"), (1e-7, None)):
        floored = decision.model_copy(update={"floor": Resources(cpu_cores=1 + excess)})
        yield Specimen(f"a floor {excess:g} higher", one.of_step(0, allocation=floored), says)
    for excess, says in ((1e-5, "pool_slots is 25, but its dominant share takes 26"), (1e-9, None)):
        more = decision.model_copy(update={"final": Resources(cpu_cores=1 + excess)})
        yield Specimen(f"{excess:g} more than 25 slots", one.of_step(0, allocation=more), says)
    yield Specimen("an infinite price", endless, "no sound price is given per gpu_hour")
    yield Specimen("reservation on another bin", replace(reserved(one, 0, 1000, 100), bins=one.bins), "pool slots")
    yield Specimen("routes", replace(one, routes=Routes({one.bins[0].pool: 100}, [one.bins[0].queue])), None)


def words() -> Iterator[Specimen]:
    """Refusals whose figures have to be right."""
    one, two = plain(), plain(2, gap_ms=1000.0)
    last = two.of_step(1, depends_on=["s0"]).of_plan(hand_over_predicted_ms=3000.0)
    yield Specimen(
        "hand-over", last, "s1 starts 1000 ms after s0, on which it depends, ends; handing over takes 3000"
    )
    yield Specimen("hand-over kept", last.of_plan(hand_over_predicted_ms=1000.0), None)
    begin = one.plan.release_at - timedelta(seconds=5)
    waits = one.of_plan(created_at=begin, t_inf_predicted_ms=2000.0, dispatch_lag_predicted_ms=3000.0)
    says = "ends 6.0 s after the request, later than the deadline of 5.5 s"
    yield Specimen("deadline", waits.of_request(deadline_s=5.5), says)
    yield Specimen("deadline kept", waits.of_request(deadline_s=6.0), None)
    says = "at 500 ms: 1 cpu_cores of the plan and 3.5 reserved by others exceed its 4\\.$"
    yield Specimen("reserved by others", reserved(one, 500, 600, 1, cpu_cores=3.5), says)
    hours = 1 / 3600
    yield Specimen("all of the budget", one.of_request(budget=Budget(cpu_core_hours=hours)), None)
    tight = one.of_request(budget=Budget(cpu_core_hours=hours / 1.0005))
    yield Specimen("too little budget", tight, "it takes 0.000277778 of the budget's 0.000277639 cpu_core_hours")
    bare = one.plan.model_copy()
    del bare.__dict__["warnings"]
    yield Specimen("no warnings at all", replace(one, plan=bare), "what its own JSON gives back, in warnings")
    yield Specimen(
        "30 steps that are none", one.of_plan(steps=[None] * 30), r"breaks 20 rule\(s\).*There are more\.$"
    )


def _free_cores(case: Case, *cores: float, before: timedelta = timedelta(0)) -> Case:
    """A case whose bin has so many free cores, second by second, told from ``before`` its release on."""
    idle = case.plan.forecast[0]
    columns = {name: [getattr(idle, name)[0]] * len(cores) for name in ("cpu_mem_gb", "gpu_sm", "gpu_mem_gb")}
    start_at = case.plan.release_at - before
    return case.of_curve(0, step_ms=1000, start_at=start_at, cpu_cores=list(cores), **columns)


def dips() -> Iterator[Specimen]:
    """What is free sinks below the one core that a step of 3.5 s takes, before, in or after its time."""
    one = plain(length_ms=3500)
    waits = one.of_plan(
        created_at=one.plan.release_at - timedelta(seconds=5),
        t_inf_predicted_ms=4000.0,
        dispatch_lag_predicted_ms=1000.0,
    )
    yield Specimen("dip at the start", _free_cores(one, 0.5, 4), "at 0 ms: the plan loads 1 cpu_cores, but 0.5")
    yield Specimen("dip inside", _free_cores(one, 4, 4, 0.5, 4), "at 2000 ms: the plan loads 1 cpu_cores, but 0.5")
    yield Specimen("dip in the last cell", _free_cores(one, 4, 4, 4, 0.5, 4), "at 3000 ms: the plan loads 1")
    yield Specimen("dip after the end", _free_cores(one, 4, 4, 4, 4, 0.5, 4), None)
    yield Specimen("as forecast, rounded", _free_cores(one, 1 - 5e-7), None)
    yield Specimen("exactly enough", _free_cores(one, 1, 4, 1), None)
    yield Specimen("dip from the instant of the end on", _free_cores(plain(length_ms=3000), 4, 4, 4, 0.5), None)
    yield Specimen(
        "the last value holds on", _free_cores(plain(2, gap_ms=9000.0), 4, 0.5), "at 10000 ms: the plan loads 1"
    )
    two_s = timedelta(seconds=2)
    yield Specimen("dip before the release", _free_cores(waits, 4, 0.5, 4, before=two_s), None)
    yield Specimen(
        "dip at the release", _free_cores(waits, 4, 4, 0.5, 4, before=two_s), "at 0 ms: the plan loads 1"
    )
    yield Specimen(
        "dip after the release", _free_cores(waits, 4, 4, 4, 0.5, 4, before=two_s), "at 1000 ms: the plan"
    )


def large() -> list[Specimen]:
    """Cases at the limit of steps; each takes a second."""
    return [Specimen("10,000 steps", plain(10_000), None)]
