"""Plans of known requests: how tools, links and sets add up from them, and what a new request's plan may be.

Candidates are the known plans, and new ones composed of the likeliest tools: one request in ten wants a set of
tools that nobody has asked for before. Each candidate's weight follows from its expected worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidates", "Evidence", "Habits", "Plans", "Recall", "fit_temperature", "softmax"]

_MOST_PRECEDENTS = 48
_LEAST_WEIGHT = 0.002
_EVEN = 0.02
"""Added to a chance and to its complement before the log-odds are taken."""
_COST = 1.0
"""Of a tool in a plan; one that is right is worth 2."""
_LINK_WORTH, _PLAN_WORTH = 0.5, 0.5
_NEW = 0.15
"""What a plan that no request had is worth beside its tools and links; a known one has its own evidence."""
_COMPOSED_OF = 7
"""The likeliest tools, of which sets are made."""
_SIZES = (2, 3, 4)
_MOST_COMPOSED = 16


@dataclass(frozen=True)
class Recall:
    """What a memory says of one task.

    :ivar tools: log-odds of every tool that it knows.
    :ivar plans: (names in order, weight), likeliest first; weights add up to at most 1.
    """

    tools: Mapping[str, float]
    plans: tuple[tuple[tuple[str, ...], float], ...]


class Evidence(NamedTuple):
    """Chances of tools, links and plans, each of shape (tasks, number of them)."""

    tools: NDArray[np.float64]
    links: NDArray[np.float64]
    plans: NDArray[np.float64]

    def rows(self, rows: NDArray[np.bool_]) -> Evidence:
        """Of some tasks."""
        return Evidence(self.tools[rows], self.links[rows], self.plans[rows])


class Candidates(NamedTuple):
    """What the plan of one task may be: names of tools in order, and the expected worth of each plan."""

    names: list[tuple[str, ...]]
    worths: NDArray[np.float64]


@dataclass(frozen=True)
class Habits:
    """What is usual among some requests.

    :ivar plans: whether one of them had each plan, (plans,).
    :ivar counts: how many held each tool, (tools,).
    :ivar before: how many held the row's tool before the column's, (tools, tools).
    :ivar place: mean place of each tool in its plans, 0 the first to 1 the last, (tools,).
    """

    plans: NDArray[np.bool_]
    counts: NDArray[np.float64]
    before: NDArray[np.float64]
    place: NDArray[np.float64]


class Plans:
    """The distinct plans of known requests.

    :ivar names: of the tools of each plan, in order.
    :ivar of_request: index of each request's plan.
    :ivar tool_names: those of the plans, then those that stand in none.
    :ivar tools: 1 where a plan holds a tool, (plans, tools); ``links`` likewise of ordered pairs.
    """

    def __init__(
        self, names: Sequence[tuple[str, ...]], of_request: NDArray[np.int64], others: Sequence[str] = ()
    ) -> None:
        """:param others: tools that may be asked for though no plan holds them."""
        self.names = list(names)
        self.of_request = of_request
        self.tool_names = list(dict.fromkeys([*(name for plan in names for name in plan), *others]))
        self._place = {name: number for number, name in enumerate(self.tool_names)}
        self._link = {pair: n for n, pair in enumerate(dict.fromkeys(p for plan in names for p in pairwise(plan)))}
        self._set = {one: n for n, one in enumerate(dict.fromkeys(frozenset(plan) for plan in names))}
        self.tools = np.zeros((len(names), len(self.tool_names)))
        self.links = np.zeros((len(names), len(self._link)))
        self._sets = np.zeros((len(names), len(self._set)))
        for number, plan in enumerate(names):
            self.tools[number, [self._place[name] for name in plan]] = 1.0
            self.links[number, [self._link[pair] for pair in pairwise(plan)]] = 1.0
            self._sets[number, self._set[frozenset(plan)]] = 1.0

    @classmethod
    def of(cls, plans: Sequence[tuple[str, ...]], others: Sequence[str] = ()) -> Plans:
        """:param plans: of every request."""
        names = list(dict.fromkeys(plans))
        place = {plan: number for number, plan in enumerate(names)}
        return cls(names, np.array([place[plan] for plan in plans], dtype=np.int64), others)

    @property
    def right(self) -> NDArray[np.float64]:
        """One per request at its plan, shape (requests, plans)."""
        return np.eye(len(self.names))[self.of_request]

    def habits(self, rows: NDArray[np.bool_] | None = None) -> Habits:
        """What is usual among the requests, or among those of ``rows``."""
        chosen = self.of_request if rows is None else self.of_request[rows]
        times = np.bincount(chosen, minlength=len(self.names)).astype(np.float64)
        before = np.zeros((len(self.tool_names), len(self.tool_names)))
        place, seen = np.ones(len(self.tool_names)), np.full(len(self.tool_names), 2.0)
        for plan, count in zip(self.names, times, strict=True):
            own = [self._place[name] for name in plan]
            for number, tool in enumerate(own):
                before[tool, own[number + 1 :]] += count
                place[tool] += count * number / max(1, len(own) - 1)
                seen[tool] += count
        return Habits(times > 0, times @ self.tools, before, place / seen)

    def evidence(self, regressed: NDArray[np.float64]) -> Evidence:
        """Tools and links add up from the plans that hold them."""
        return Evidence(regressed @ self.tools, regressed @ self.links, regressed)

    def worths(self, evidence: Evidence, habits: Habits) -> NDArray[np.float64]:
        """Expected worth of every known plan: tools and links that it shares with the right one, equal sets."""
        tools, links, plans = evidence
        worth = 2.0 * tools @ self.tools.T - _COST * self.tools.sum(axis=1) + _LINK_WORTH * links @ self.links.T
        return np.where(habits.plans, worth + plans @ self._sets @ self._sets.T + _PLAN_WORTH * plans, -np.inf)

    def candidates(self, evidence: Evidence, habits: Habits) -> list[Candidates]:
        """Known plans and new ones with their worth, for each row of the evidence."""
        worths = self.worths(evidence, habits)
        found = []
        for row, worth in enumerate(worths):
            best = np.argsort(-worth, kind="stable")[:_MOST_PRECEDENTS]
            known = [self.names[k] for k in best if worth[k] > -np.inf]
            new = self._composed(evidence.tools[row], evidence.links[row], habits)
            names = [*known, *(plan for plan, _ in new)]
            found.append(Candidates(names, np.array([*worth[best][: len(known)], *(value for _, value in new)])))
        return found

    def recalls(self, evidence: Evidence, candidates: Sequence[Candidates], temperature: float) -> list[Recall]:
        """Tools by their chances, plans by their worth, per row of the evidence."""
        chances = np.clip(evidence.tools, 0.0, 1.0)
        odds = np.log((chances + _EVEN) / (1.0 - chances + _EVEN))
        found = []
        for row, (names, worths) in zip(odds, candidates, strict=True):
            weights = softmax(worths / temperature)
            best = np.argsort(-weights, kind="stable")[:_MOST_PRECEDENTS]
            plans = tuple((names[k], float(weights[k])) for k in best if weights[k] >= _LEAST_WEIGHT)
            found.append(Recall(dict(zip(self.tool_names, row.tolist(), strict=True)), plans))
        return found

    def _composed(
        self, tools: NDArray[np.float64], links: NDArray[np.float64], habits: Habits
    ) -> list[tuple[tuple[str, ...], float]]:
        """New plans of the likeliest tools, each set in its usual order."""
        best = np.argsort(-tools, kind="stable")[:_COMPOSED_OF].tolist()
        sets = [chosen for size in _SIZES for chosen in combinations(best, size)]
        worth = [sum(2.0 * float(tools[k]) - _COST for k in chosen) + _NEW for chosen in sets]
        found: list[tuple[tuple[str, ...], float]] = []
        for number in sorted(range(len(sets)), key=lambda number: -worth[number]):
            names = frozenset(self.tool_names[k] for k in sets[number])
            known = self._set.get(names)
            if known is not None and bool(habits.plans[self._sets[:, known] > 0].any()):
                continue
            plan = tuple(self.tool_names[k] for k in _in_order(sets[number], habits))
            linked = sum(max(0.0, float(links[self._link[p]])) for p in pairwise(plan) if p in self._link)
            found.append((plan, worth[number] + _LINK_WORTH * linked))
            if len(found) == _MOST_COMPOSED:
                break
        return found


def fit_temperature(candidates: Sequence[Candidates], right: Sequence[tuple[str, ...]]) -> float:
    """The temperature of worths under which the right plans are likeliest, of those that are candidates."""
    rows = [
        (worths, names.index(plan))
        for (names, worths), plan in zip(candidates, right, strict=True)
        if plan in names
    ]
    if not rows:
        return 1.0
    tried = np.geomspace(0.05, 1.5, 24)
    losses = [-np.mean([np.log(softmax(worths / t)[k] + 1e-9) for worths, k in rows]) for t in tried]
    return float(tried[int(np.argmin(losses))])


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares along the last axis."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    share: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return share


def _in_order(tools: Sequence[int], habits: Habits) -> list[int]:
    """By how often the others of the set come before each."""

    def lateness(tool: int) -> tuple[float, float]:
        late = 0.0
        for other in tools:
            if other != tool:
                first, after = habits.before[other, tool], habits.before[tool, other]
                late += (first + 0.5 * (habits.place[other] < habits.place[tool])) / (first + after + 0.5)
        return float(late), float(habits.place[tool])

    return sorted(tools, key=lateness)
