"""One bin at work: processor sharing of what is shared, counts of what is held, and the queue of its pool.

Steps that need the same shared resources (cores, SMs of the GPU) always run at one common speed. They form a lane
with a clock of its own that advances with that speed: a step of ``w`` ms that starts when the clock shows ``c``
ends when it shows ``c + w``, whatever happens to the speed in between. A change of speed thus touches no step, and
the next end is the head of a heap (the virtual time of Parekh and Gallager, "A generalized processor sharing
approach to flow control", IEEE/ACM ToN 1993).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator

from tomas.simulate.workload import SimBin

__all__ = ["EPSILON", "HELD", "Lane", "Server"]

EPSILON = 1e-9
HELD = (1, 3)
"""Resources that a step holds and that cannot be stretched: memory and GPU memory."""
_CORES, _SMS = 0, 2


class Lane:
    """Steps of a server that share one speed; ``uses_*`` say which shared resources they need."""

    __slots__ = ("clock", "exact", "heap", "rate", "uses_cpu", "uses_gpu")

    def __init__(self, uses_cpu: bool, uses_gpu: bool) -> None:
        self.uses_cpu = uses_cpu
        self.uses_gpu = uses_gpu
        self.heap: list[tuple[float, int]] = []
        self.clock = 0.0
        self.rate = 1.0
        self.exact = True
        """Never slowed since it was last empty: its clock then shows the true time, free of rounding."""


class Server:
    """The state of one bin while it is simulated."""

    __slots__ = (
        "area", "at", "demand", "exact", "fast", "free", "index", "lanes", "lost", "next_end", "next_lane", "over",
        "place", "queued", "running", "slots", "slow_ms", "used_slots", "version", "waiting",
    )  # fmt: skip

    def __init__(self, index: int, place: SimBin) -> None:
        self.index = index
        self.place = place
        first = place.stretches[0]
        self.free = first.free
        self.slots = first.slots
        self.lost = first.lost
        self.demand = [0.0, 0.0, 0.0, 0.0]
        """What the running steps need in all; of shared resources it may exceed what is free."""
        self.used_slots = 0
        self.running = 0
        self.lanes: dict[int, Lane] = {}
        self.fast = True
        """Whether all steps run at full speed now."""
        self.exact = True
        """Whether all lanes are exact."""
        self.at = 0.0
        self.area = [0.0, 0.0, 0.0, 0.0, 0.0]
        """Integrals over time of what is used: four resources, then slots."""
        self.slow_ms = 0.0
        self.next_end = math.inf
        self.next_lane: Lane | None = None
        self.version = 0
        self.waiting: dict[int, list[tuple[int, float, int]]] = {}
        """Per slot count a heap of (-priority, ready, step): the best that fits is the least of few heads."""
        self.queued = 0
        self.over: dict[int, int] = {}
        """Held resources that are exceeded now: their index in the engine's list of overloads."""

    def advance(self, now: float) -> None:
        """Bring clocks and integrals to ``now``."""
        spent = now - self.at
        if spent <= 0.0:
            return
        if self.running:
            area, demand, free = self.area, self.demand, self.free
            area[0] += spent * min(demand[0], free[0])
            area[1] += spent * demand[1]
            if demand[2] or demand[3]:
                area[2] += spent * min(demand[2], free[2])
                area[3] += spent * demand[3]
            if not self.fast:
                self.slow_ms += spent
            if not self.exact:
                for lane in self.lanes.values():
                    if not lane.exact:
                        lane.clock += spent * lane.rate
        if self.used_slots:
            self.area[4] += spent * self.used_slots
        self.at = now

    def begin(self, step: int, need: tuple[float, float, float, float, int], slots: int, work_ms: float) -> None:
        """Start a step now; the caller has advanced the server."""
        demand = self.demand
        for column in range(4):
            demand[column] += need[column]
        self.used_slots += slots
        self.running += 1
        lane = self.lanes.get(need[4])
        if lane is None:
            lane = self.lanes[need[4]] = Lane(bool(need[4] & 1), bool(need[4] & 2))
        heapq.heappush(lane.heap, ((self.at if lane.exact else lane.clock) + work_ms, step))

    def finish(self, need: tuple[float, float, float, float, int]) -> None:
        """Give back what a step held, its slots excepted."""
        self.running -= 1
        if not self.running:
            self.demand = [0.0, 0.0, 0.0, 0.0]
            return
        demand = self.demand
        for column in range(4):
            demand[column] -= need[column]

    def ended(self) -> list[int]:
        """Take out the steps whose work is done now; called when an end is due."""
        done: list[int] = []
        due = self.next_lane
        if due is not None and due.heap:
            # The lane that gave the next end does end its head, even where rounding leaves the clock short of it.
            done.append(heapq.heappop(due.heap)[1])
        for lane in self.lanes.values():
            heap = lane.heap
            limit = self.at if lane.exact else lane.clock + EPSILON * max(1.0, abs(lane.clock))
            while heap and heap[0][0] <= limit:
                done.append(heapq.heappop(heap)[1])
        self.next_end, self.next_lane = math.inf, None
        return done

    def withdraw(self, step: int, need: tuple[float, float, float, float, int]) -> None:
        """Take a running step out before its end."""
        lane = self.lanes[need[4]]
        lane.heap = [item for item in lane.heap if item[1] != step]
        heapq.heapify(lane.heap)
        self.finish(need)

    def steps(self) -> Iterator[int]:
        """The running steps."""
        for lane in self.lanes.values():
            for _, step in lane.heap:
                yield step

    def reckon(self) -> float:
        """Set the speeds by what is needed and free now; the instant of the next end, inf if there is none."""
        demand, free, now = self.demand, self.free, self.at
        cpu = 1.0 if demand[_CORES] <= free[_CORES] + EPSILON else free[_CORES] / demand[_CORES]
        gpu = 1.0 if demand[_SMS] <= free[_SMS] + EPSILON else free[_SMS] / demand[_SMS]
        self.fast = cpu == 1.0 and gpu == 1.0
        best = math.inf
        self.next_lane = None
        self.exact = True
        for lane in self.lanes.values():
            heap = lane.heap
            if not heap:
                lane.exact = True
                continue
            rate = 1.0
            if lane.uses_cpu:
                rate = cpu
            if lane.uses_gpu and gpu < rate:
                rate = gpu
            if lane.exact and rate != 1.0:
                lane.exact, lane.clock = False, now
            lane.rate = rate
            self.exact = self.exact and lane.exact
            if lane.exact:
                end = heap[0][0]
            elif rate > 0.0:
                end = now + max(0.0, heap[0][0] - lane.clock) / rate
            else:
                continue
            if end < best:
                best, self.next_lane = end, lane
        return best

    def open_slots(self) -> int:
        """Room of the pool."""
        return 0 if self.lost else self.slots - self.used_slots

    def capacity_area(self, until: float) -> list[float]:
        """Integrals of what is free, four resources and slots, from 0 to ``until``."""
        total = [0.0] * 5
        stretches = self.place.stretches
        for number, stretch in enumerate(stretches):
            end = stretches[number + 1].start_ms if number + 1 < len(stretches) else math.inf
            spent = min(end, until) - stretch.start_ms
            if spent <= 0:
                break
            if not stretch.lost:
                for column, value in enumerate((*stretch.free, stretch.slots)):
                    total[column] += spent * value
        return total
