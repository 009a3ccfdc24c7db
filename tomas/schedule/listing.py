"""List scheduling of multi-mode activities under time-varying capacities.

A serial schedule-generation scheme places activities one after the other, most urgent first, each at its earliest
feasible time; a parallel one is tried as well. Urgency is the latest finish time of the critical-path method
(Kolisch, "Serial and parallel resource-constrained project scheduling methods revisited", EJOR 1996). Modes are
chosen by prices of the bins, and schedules refined by forward-backward passes ("justification": Valls, Ballestín
and Quintanilla, "Justification and RCPSP: a technique that pays", EJOR 2005).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tomas.schedule.compiled import Compiled, Option
from tomas.schedule.parallel import place_in_parallel

__all__ = ["Placement", "best_placement", "place", "query_cost"]

_EPSILON = 1e-6
_FIXED_QUERIES = 60_000
"""Earliest starts after which no further equal prices are tried; with 1000 activities they take a second."""
_TRIALS = (
    *(
        (0.0, False),
        (0.0, True),
        (2.0, False),
        (1.0, False),
        (0.35, False),
        (0.35, True),
        (0.7, False),
        (4.0, False),
    ),
    *((1.0, True), (0.1, False), (0.2, False), (3.0, True), (1.4, False), (0.5, False), (8.0, False)),
)
"""Price of every bin, and whether placement is parallel."""
_FITS_PER_QUERY = 2
"""Whether something fits now is answered faster than when it fits."""
_LEAST_PRICE = 0.02
_VARIATION = 0.5
_JUSTIFICATIONS = 3
"""Passes backwards and forwards after each, while they help."""


@dataclass(frozen=True)
class Placement:
    """Start and mode of every activity, by index."""

    starts: list[float]
    chosen: list[Option]

    @property
    def ends(self) -> list[float]:
        """End of every activity."""
        return [start + option.duration for start, option in zip(self.starts, self.chosen, strict=True)]

    @property
    def makespan(self) -> float:
        """End of the last activity."""
        return max(self.ends, default=0.0)

    @property
    def key(self) -> tuple[float, float]:
        """Smaller is better: makespan, then cost."""
        return (round(self.makespan, 6), sum(option.cost or option.area for option in self.chosen))


def best_placement(compiled: Compiled, bound: float, *, queries: int = 0, seed: int = 0) -> Placement | None:
    """The best of a few rules and of a search over prices; None if no placement is feasible.

    Every bin has a price: what a millisecond of all of it is worth, in milliseconds of a later end. A pass takes
    the mode with the least end plus price x area, and orders activities by the longest path over modes that are
    cheap at these prices. Equal prices come first, from 0 (as fast as possible) to 8 (as little as possible); then
    the best prices are varied at random, bin by bin. Passes backwards and forwards refine each placement.

    :param bound: a placement that ends there is optimal and taken at once.
    :param queries: how many earliest starts the random variation may ask for; 0 keeps to the equal prices, and to
        fewer of them for a very large problem.
    :param seed: of the variation; the same one gives the same placement.
    """
    random = Random(seed)  # noqa: S311  (not for secrets)
    bins = len(compiled.timelines)
    per_pass = sum(len(group) for group in compiled.options)
    single = per_pass == len(compiled)
    best: Placement | None = None
    prices = [0.0] * bins
    parallel = False
    fixed = _FIXED_QUERIES
    trial = 0
    while True:
        equal = trial == 0 or (trial < len(_TRIALS) and fixed >= per_pass)
        if not equal and (queries < per_pass or best is None):
            break
        if equal:
            tried, manner = [_TRIALS[trial][0]] * bins, _TRIALS[trial][1]
        else:
            manner = parallel
            tried = [
                max(_LEAST_PRICE, price) * math.exp(random.gauss(0.0, _VARIATION))
                if random.random() < 0.5
                else price
                for price in prices
            ]
        found, asked = _refined(compiled, tried, bound, parallel=manner)
        if equal:
            fixed -= asked
        else:
            queries -= asked
        trial += 1
        if found is not None and (best is None or found.key <= best.key):
            best, prices, parallel = found, tried, manner
        if (best is not None and best.makespan <= bound + _EPSILON) or (single and trial == 1):
            break
    return best


def query_cost(compiled: Compiled) -> float:
    """What asking for an earliest start costs, relative to 100 activities: timelines grow with them."""
    return 0.7 + len(compiled) / 300.0


def _refined(
    compiled: Compiled, prices: Sequence[float], bound: float, *, parallel: bool
) -> tuple[Placement | None, int]:
    """One placement at these prices, refined; and how many earliest starts that took."""
    per_pass = sum(len(group) for group in compiled.options)
    urgency = _urgency(compiled, prices)
    if parallel:
        placed, asked = place_in_parallel(compiled, urgency, prices)
        current = Placement(*placed) if placed else None
        asked = max(per_pass, asked // _FITS_PER_QUERY)
    else:
        current, asked = place(compiled, urgency, prices), per_pass
    for _ in range(_JUSTIFICATIONS):
        if current is None or current.makespan <= bound + _EPSILON:
            break
        asked += per_pass + 2 * len(compiled)
        better = _justified(compiled, current)
        if better is None or better.key >= current.key:
            break
        current = better
    return current, asked


def _urgency(compiled: Compiled, prices: Sequence[float]) -> list[float]:
    """Longest path from each activity's start to the end, by the modes that are cheapest at these prices."""
    result = [0.0] * len(compiled)
    for j in reversed(compiled.order):
        option = min(compiled.options[j], key=lambda o: o.duration + prices[o.bin] * o.area)
        result[j] = option.duration + max((result[follower] for follower in compiled.after[j]), default=0.0)
    return result


def place(
    compiled: Compiled,
    urgency: Sequence[float],
    thrift: Sequence[float] | None = None,
    among: Sequence[Sequence[Option]] | None = None,
) -> Placement | None:
    """One serial pass; None where some activity fits nowhere or a budget runs out.

    :param urgency: the larger, the earlier an activity is placed, among those whose predecessors are placed.
    :param thrift: per bin; of the modes, the one with the least end + ``thrift`` x area is taken. None is 0.
    :param among: the modes that each activity may have; None: all of them.
    """
    timelines = [timeline.copy() for timeline in compiled.timelines]
    thrift = thrift or [0.0] * len(timelines)
    count = len(compiled)
    starts, ends = [0.0] * count, [0.0] * count
    chosen: list[Option | None] = [None] * count
    waiting = [len(before) for before in compiled.before]
    left = list(compiled.budgets)
    for row in compiled.least_uses:
        left = [room - least for room, least in zip(left, row, strict=True)]
    ready = [(-compiled.priority[j], -urgency[j], j) for j in range(count) if not waiting[j]]
    heapq.heapify(ready)
    while ready:
        j = heapq.heappop(ready)[2]
        not_before = max((ends[b] for b in compiled.before[j]), default=0.0)
        not_before = max(not_before, compiled.earliest[j])
        pick: Option | None = None
        best: tuple[float, ...] = (math.inf,)
        least = compiled.least_uses[j]
        for option in compiled.options[j] if among is None else among[j]:
            if any(use - low > room + 1e-9 for use, low, room in zip(option.uses, least, left, strict=True)):
                continue
            price = option.duration + thrift[option.bin] * option.area
            if not_before + price > best[0]:
                continue
            start = timelines[option.bin].earliest(option.need, not_before, option.duration)
            key = (start + price, option.cost, option.area, option.index)
            if start < math.inf and key < best:
                pick, best, starts[j] = option, key, start
        if pick is None:
            return None
        ends[j] = starts[j] + pick.duration
        chosen[j] = pick
        timelines[pick.bin].take(pick.need, starts[j], ends[j])
        if left:
            left = [room - use + low for room, use, low in zip(left, pick.uses, least, strict=True)]
        for follower in compiled.after[j]:
            waiting[follower] -= 1
            if not waiting[follower]:
                heapq.heappush(ready, (-compiled.priority[follower], -urgency[follower], follower))
    return Placement(starts, [option for option in chosen if option is not None])


def _justified(compiled: Compiled, placement: Placement) -> Placement | None:
    """Push everything as late as the makespan allows, then place forwards again in that order."""
    timelines = [timeline.copy() for timeline in compiled.timelines]
    makespan = placement.makespan
    ends = placement.ends
    late = [0.0] * len(compiled)
    for j in sorted(range(len(compiled)), key=lambda j: (-ends[j], -compiled.heads[j], j)):
        option = placement.chosen[j]
        not_after = min((late[follower] for follower in compiled.after[j]), default=makespan)
        start = timelines[option.bin].latest(option.need, not_after, option.duration, 0.0)
        if start < placement.starts[j]:
            # Later activities took its room: without it the pass back has no meaning, but its old start holds.
            return None
        late[j] = start
        timelines[option.bin].take(option.need, start, start + option.duration)
    urgency = [-start for start in late]
    kept = place(compiled, urgency, among=[(option,) for option in placement.chosen])
    free = place(compiled, urgency)
    found = [item for item in (kept, free) if item is not None]
    return min(found, key=lambda item: item.key) if found else None
