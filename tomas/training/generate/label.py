"""Labels of allocations from the exact scheduler: which modes stand in schedules near the optimum."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from statistics import fmean, median

from tomas.errors import PlanError
from tomas.model.example import ModeCard, PlanningExample, StepModes
from tomas.schedule import Schedule, list_schedule, schedule
from tomas.schema import content_hash
from tomas.training.generate.examples import Generated
from tomas.training.generate.fleet import Fleet
from tomas.training.generate.modes import MARGIN, draw_modes, input_sizes, make_problem
from tomas.training.generate.portrait import Law

__all__ = ["Label", "Labeller", "solve_modes"]

LIMIT_S = 0.2
_NEAR = 1.01
_OWN = 0.6
"""Of a step's weight, for the mode of the exact schedule itself: its modes fit together, which others need not."""
_VERSION = 1


@dataclass(frozen=True)
class Label:
    """What the scheduler found.

    :ivar chosen: mode of each step in the best schedule: least makespan, then least cost.
    :ivar near: per step, modes that stand in some schedule within 1 % of the best one's makespan.
    :ivar proven: the best schedule is proven to be optimal.
    """

    makespan_ms: float
    chosen: tuple[int, ...]
    near: tuple[tuple[int, ...], ...]
    proven: bool


def solve_modes(
    parents: Sequence[Sequence[int]],
    modes: Sequence[Sequence[ModeCard]],
    fleet: Fleet,
    step_ms: float,
    *,
    limit_s: float = LIMIT_S,
) -> Label | None:
    """The best schedule, and the modes that keep near it; None where there is no feasible schedule.

    A mode counts as near where list scheduling, with that mode fixed and the other steps in the modes of the best
    schedule, stays within 1 %: every such mode has a schedule to show, though some that have one may be missed.
    """
    problem, meant = make_problem(parents, modes, fleet, step_ms)
    try:
        best = schedule(problem, limit_s=limit_s)
    except PlanError:
        return None
    chosen = [meant[step][item.mode_index] for step, item in enumerate(best.assignments)]
    near: list[tuple[int, ...]] = []
    for step, cards in enumerate(modes):
        found = {chosen[step]}
        for place, card in enumerate(cards):
            if place not in found and card.p90_ms <= _NEAR * best.makespan_ms:
                only = {other: (place if other == step else mode,) for other, mode in enumerate(chosen)}
                made = _listed(parents, modes, fleet, step_ms, only)
                if made is not None and made.makespan_ms <= _NEAR * best.makespan_ms:
                    found.add(place)
        near.append(tuple(sorted(found)))
    proven = best.bound_ms >= best.makespan_ms - 1e-6
    return Label(best.makespan_ms, tuple(chosen), tuple(near), proven)


def _listed(
    parents: Sequence[Sequence[int]],
    modes: Sequence[Sequence[ModeCard]],
    fleet: Fleet,
    step_ms: float,
    only: Mapping[int, Sequence[int]],
) -> Schedule | None:
    problem, _ = make_problem(parents, modes, fleet, step_ms, only)
    try:
        return list_schedule(problem)
    except PlanError:
        return None


class Labeller:
    """Labels examples and keeps what it found.

    :ivar spent_s: processor time of labelling so far.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """:param folder: where labels are kept, one line each by the hash of their problem; None: nowhere."""
        self.spent_s = 0.0
        self._solved = self._kept = self._infeasible = self._proven = 0
        self._ratios: dict[str, list[float]] = {name: [] for name in ("labelled", "fastest", "cheapest")}
        self._labels: dict[str, list[object]] = {}
        self._path = folder / f"labels-{_VERSION}.jsonl" if folder else None
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists():
                self._read(self._path)

    def label(self, made: Generated) -> PlanningExample:
        """The example with modes and their weights; unchanged where it is a refusal or nothing is feasible."""
        clock = time.process_time()
        try:
            return self._label(made)
        finally:
            self.spent_s += time.process_time() - clock

    def summary(self) -> str:
        """What was done, in words."""
        proven = f"{100 * self._proven / self._solved:.0f} % of them proven optimal" if self._solved else "none"
        return f"{self._solved} solved ({proven}), {self._kept} kept ones, {self._infeasible} without a schedule"

    def ratios(self) -> str:
        """How long plans take in the labelled, the fastest and the cheapest modes, against the best schedule."""
        parts = []
        for name, values in self._ratios.items():
            found = [value for value in values if math.isfinite(value)]
            mean = f"{fmean(found):.2f} (median {median(found):.2f})" if found else "none"
            parts.append(f"{name} {mean}, {len(values) - len(found)} of {len(values)} infeasible")
        return "; ".join(parts)

    def _compare(
        self,
        label: Label,
        parents: Sequence[Sequence[int]],
        modes: Sequence[Sequence[ModeCard]],
        fleet: Fleet,
        step_ms: float,
    ) -> None:
        picks = {
            "labelled": label.chosen,
            "fastest": [min(range(len(cards)), key=lambda place: cards[place].p90_ms) for cards in modes],
            "cheapest": [min(range(len(cards)), key=lambda place: cards[place].cost) for cards in modes],
        }
        for name, pick in picks.items():
            made = _listed(parents, modes, fleet, step_ms, {step: (place,) for step, place in enumerate(pick)})
            self._ratios[name].append(made.makespan_ms / label.makespan_ms if made else math.inf)

    def _label(self, made: Generated) -> PlanningExample:
        example = made.example
        if not example.target.steps:
            return example
        rng = Random(f"modes:{example.id}")  # noqa: S311  (no secret)
        sizes = input_sizes(example, made.laws)
        modes = [draw_modes(law, size, made.fleet, rng) for law, size in zip(made.laws, sizes, strict=True)]
        if not all(modes):
            self._infeasible += 1
            return example
        parents = [step.parents for step in example.target.steps]
        step_ms = _matched(example, modes, rng)
        label = self._solve(parents, modes, made.fleet, step_ms)
        if label is None:
            self._infeasible += 1
            return example
        self._compare(label, parents, modes, made.fleet, step_ms)
        steps = tuple(
            replace(step, mode_weights=_weights(cards, own, near), residual=_residual(law, size, cards[own]))
            for step, cards, own, near, law, size in zip(
                example.target.steps, modes, label.chosen, label.near, made.laws, sizes, strict=True
            )
        )
        return replace(
            example,
            given=replace(example.given, step_ms=step_ms),
            target=replace(example.target, steps=steps),
            modes=tuple(StepModes(cards) for cards in modes),
        )

    def _solve(
        self,
        parents: Sequence[Sequence[int]],
        modes: Sequence[Sequence[ModeCard]],
        fleet: Fleet,
        step_ms: float,
    ) -> Label | None:
        key = content_hash(
            [
                LIMIT_S, [list(item) for item in parents], step_ms, list(fleet.bins),
                fleet.capacity.astype(float).round(4).tolist(), fleet.free.astype(float).round(6).tolist(),
                [[[card.class_index, card.need, card.p50_ms, card.p90_ms, card.cost] for card in cards]
                 for cards in modes],
            ]
        )  # fmt: skip
        if key in self._labels:
            self._kept += 1
            return _label_of(self._labels[key])
        label = solve_modes(parents, modes, fleet, step_ms)
        if label is not None:
            self._solved += 1
            self._proven += label.proven
        row: list[object] = [label.makespan_ms, label.chosen, label.near, label.proven] if label else []
        self._labels[key] = row
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, row]) + "\n")
        return label

    def _read(self, path: Path) -> None:
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                key, row = json.loads(line)
            except ValueError:
                continue  # a line that was being written when the process ended
            self._labels[key] = row


def _label_of(row: list[object]) -> Label | None:
    if not row:
        return None
    makespan, chosen, near, proven = json.loads(json.dumps(row))
    return Label(makespan, tuple(chosen), tuple(tuple(item) for item in near), proven)


def _matched(example: PlanningExample, modes: Sequence[Sequence[ModeCard]], rng: Random) -> float:
    """A cell's length: often so that the curves last about as long as the plan, where they matter most."""
    if rng.random() < 0.3:
        return example.given.step_ms
    work = sum(min(card.p90_ms for card in cards) for cards in modes)
    cells = example.given.curves.shape[2]
    return float(max(10.0, round(work * math.exp(rng.uniform(-0.7, 1.4)) / cells)))


def _weights(cards: Sequence[ModeCard], own: int, near: Sequence[int]) -> tuple[float, ...]:
    """Most for the schedule's own mode; the rest over all near ones, halved for each doubling of cost."""
    least = min(cards[place].cost for place in near) or 1e-12
    shares = {place: 1.0 / max(cards[place].cost / least, 1.0) for place in near}
    total = sum(shares.values())
    weights = [(1.0 - _OWN) * shares.get(place, 0.0) / total for place in range(len(cards))]
    weights[own] += _OWN
    return tuple(round(weight, 6) for weight in weights)


def _residual(law: Law, input_bytes: float, card: ModeCard) -> tuple[float, ...]:
    """How far the mode's amounts are from the right ones: memory as the law needs it, with margin."""
    memory = math.log(max(law.peak_gb(input_bytes) * MARGIN, 1e-3) / card.need[1])
    gpu = math.log(max(law.gpu_peak_gb(input_bytes) * MARGIN, 1e-3) / card.need[3]) if card.need[3] else 0.0
    return (0.0, round(memory, 4), 0.0, round(gpu, 4))
