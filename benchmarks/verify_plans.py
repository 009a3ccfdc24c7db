"""Good plans for the verifier's benchmark, feasible by construction.

Nothing of ``tomas.schedule`` is used, so that a mistake there cannot hide one in the verifier. Amounts are whole
numbers of 1/200 of a bin's capacity until the plan is written down. Steps are placed in waves: those of a wave
start together, within what is free while they last, and the next wave of the bin starts when the last one ended.
So bins are often exactly full, and steps often touch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.verify_world import BINS, PRICES, TOOLS, Case
from tomas.schema import (
    RESOURCE_NAMES,
    AllocationDecision,
    Bin,
    Binding,
    Budget,
    CapacityCurve,
    Plan,
    PlannerInfo,
    PlanOrigin,
    PlanRequest,
    PlanStep,
    RequestBinding,
    RequestInput,
    Reservation,
    Resources,
    StepBinding,
)
from tomas.verify import Routes

__all__ = ["UNITS", "good_case"]

UNITS = 200
"""A bin's capacity of each resource, in the units of this module."""
_EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
_ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "blur": [{"radius": 1}, {"radius": 12}],
    "shorten": [{}, {"ratio": 0.25}, {"ratio": 1, "style": "brief"}],
}
_ENTERS = {"image/*": {"image/png", "image/*"}, "image/png": {"image/png"}, "text/plain": {"text/plain"}}
_ENTERS["application/jsonl"] = {"application/jsonl"}
"""The media types that may enter a port, by the port's; every pair that occurs here, written out."""
_GIVEN = {"photos": "image/png", "shots": "image/*", "notes": "text/plain", "labels": "application/jsonl"}


Vector = list[int]
"""Units of the four resources, then pool slots."""


class _Place:
    """What is free on a bin, and its current wave."""

    def __init__(self, rng: random.Random, place: Bin, busy: bool) -> None:
        self.bin = place
        self.has = [value > 0 for value in place.capacity]
        self.step_ms = rng.choice([250, 500, 1000, 7500])
        self.foreign: list[tuple[int, int, Vector]] = []
        cells = rng.randint(1, 7) if busy else 1
        background = [[rng.choice([0, 0, 20, 75, 120]) if busy else 0 for _ in range(4)] for _ in range(cells)]
        background[-1] = [0] * 4
        if busy and rng.random() < 0.5:
            for _ in range(rng.randint(1, 2)):
                start = rng.randint(-5000, 6000)
                units = [rng.randint(0, 60) if has else 0 for has in self.has]
                self.foreign.append((start, start + rng.randint(1, 5000), [*units, max(1, -(-max(units) // 2))]))
        # A forecast reaches as far as something changes.
        cells = max([cells, *(-(-end // self.step_ms) + 1 for _, end, _ in self.foreign)])
        background += [[0] * 4] * (cells - len(background))
        self.cells = []
        for i, taken in enumerate(background):
            begin, end = i * self.step_ms, (i + 1) * self.step_ms
            held = [need for a, b, need in self.foreign if a < end and b > begin]
            self.cells.append([max(0, UNITS - taken[r] - sum(need[r] for need in held)) for r in range(4)])
        self.used: Vector = [0] * 5
        self.wave_start = 0.0
        self.wave_end = 0.0

    def free(self, start: float, end: float) -> Vector:
        """The least that is free from ``start`` to ``end``."""
        first = min(int(start // self.step_ms), len(self.cells) - 1)
        last = min(int(end // self.step_ms), len(self.cells) - 1)
        held = [need for a, b, need in self.foreign if a < end and b > start]
        least = [min(cell[r] for cell in self.cells[first : last + 1]) for r in range(4)]
        least = [min(value, UNITS - sum(need[r] for need in held)) for r, value in enumerate(least)]
        return [*least, 100 - sum(need[4] for need in held)]

    def place(self, rng: random.Random, need: Vector, ready: float, length: float) -> tuple[float, Vector]:
        """Start of a step, and its need, which may have grown to all that is left."""
        start = self.wave_start
        left = [a - b for a, b in zip(self.free(start, start + length), self.used, strict=True)]
        if ready > start or any(a > b for a, b in zip(need, left, strict=True)):
            start = max(ready, self.wave_end)
            marks = sorted(
                {i * self.step_ms for i in range(1, len(self.cells))} | {end for _, end, _ in self.foreign}
            )
            left = self.free(start, start + length)
            while any(a > b for a, b in zip(need, left, strict=True)):
                start = next(float(mark) for mark in marks if mark > start)
                left = self.free(start, start + length)
            self.used, self.wave_start = [0] * 5, start
        if rng.random() < 0.3:
            which = rng.choice([i for i, has in enumerate(self.has) if has])
            grown = [*need[:which], left[which], *need[which + 1 : 4]]
            grown.append(max(1, -(-max(grown) // 2)))
            if grown[4] <= left[4]:
                need = grown
        self.used = [a + b for a, b in zip(self.used, need, strict=True)]
        self.wave_end = max(self.wave_end, start + length)
        return start, need

    def amount(self, units: Sequence[int]) -> Resources:
        return Resources(
            **{
                name: getattr(self.bin.capacity, name) * value / UNITS
                for name, value in zip(RESOURCE_NAMES, units, strict=False)
            }
        )

    def curve(self, release_at: datetime) -> CapacityCurve:
        columns = {name: [getattr(self.amount(cell), name) for cell in self.cells] for name in RESOURCE_NAMES}
        return CapacityCurve(
            bin=self.bin.name, start_at=release_at, step_ms=self.step_ms, source="declared", **columns
        )


def good_case(rng: random.Random, steps: int) -> Case:
    """A plan of ``steps`` steps that keeps every rule, some of them without a hair's breadth to spare."""
    large = steps > 20
    places = [
        _Place(rng, place, busy=not large and rng.random() < 0.6)
        for place in rng.sample(BINS, rng.randint(1, 3) if not large else 6)
    ]
    hand_over_ms = rng.choice([0.0, 0.0, 1234.5, 3000.0])
    made = _steps(rng, places, steps, hand_over_ms)
    if not large and rng.random() < 0.3:
        made += _touching(places[0], made, len(made))
    makespan_ms = max(step.end_ms for step in made)
    if rng.random() < 0.3:
        rng.shuffle(made)
    t_inf_ms, lag_ms = rng.randint(1, 4_000_000) / 1000.0, rng.randint(0, 9_000_000) / 1000.0
    created_at = _EPOCH + timedelta(milliseconds=rng.randint(0, 10**9))
    release_at = created_at + timedelta(milliseconds=t_inf_ms + lag_ms)
    request, outputs = _request(rng, made, t_inf_ms + lag_ms + makespan_ms)
    plan = Plan(
        id=f"{rng.getrandbits(128):032x}",
        request=request,
        language=rng.choice(["en", "zh"]),
        planner=PlannerInfo(kind="bench", version="1"),
        created_at=created_at,
        release_at=release_at,
        t_inf_predicted_ms=t_inf_ms,
        dispatch_lag_predicted_ms=lag_ms,
        hand_over_predicted_ms=hand_over_ms,
        forecast=[place.curve(release_at) for place in places],
        steps=made,
        outputs=outputs,
        makespan_ms=makespan_ms,
    )
    bins = [place.bin for place in places]
    return Case(plan, bins, _reservations(places, release_at), prices=PRICES, routes=_routes(rng, bins))


def _steps(rng: random.Random, places: list[_Place], count: int, hand_over_ms: float) -> list[PlanStep]:
    made: list[PlanStep] = []
    chain = rng.random() < 0.2
    for i in range(count):
        tool = TOOLS["blur"] if chain else rng.choice(list(TOOLS.values()))
        recent = made[-1:] if chain else made[-6:]
        inputs: dict[str, list[Binding]] = {}
        for port in tool.inputs:
            if port.required or rng.random() < 0.5:
                inputs[port.name] = _sources(rng, port.type, recent, always=chain)
        after = {item.step for items in inputs.values() for item in items if isinstance(item, StepBinding)}
        if recent and rng.random() < 0.15:
            after.add(rng.choice(recent).id)
        ready = max((step.end_ms + hand_over_ms for step in recent if step.id in after), default=0.0)
        place = rng.choice(places)
        length = float(rng.choice([1, 250, 1000, 1500, rng.randint(1, 4000), rng.uniform(1.0, 4000.0)]))
        top = rng.choice([20, 60, 100, 200])
        units = [rng.randint(0, top) if has else 0 for has in place.has]
        start, need = place.place(rng, [*units, max(1, -(-max(units) // 2))], ready, length)
        made.append(_step(place, f"s{i}", tool.name, start, length, need, inputs, sorted(after), rng.random(), rng))
    return made


def _step(
    place: _Place,
    name: str,
    tool: str,
    start: float,
    length: float,
    need: Vector,
    inputs: dict[str, list[Binding]],
    after: list[str],
    confidence: float,
    rng: random.Random | None = None,
) -> PlanStep:
    final = place.amount(need)
    choice = _ARGUMENTS.get(tool, [{}])
    return PlanStep(
        id=name,
        tool=tool,
        arguments=rng.choice(choice) if rng else choice[0],
        inputs=inputs,
        depends_on=after,
        predicted_input_bytes=1000.0,
        allocation=AllocationDecision(floor=place.amount([value // 2 for value in need]), final=final, why="bench"),
        latency_p50_ms=length if rng is None else length * rng.uniform(0.3, 1.0),
        latency_p90_ms=length,
        start_ms=start,
        end_ms=start + length,
        bin=place.bin.name,
        worker_class=place.bin.worker_class,
        queue=place.bin.queue,
        pool=place.bin.pool,
        pool_slots=need[4],
        confidence=confidence,
    )


def _touching(place: _Place, made: list[PlanStep], count: int) -> list[PlanStep]:
    """Two steps that each take the whole bin, the second from the instant at which the first ends."""
    begin = max(step.end_ms for step in made) + 60_000.0
    need = [UNITS if has else 0 for has in place.has] + [100]
    given: dict[str, list[Binding]] = {"images": [RequestBinding(name="photos")]}
    return [
        _step(place, f"s{count + i}", "label", begin + i * 700.0, 700.0, need, given, [], 1.0) for i in range(2)
    ]


def _sources(rng: random.Random, wanted: str, recent: Sequence[PlanStep], *, always: bool) -> list[Binding]:
    found: list[Binding] = []
    for step in recent:
        port = TOOLS[step.tool].outputs[0]
        if port.type in _ENTERS[wanted] and (always or rng.random() < 0.4):
            found.append(StepBinding(step=step.id, output=port.name))
    if not found or (not always and rng.random() < 0.1):
        fitting = [name for name, media in _GIVEN.items() if media in _ENTERS[wanted]]
        found.append(RequestBinding(name=rng.choice(fitting)))
    return found


def _request(
    rng: random.Random, steps: Sequence[PlanStep], total_ms: float
) -> tuple[PlanRequest, dict[str, StepBinding]]:
    last = rng.choice(steps)
    port = TOOLS[last.tool].outputs[0]
    declared = rng.random() < 0.5
    wildcard = port.type.partition("/")[0] + "/*"
    to_run = rng.random() < 0.5
    limits: dict[str, float] = {}
    if rng.random() < 0.4:
        hours = [step.latency_p90_ms / 3.6e6 for step in steps]
        finals = [step.allocation.final for step in steps]
        used = {
            "cpu_core_hours": sum(a * need.cpu_cores for a, need in zip(hours, finals, strict=True)),
            "cpu_mem_gb_hours": sum(a * need.cpu_mem_gb for a, need in zip(hours, finals, strict=True)),
            "gpu_hours": sum(a * need.gpu_sm / 100 for a, need in zip(hours, finals, strict=True)),
        }
        used["cost"] = sum(price * used[name] for price, name in zip(PRICES.values(), used, strict=False))
        slack = rng.choice([1.0, 1.5])
        limits = {name: value * slack for name, value in used.items() if value > 0 and rng.random() < 0.7}
    request = PlanRequest(
        task="Bench.",
        inputs={
            name: RequestInput(type=media, uris=[f"{name}.dat"] if to_run or rng.random() < 0.7 else [])
            for name, media in _GIVEN.items()
        },
        outputs={"result": rng.choice([port.type, wildcard])} if declared else {},
        allowed_tools=rng.choice([None, list(TOOLS)]),
        deadline_s=rng.choice([None, total_ms / 1000.0, total_ms / 100.0]),
        budget=Budget(**limits),
        origin=PlanOrigin(dag_id="d", run_id="r", task_id="t") if to_run else None,
    )
    return request, {"result": StepBinding(step=last.id, output=port.name)} if declared else {}


def _reservations(places: Sequence[_Place], release_at: datetime) -> list[Reservation]:
    return [
        Reservation(
            plan_id="other",
            step_id=f"x{i}",
            bin=place.bin.name,
            need=place.amount(need),
            slots=need[4],
            start_at=release_at + timedelta(milliseconds=start),
            end_at=release_at + timedelta(milliseconds=end),
        )
        for place in places
        for i, (start, end, need) in enumerate(place.foreign)
    ]


def _routes(rng: random.Random, bins: Sequence[Bin]) -> Routes | None:
    if rng.random() < 0.3:
        return None
    pools = {"default_pool": 128, **{place.pool: 100 for place in bins}}
    return Routes(pools=pools, queues=rng.choice([None, frozenset(place.queue for place in bins)]))
