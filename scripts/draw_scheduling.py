#!/usr/bin/env python3
"""Draws the pictures of docs/scheduling.md, everything in them computed by the code that plans.

python scripts/draw_scheduling.py --output docs/pictures
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from benchmarks.schedule_instances import own_kind
from benchmarks.schedule_rules import Times, parallel_rule
from tomas.config import Settings
from tomas.errors import PlanRejected
from tomas.planner.context import Context, load_context
from tomas.planner.drafting import draft
from tomas.planner.release import release
from tomas.schedule import Problem, schedule
from tomas.schema import (
    POOL_SIZE,
    Bin,
    CapacityCurve,
    Plan,
    PlanRequest,
    RequestInput,
    Reservation,
    Resources,
    WorkerClass,
)
from tomas.store import Store
from tomas.tools.registry import Registry
from tomas.verify import verify_plan

__all__ = ["LIMITS_S", "draw_anytime", "draw_comparison", "draw_proof", "main"]

LIMITS_S = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_COMPARED = {"steps": 18, "bins": 3, "width": 0.7, "seed": 1}
"""The plan whose schedules are compared: one on which the greedy choice of allocations costs much."""
_ANYTIME = ((0.3, 0), (0.5, 1), (0.5, 3), (1.0, 1), (1.0, 3))
"""Width and seed of plans that the list schedule does not solve; width 1 is many steps side by side."""
_INK, _SOFT, _GRID, _TAKEN = "#222222", "#666666", "#E6E6E6", "#E4E4E4"
_RED, _PALE_RED, _FILL = "#C62828", "#EF9A9A", "#9ECAE9"
_LINES = ("#4C78A8", "#F58518", "#54A24B", "#B279A2", "#9D755D")
_BLUES = {1: "#C6DBEF", 2: "#8DBBDD", 4: "#4C8FC2", 8: "#1F5A96"}
_WIDTH_IN, _DPI = 10.0, 160
_Span = tuple[float, float, float]
"""Start and end in ms from the plan's release, and an amount of one resource."""


def draw_comparison(path: Path, *, limit_s: float = 1.0) -> tuple[float, float]:
    """Two schedules of one plan, one below the other: greedy, and what the scheduler returns.

    :returns: both makespans, in ms.
    """
    problem = own_kind(**_COMPARED)  # type: ignore[arg-type]
    greedy = parallel_rule(problem, "lft")
    if greedy is None:
        raise RuntimeError("the greedy rule places every step of this plan")
    made = schedule(problem, limit_s=limit_s)
    final = {item.activity: (item.start_ms, item.mode) for item in made.assignments}
    ends = [max(start + mode.p90_ms for start, mode in times.values()) for times in (greedy, final)]
    figure = Figure(figsize=(_WIDTH_IN, 8.0), layout="constrained", facecolor="white")
    axes = figure.subplots(2, 1, sharex=True)
    titles = ("Greedy: the most urgent step first, in the fastest mode that fits now", "TOMAS")
    for axis, title, times, end in zip(axes, titles, (greedy, final), ends, strict=True):
        cost = sum(mode.cost for _, mode in times.values())
        _gantt(axis, problem, times, max(ends))
        axis.set_title(f"{title}: {end / 1000:.1f} s, cost {cost:.4f}", loc="left", fontsize=11, color=_INK)
        axis.axvline(made.bound_ms / 1000, color=_RED, lw=1.3, ls=(0, (4, 3)), zorder=4)
        top = axis.get_ylim()[1]
        axis.text(made.bound_ms / 1000, top, "lower bound", color=_RED, fontsize=8.5, ha="center", va="bottom")
    axes[-1].set_xlabel("seconds from the plan's release", color=_SOFT, fontsize=9)
    handles = [Patch(color=colour, label=f"{cores} core{'s' * (cores > 1)}") for cores, colour in _BLUES.items()]
    handles.append(Patch(color=_TAKEN, label="cores forecast to be taken by other work"))
    figure.legend(handles=handles, loc="outside lower left", ncols=5, frameon=False, fontsize=8.5)
    _save(figure, path)
    return ends[0], ends[1]


def _gantt(axis: Axes, problem: Problem, times: Times, last_ms: float) -> None:
    """Bars as high as they have cores, below what is forecast to be taken."""
    base = 0.0
    ticks = []
    for name, capacity in reversed(list(problem.capacities.items())):
        cores = capacity.free[:, 0].tolist()
        high = max(cores)
        edges = [*capacity.starts_ms.tolist(), max(last_ms, float(capacity.starts_ms[-1]))]
        for begin, end, free in zip(edges, edges[1:], cores, strict=False):
            _box(axis, begin, end, base + free, base + high, _TAKEN)
        bars = sorted(
            (start, mode.p90_ms, mode.need[0], step) for step, (start, mode) in times.items() if mode.bin == name
        )
        for (start, length, count, step), low in zip(bars, _stacked(bars), strict=True):
            _box(axis, start, start + length, base + low, base + low + count, _BLUES[round(count)])
            middle = (start + length / 2) / 1000, base + low + count / 2
            ink = "white" if count > 2 else _INK
            axis.text(*middle, step, ha="center", va="center_baseline", fontsize=7.5, color=ink, zorder=3)
        ticks.append((base + high / 2, f"{name}\n{high:g} cores"))
        base += high
        axis.axhline(base, color=_SOFT, lw=0.8, zorder=4)
    axis.set_xlim(0, last_ms / 1000 * 1.01)
    axis.set_ylim(0, base)
    axis.set_yticks([at for at, _ in ticks], [text for _, text in ticks], fontsize=9)
    _plain(axis)


def _box(axis: Axes, begin: float, end: float, low: float, high: float, colour: str) -> None:
    corner, width = (begin / 1000, low), (end - begin) / 1000
    axis.add_patch(Rectangle(corner, width, high - low, facecolor=colour, edgecolor="white", lw=0.7, zorder=2))


def _stacked(bars: Sequence[tuple[float, float, float, str]]) -> list[float]:
    """The lower edge of each bar, in ascending order of starts: the lowest at which it overlaps no other."""
    placed: list[tuple[float, float, float]] = []
    for start, length, count, _ in bars:
        beside = sorted((low, high) for end, low, high in placed if end > start + 1e-6)
        at = 0.0
        for low, high in beside:
            if low >= at + count - 1e-9:
                break
            at = max(at, high)
        placed.append((start + length, at, at + count))
    return [low for _, low, _ in placed]


@dataclass(frozen=True)
class _Case:
    """A plan on bins that another plan has reserved on."""

    plan: Plan
    registry: Registry
    bins: Sequence[Bin]
    reservations: Sequence[Reservation]

    def refusal(self, plan: Plan) -> str:
        """What the verifier says; empty where it lets the plan pass."""
        try:
            verify_plan(plan, {tool.name: tool for tool in self.registry}, self.bins, self.reservations)
        except PlanRejected as error:
            return error.what
        return ""


@dataclass(frozen=True)
class _Shared(Context):
    """A context in which other plans have reserved, without a store."""

    others: Sequence[Reservation] = ()

    def reservations(self, store: Store | None, settings: Settings) -> list[Reservation]:  # noqa: ARG002
        return list(self.others)


@cache
def _case() -> _Case:
    """The second of two equal plans on two workers."""
    settings = Settings()
    registry = Registry.load(settings.data.tools_path)
    classes = [
        _worker_class("large", Resources(cpu_cores=6, cpu_mem_gb=1.5)),
        _worker_class("small", Resources(cpu_cores=2, cpu_mem_gb=1)),
    ]
    request = PlanRequest(
        task="Classify the images, detect the objects in them, extract keywords and sentiment from the documents, "
        "summarise the documents, transcribe the audio, join everything into an HTML report",
        inputs={
            "images": RequestInput(type="image/*", uris=["in/images.png"], bytes=6_000_000),
            "documents": RequestInput(type="text/plain", uris=["in/documents.txt"], bytes=100_000),
            "audio": RequestInput(type="audio/wav", uris=["in/audio.wav"], bytes=1_000_000),
        },
        allow_unavailable=True,
    )
    drafted, info = draft("retrieval", request, registry, threshold=settings.planner.match_threshold)
    now = datetime(2026, 3, 2, 9, tzinfo=UTC)
    read = load_context(
        request, store=None, registry=registry, settings=settings, profiles=None, worker_classes=classes, now=now
    )
    context = _Shared(**{item.name: getattr(read, item.name) for item in fields(read)})

    def made(name: str, context: Context) -> Plan:
        plan = release(drafted, info, context, None, registry, settings, time.perf_counter(), None)
        return plan.model_copy(update={"id": name})

    others = _held_by(made("plan_1", context))
    plan = made("plan_2", replace(context, others=others))
    return _Case(plan, registry, [place for item in classes for place in item.bins], others)


def _worker_class(name: str, capacity: Resources) -> WorkerClass:
    one = Bin(name=f"{name}_1", worker_class=name, queue=f"{name}_1", pool=f"{name}_1", capacity=capacity)
    return WorkerClass(name=name, capacity=capacity, bins=[one])


def _held_by(plan: Plan) -> list[Reservation]:
    begin = plan.release_at
    return [
        Reservation(
            plan_id=plan.id, step_id=step.id, bin=step.bin, need=step.allocation.final, slots=step.pool_slots,
            start_at=begin + timedelta(milliseconds=step.start_ms),
            end_at=begin + timedelta(milliseconds=step.end_ms),
        )
        for step in plan.steps
    ]  # fmt: skip


def draw_proof(path: Path) -> str:
    """Load of a plan against what is free on one bin, as proven, and with one step moved.

    :returns: the verifier's message about the moved step.
    """
    case = _case()
    place = case.bins[0]
    moved, changed, message = next(_refused(case, place))
    figure = Figure(figsize=(_WIDTH_IN, 5.6), layout="constrained", facecolor="white")
    axes = figure.subplots(3, 2, sharex=True, sharey="row")
    rows = (("cpu_cores", "cores"), ("cpu_mem_gb", "memory, GB"), ("pool slots", "pool slots"))
    for row, (name, label) in zip(axes, rows, strict=True):
        _load(row[0], case, case.plan, place, name, case.refusal(case.plan))
        _load(row[1], case, changed, place, name, message)
        row[0].set_ylabel(label, fontsize=9, color=_INK)
    figure.supxlabel("seconds from the plan's release", color=_SOFT, fontsize=9)
    axes[0][0].set_title(f"The plan as released, on {place.name}: proven", loc="left", fontsize=11, color=_INK)
    axes[0][1].set_title(f"With {moved}: refused", loc="left", fontsize=11, color=_RED)
    handles: list[Any] = [
        Patch(color=_FILL, label="the plan's steps"),
        Patch(color=_TAKEN, label="reserved by another plan"),
        Line2D([], [], color=_INK, lw=1.3, label="free for this plan"),
        Line2D([], [], color=_INK, marker="|", ls="", label="instant that is checked"),
        Line2D([], [], color=_RED, marker="v", ls="", label="violation"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=5, frameon=False, fontsize=8.5)
    wrapped = message.replace("rule(s): ", "rule(s):\n").replace(" · ", "\n")
    figure.text(0.02, -0.01, wrapped, va="top", fontsize=8.5, color=_RED, family="monospace", parse_math=False)
    _save(figure, path)
    return message


def _refused(case: _Case, place: Bin) -> Iterator[tuple[str, Plan, str]]:
    """Copies with one step that starts earlier, of which nothing but the load on the bin is wrong."""
    for shift_ms in (-2000.0, -1500.0, -1000.0, -500.0):
        for step in case.plan.steps:
            if step.bin != place.name or step.start_ms + shift_ms < 0:
                continue
            times = {"start_ms": step.start_ms + shift_ms, "end_ms": step.end_ms + shift_ms}
            steps = [item.model_copy(update=times) if item is step else item for item in case.plan.steps]
            last_ms = max(item.end_ms for item in steps)
            changed = case.plan.model_copy(update={"steps": steps, "makespan_ms": last_ms})
            message = case.refusal(changed)
            rules = message.partition("rule(s): ")[2].split(" · ")
            if message and all(rule.startswith(f"bin {place.name} at ") for rule in rules):
                yield f"{step.id} started {-shift_ms / 1000:g} s earlier", changed, message


def _load(axis: Axes, case: _Case, plan: Plan, place: Bin, name: str, message: str) -> None:
    """One resource of one bin: what is there, what others hold, what the plan loads, and where that is checked."""
    own, others = _loads(_held_by(plan), plan, place, name), _loads(case.reservations, plan, place, name)
    curve = next(item for item in plan.forecast if item.bin == place.name)
    last_ms = max(step.end_ms for step in case.plan.steps) * 1.02
    checked = [at for at in _checked(curve, own, others) if at <= last_ms]
    own, others = _closed(own), _closed(others)
    ends = [end for _, end, _ in (*own, *others)]
    marks = np.unique([0.0, last_ms, *checked, *ends, *(cell * curve.step_ms for cell in range(len(curve)))])
    marks = marks[marks <= last_ms]
    loads = _total(own, marks)
    if name == "pool slots":
        most = float(POOL_SIZE)
        free = most - _total(others, marks)
    else:
        most = float(getattr(place.capacity, name))
        free = np.array([getattr(curve.at_index(int(at // curve.step_ms)), name) for at in marks])
    seconds = marks / 1000
    axis.fill_between(seconds, free, most, step="post", color=_TAKEN, lw=0, zorder=1)
    axis.fill_between(seconds, loads, step="post", color=_FILL, lw=0, zorder=2)
    over = np.maximum(loads - free, 0.0)
    if (over > 1e-6).any():
        axis.fill_between(seconds, loads - over, loads, step="post", color=_PALE_RED, lw=0, zorder=3)
    axis.step(seconds, free, where="post", color=_INK, lw=1.3, zorder=4)
    high = max(most, float(loads.max())) * 1.18
    low = np.full(len(checked), -0.045 * most)
    axis.plot(np.array(checked) / 1000, low, ls="", marker="|", ms=7, color=_INK, clip_on=False, zorder=5)
    for found in re.finditer(rf"at ([\d.e+]+) ms: (?:the plan loads )?[\d.]+ {name}", message):
        at = float(found[1])
        if not any(abs(at - mark) < 1.0 for mark in checked):
            raise RuntimeError(f"the verifier names {at:g} ms, which is not among the instants drawn")
        axis.axvline(at / 1000, color=_RED, lw=1.0, zorder=5)
        axis.plot([at / 1000], [high * 0.96], ls="", marker="v", color=_RED, ms=7, zorder=6)
    axis.set_ylim(-0.09 * most, high)
    axis.set_yticks([0, most / 2, most])
    axis.set_xlim(0, last_ms / 1000)
    _plain(axis)


def _loads(held: Sequence[Reservation], plan: Plan, place: Bin, name: str) -> list[_Span]:
    return [
        (
            (item.start_at - plan.release_at).total_seconds() * 1000,
            (item.end_at - plan.release_at).total_seconds() * 1000,
            float(item.slots if name == "pool slots" else getattr(item.need, name)),
        )
        for item in held
        if item.bin == place.name
    ]


def _checked(curve: CapacityCurve, own: list[_Span], others: list[_Span]) -> list[float]:
    """The instants that the verifier looks at: between two of them no load rises and no capacity changes."""
    first, last = min(start for start, _, _ in own), max(end for _, end, _ in own)
    cells = [float(cell * curve.step_ms) for cell in range(1, len(curve))]
    starts = {start for start, _, _ in (*own, *others)}
    return sorted(starts.union(cell for cell in cells if first - curve.step_ms < cell <= last + curve.step_ms))


def _closed(loads: list[_Span]) -> list[_Span]:
    """Without gaps of less than a millisecond, which scheduling in whole ones leaves."""
    starts = [start for start, _, _ in loads]
    return [
        (start, next((begin for begin in starts if end < begin < end + 1.0), end), amount)
        for start, end, amount in loads
    ]


def _total(loads: list[_Span], marks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array([sum(amount for start, end, amount in loads if start <= at < end) for at in marks])


def draw_anytime(
    path: Path,
    *,
    limits_s: Sequence[float] = LIMITS_S,
    plans: Sequence[tuple[float, int]] = _ANYTIME,
    steps: int = 100,
) -> list[list[float]]:
    """What a schedule is known to be within, by the limit it was given.

    :returns: per plan the gaps in percent, one per limit.
    """
    figure = Figure(figsize=(_WIDTH_IN * 0.8, 3.6), layout="constrained", facecolor="white")
    axis = figure.subplots()
    places = list(range(len(limits_s)))
    found = []
    for (width, seed), colour in zip(plans, _LINES, strict=False):
        problem = own_kind(steps, width=width, seed=seed)
        gaps = [schedule(problem, limit_s=limit_s).gap_pct for limit_s in limits_s]
        found.append(gaps)
        axis.plot(places, gaps, color=colour, lw=1.6, marker="o", ms=4, label=f"plan {len(found)}, width {width:g}")
    axis.set_xticks(places, [f"{limit_s:g}" for limit_s in limits_s])
    axis.set_xlabel("TOMAS__PLANNER__SCHEDULE_LIMIT_S, deterministic seconds", fontsize=9, color=_SOFT)
    axis.set_ylabel("saving not yet ruled out, %", fontsize=9, color=_INK)
    axis.set_ylim(bottom=-0.6)
    axis.set_title(
        f"Plans of {steps} steps on 4 workers: 0 % is proven shortest", loc="left", fontsize=11, color=_INK
    )
    axis.legend(frameon=False, fontsize=8.5)
    _plain(axis)
    axis.grid(axis="y", color=_GRID, lw=0.6, zorder=0)
    _save(figure, path)
    return found


def _plain(axis: Axes) -> None:
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(_SOFT)
    axis.tick_params(colors=_SOFT, labelsize=8.5, length=0)
    axis.grid(axis="x", color=_GRID, lw=0.6, zorder=0)
    axis.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI, bbox_inches="tight", pad_inches=0.1, metadata={"Software": None})


def main() -> None:
    """Write all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the pictures")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    draw_comparison(folder / "scheduling_gantt.png")
    draw_proof(folder / "scheduling_proof.png")
    draw_anytime(folder / "scheduling_anytime.png")


if __name__ == "__main__":
    main()
