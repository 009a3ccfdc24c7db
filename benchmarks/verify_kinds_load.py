"""Corruptions of placement, routes, load and budget; several miss by one unit at one instant, or by 1 ms."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from benchmarks.verify_judge import instants, loads
from benchmarks.verify_kinds import kind
from benchmarks.verify_kinds_data import NAN, has_room, some_step
from benchmarks.verify_plans import UNITS
from benchmarks.verify_world import Case
from tomas.schema import RESOURCE_NAMES, Bin, CapacityCurve, Reservation, Resources, StepBinding
from tomas.verify import Routes

__all__: list[str] = []


def _loaded(case: Case, rng: random.Random) -> tuple[Bin, CapacityCurve, float, list[float], list[float]] | None:
    """A bin, its forecast, and an instant at which the plan loads it, with own and reserved load there."""
    name = case.plan.steps[some_step(case, rng)].bin
    place = next(item for item in case.bins if item.name == name)
    curve = next(item for item in case.plan.forecast if item.bin == name)
    marks = instants(case, name)
    rng.shuffle(marks)
    for instant in marks:
        own, foreign = loads(case, name, instant)
        if own[4] > 0:
            return place, curve, instant, own, foreign
    return None


def _reservation(case: Case, place: Bin, instant: float, need: Mapping[str, float], slots: int) -> Case:
    """The same with a reservation that covers 2 ms from an instant."""
    begin = case.plan.release_at + timedelta(milliseconds=instant)
    more = Reservation(
        plan_id="third",
        step_id="x",
        bin=place.name,
        need=Resources(**need),
        slots=slots,
        start_at=begin,
        end_at=begin + timedelta(milliseconds=2),
    )
    return replace(case, reservations=[*case.reservations, more])


def _used(own: list[float], rng: random.Random) -> int | None:
    found = [i for i in range(4) if own[i] > 0]
    return rng.choice(found) if found else None


@kind("forecast one unit short in one cell", "are forecast free", judged=True)
def _(case: Case, rng: random.Random) -> Case | None:
    found = _loaded(case, rng)
    if found is None or (which := _used(found[3], rng)) is None:
        return None
    place, curve, instant, own, _ = found
    name = RESOURCE_NAMES[which]
    cell = min(int((instant + 1e-4) // curve.step_ms), len(curve) - 1)
    values = list(getattr(curve, name))
    values[cell] = max(0.0, own[which] - getattr(place.capacity, name) / UNITS)
    return case.of_curve(case.plan.forecast.index(curve), **{name: values})


@kind("reservation one unit too much for 2 ms", "exceed its", judged=True)
def _(case: Case, rng: random.Random) -> Case | None:
    found = _loaded(case, rng)
    if found is None or (which := _used(found[3], rng)) is None:
        return None
    place, _, instant, own, foreign = found
    name = RESOURCE_NAMES[which]
    room = getattr(place.capacity, name)
    return _reservation(case, place, instant, {name: room - own[which] - foreign[which] + room / UNITS}, 1)


@kind("one slot too many for 2 ms", "pool slots of the plan", judged=True)
def _(case: Case, rng: random.Random) -> Case | None:
    found = _loaded(case, rng)
    if found is None:
        return None
    place, _, instant, own, foreign = found
    return _reservation(case, place, instant, {}, round(100 - own[4] - foreign[4] + 1))


@kind("reservation of absurd size", "exceed its", judged=True)
def _(case: Case, rng: random.Random) -> Case | None:
    found = _loaded(case, rng)
    if found is None or (which := _used(found[3], rng)) is None:
        return None
    place, _, instant, _, _ = found
    size = rng.choice([1e6, 1e17, 1.7e308])
    return _reservation(case, place, instant, {RESOURCE_NAMES[which]: size}, rng.choice([1, 10**400]))


@kind("overload hidden behind an absurd reservation that is over", "exceed its", judged=True)
def _(case: Case, rng: random.Random) -> Case | None:
    """Added to 1e15 and left over when that is taken away, a load of some cores is lost in floats."""
    found = _loaded(case, rng)
    if found is None or (which := _used(found[3], rng)) is None:
        return None
    place, _, instant, own, foreign = found
    name = RESOURCE_NAMES[which]
    room = getattr(place.capacity, name)
    made = _reservation(case, place, instant, {name: room - own[which] - foreign[which] + room / UNITS}, 1)
    begin = case.plan.release_at - timedelta(days=2)
    gone = made.reservations[-1].model_copy(
        update={
            "need": Resources(**{name: 1e17}),
            "start_at": begin,
            "end_at": begin + timedelta(days=1),
            "step_id": "gone",
        }
    )
    last = made.reservations[-1]
    long_held = last.model_copy(update={"start_at": begin + timedelta(hours=1)})
    return replace(case, reservations=[*case.reservations, gone, long_held])


def _touching(case: Case) -> int | None:
    """The step that takes a whole bin from the instant at which another that takes it all ends."""
    first, second = [None, None, *sorted(case.plan.steps, key=lambda step: step.start_ms)][-2:]
    if first is None or second is None or first.bin != second.bin or first.end_ms != second.start_ms:
        return None
    return case.plan.steps.index(second) if first.pool_slots == second.pool_slots == 100 else None


@kind("full bin overlapped by 1 ms", "are forecast free|exceed its", judged=True)
def _(case: Case, _rng: random.Random) -> Case | None:
    index = _touching(case)
    if index is None:
        return None
    step = case.plan.steps[index]
    moved = case.of_step(index, start_ms=step.start_ms - 1.0, end_ms=step.end_ms - 1.0)
    return moved.of_plan(makespan_ms=step.end_ms - 1.0)


@kind("short step at a full instant", "are forecast free|exceed its")
def _(case: Case, rng: random.Random) -> Case | None:
    """A step shorter than the tolerance in time still loads the instant at which it starts."""
    found = _loaded(case, rng)
    if found is None or not has_room(case) or (which := _used(found[3], rng)) is None:
        return None
    place, _, instant, own, _ = found
    name = RESOURCE_NAMES[which]
    room = getattr(place.capacity, name)
    short = next(step for step in case.plan.steps if step.bin == place.name)
    need = Resources(**{name: max(room / UNITS, room - own[which] + room / UNITS)})
    if getattr(need, name) > room:
        return None
    length = rng.choice([5e-4, 9e-4, 1e-6])
    extra = short.model_copy(
        update={
            "id": "short",
            "depends_on": [],
            "inputs": {},
            "start_ms": instant,
            "end_ms": instant + length,
            "latency_p90_ms": length,
            "latency_p50_ms": length,
            "allocation": short.allocation.model_copy(update={"final": need, "floor": Resources()}),
        }
    )
    return case.of_plan(steps=[*case.plan.steps, extra])


@kind("no forecast for a bin", "holds no forecast for its bin")
def _(case: Case, rng: random.Random) -> Case:
    name = case.plan.steps[some_step(case, rng)].bin
    return case.of_plan(forecast=[item for item in case.plan.forecast if item.bin != name])


@kind("two forecasts of a bin", "two forecast curves")
def _(case: Case, rng: random.Random) -> Case:
    return case.of_plan(forecast=[*case.plan.forecast, rng.choice(case.plan.forecast)])


@kind("forecast of another time", "not between creation and release")
def _(case: Case, rng: random.Random) -> Case:
    name = case.plan.steps[some_step(case, rng)].bin
    index = next(i for i, item in enumerate(case.plan.forecast) if item.bin == name)
    late = case.plan.release_at + timedelta(milliseconds=rng.choice([2, 60_000]))
    early = case.plan.created_at - timedelta(milliseconds=rng.choice([2, 10**10]))
    return case.of_curve(index, start_at=rng.choice([late, early]))


@kind("unknown bin", "there is no bin")
def _(case: Case, rng: random.Random) -> Case:
    return case.of_step(some_step(case, rng), bin=rng.choice(["ghost", "B0", "b"]))


@kind("bin left out", "there is no bin")
def _(case: Case, rng: random.Random) -> Case:
    name = case.plan.steps[some_step(case, rng)].bin
    return replace(case, bins=[item for item in case.bins if item.name != name])


@kind("two bins of one name", "two bins have one name")
def _(case: Case, rng: random.Random) -> Case:
    return replace(case, bins=[*case.bins, rng.choice(case.bins)])


@kind("another route", r"(queue|pool|worker_class) is \w+, but bin")
def _(case: Case, rng: random.Random) -> Case:
    name = rng.choice(["queue", "pool", "worker_class"])
    return case.of_step(some_step(case, rng), **{name: rng.choice(["default", "q9", "default_pool", "Q0"])})


@kind("slots off by one", "pool_slots is -?[0-9]+")
def _(case: Case, rng: random.Random) -> Case:
    index = some_step(case, rng)
    slots = case.plan.steps[index].pool_slots
    return case.of_step(index, pool_slots=rng.choice([slots + 1, slots - 1, 0, -slots, slots + 10**400]))


def _with_final(case: Case, index: int, name: str, value: float) -> Case:
    decision = case.plan.steps[index].allocation
    final = decision.final.model_copy(update={name: value})
    return case.of_step(index, allocation=decision.model_copy(update={"final": final}))


def _excess(case: Case, rng: random.Random, share: float) -> Case:
    """A step that needs more than its bin has, by a share of that and as much again in units."""
    index = some_step(case, rng)
    place = next(item for item in case.bins if item.name == case.plan.steps[index].bin)
    name = rng.choice(RESOURCE_NAMES)
    return _with_final(case, index, name, getattr(place.capacity, name) * (1 + share) + share)


@kind("larger than its bin", r"needs .*, but bin \w+ has")
def _(case: Case, rng: random.Random) -> Case:
    return _excess(case, rng, rng.choice([1 / UNITS, 1.0, 1e300]))


@kind("larger than its bin by a hair", r"needs .*, but bin \w+ has")
def _(case: Case, rng: random.Random) -> Case:
    return _excess(case, rng, 1e-8)


@kind("below its floor", "is allotted less")
def _(case: Case, rng: random.Random) -> Case:
    index = some_step(case, rng)
    decision = case.plan.steps[index].allocation
    name = rng.choice(RESOURCE_NAMES)
    floor = decision.floor.model_copy(update={name: getattr(decision.final, name) + rng.choice([1e-3, 1.0, 1e308])})
    return case.of_step(index, allocation=decision.model_copy(update={"floor": floor}))


def _routes(case: Case, pools: Mapping[str, int], queues: Any) -> Case:
    all_pools = {item.pool: 100 for item in case.bins}
    return replace(case, routes=Routes(pools={**all_pools, **pools}, queues=queues))


@kind("pool does not exist", r"the pool \w+ does not exist")
def _(case: Case, rng: random.Random) -> Case:
    gone = case.plan.steps[some_step(case, rng)].pool
    pools = {item.pool: 100 for item in case.bins if item.pool != gone}
    return replace(case, routes=Routes(pools=pools, queues=rng.choice([None, [item.queue for item in case.bins]])))


@kind("pool of another size", "slots instead of 100")
def _(case: Case, rng: random.Random) -> Case:
    pool = case.plan.steps[some_step(case, rng)].pool
    return _routes(case, {pool: rng.choice([99, 0, -1, 101, 128, 10**6])}, None)


@kind("queue without consumer", "no live worker consumes the queue")
def _(case: Case, rng: random.Random) -> Case:
    queue = case.plan.steps[some_step(case, rng)].queue
    return _routes(case, {}, {"default", *(item.queue for item in case.bins if item.queue != queue)})


@kind("shared pool overbooked", "reserved by others exceed its 100")
def _(case: Case, rng: random.Random) -> Case | None:
    """Two bins have one pool; each alone is within its slots."""
    found = _loaded(case, rng)
    if found is None:
        return None
    place, _, instant, own, foreign = found
    if foreign[4]:
        return None
    twin = place.model_copy(update={"name": "twin"})
    made = replace(case, bins=[*case.bins, twin])
    return _reservation(made, twin, instant, {}, round(100 - own[4] + 1))


_BUDGETS = ("cpu_core_hours", "cpu_mem_gb_hours", "gpu_hours")


def _hours(case: Case) -> dict[str, float]:
    used = dict.fromkeys(_BUDGETS, 0.0)
    for step in case.plan.steps:
        final = step.allocation.final
        for name, amount in zip(_BUDGETS, (final.cpu_cores, final.cpu_mem_gb, final.gpu_sm / 100), strict=True):
            used[name] += amount * step.latency_p90_ms / 3_600_000
    return used


def _limited(case: Case, name: str, limit: float) -> Case:
    return case.of_request(budget=case.plan.request.budget.model_copy(update={name: limit}))


@kind("budget of hours exceeded", r"of the budget's \S+ (cpu|gpu)")
def _(case: Case, rng: random.Random) -> Case | None:
    found = [(name, used) for name, used in _hours(case).items() if used > 1e-9]
    if not found:
        return None
    name, used = rng.choice(found)
    return _limited(case, name, used * rng.choice([0.9995, 0.5, 1e-9]))


@kind("cost exceeded", r"of the budget's \S+ cost")
def _(case: Case, rng: random.Random) -> Case | None:
    prices = {"cpu_core_hour": rng.uniform(0, 1), "mem_gb_hour": rng.uniform(0, 1), "gpu_hour": rng.uniform(0, 9)}
    cost = sum(price * used for price, used in zip(prices.values(), _hours(case).values(), strict=True))
    if cost < 1e-9:
        return None
    return replace(_limited(case, "cost", cost * rng.choice([0.999, 0.01])), prices=prices)


def _priced(case: Case, prices: Any) -> Case:
    return replace(_limited(case, "cost", 1e9), prices=prices)


@kind("cost limited without prices", "no sound price is given per")
def _(case: Case, rng: random.Random) -> Case:
    return _priced(case, rng.choice([None, {}, {"cpu_core_hour": 1.0}, {"gpu_hour": 2.0, "mem_gb_hour": 1.0}]))


@kind("price unsound", r"no sound price is given per \w+_hour\.")
def _(case: Case, rng: random.Random) -> Case:
    sound = {"cpu_core_hour": 0.1, "mem_gb_hour": 0.0, "gpu_hour": 2}
    return _priced(case, {**sound, rng.choice(list(sound)): rng.choice([NAN, -1.0, float("inf"), "2", None])})


@kind("no steps", "it has no steps")
def _(case: Case, _rng: random.Random) -> Case:
    return case.of_plan(steps=[], outputs={}, makespan_ms=0.0).of_request(outputs={})


@kind("task too long", "characters, more than")
def _(case: Case, _rng: random.Random) -> Case:
    return case.of_request(task="x" * 8001)


@kind("too many warnings", "warnings, more than")
def _(case: Case, _rng: random.Random) -> Case:
    return case.of_plan(warnings=["w"] * 1001)


@kind("more than 10,000 steps", "steps, more than 10000", heavy=True)
def _(case: Case, _rng: random.Random) -> Case:
    last = max(case.plan.steps, key=lambda step: step.end_ms)
    more = [
        last.model_copy(update={"id": f"m{i}", "depends_on": [], "inputs": {}})
        for i in range(10_001 - len(case.plan.steps))
    ]
    return case.of_plan(steps=[*case.plan.steps, *more])


@kind("cycle through all steps", "on which it depends, ends|in a cycle", heavy=True)
def _(case: Case, _rng: random.Random) -> Case:
    ids = [step.id for step in case.plan.steps]
    steps = [
        step.model_copy(update={"depends_on": sorted({*step.depends_on, before})})
        for step, before in zip(case.plan.steps, [ids[-1], *ids[:-1]], strict=True)
    ]
    return case.of_plan(steps=steps)


@kind("a result of one of many steps", "which does not exist", heavy=True)
def _(case: Case, _rng: random.Random) -> Case:
    return case.of_plan(outputs={**case.plan.outputs, "more": StepBinding(step="ghost", output="images")})
