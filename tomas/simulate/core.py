"""The event loop: what happens to steps, pools and bins, instant by instant."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Sequence

from tomas.errors import DataError, PlanError
from tomas.simulate.compiled import Compiled
from tomas.simulate.decision import Candidate, Decision
from tomas.simulate.latency import Sampler
from tomas.simulate.placing import Booking, Placer
from tomas.simulate.recorder import Recorder
from tomas.simulate.result import FailedTry, JobState, StepState
from tomas.simulate.server import EPSILON, HELD, Server
from tomas.simulate.workload import Job, SimBin

__all__ = ["Engine"]

_END, _HAND_OVER, _CHANGE, _ARRIVE, _RETRY = range(5)
_PENDING, _WAITING, _RUNNING, _DONE, _FAILED = (int(state) for state in StepState)
_REPORT_EVERY = 1024


class Engine:
    """The state of one simulation; columns hold all steps of the jobs that have arrived, job after job."""

    def __init__(
        self,
        jobs: Sequence[Job],
        bins: Sequence[SimBin],
        sampler: Sampler,
        placer: Placer | None,
        retries: int,
        oom: bool,
        usage: bool,
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self.given = jobs
        self.order = sorted(range(len(jobs)), key=lambda i: (jobs[i].arrival_ms, i))
        self.index = {place.name: number for number, place in enumerate(bins)}
        if len(self.index) != len(bins):
            raise DataError("Two simulated bins have the same name.", remedy="Give every bin a name of its own.")
        self.servers = [Server(number, place) for number, place in enumerate(bins)]
        self.sampler, self.placer, self.retries, self.oom = sampler, placer, retries, oom
        self.on_progress = on_progress
        self.total = sum(len(job.workload.steps) for job in jobs)
        self.compiled: dict[int, Compiled] = {}
        for job in jobs:
            if id(job.workload) not in self.compiled:
                self.compiled[id(job.workload)] = Compiled(job.workload, self.index)
        self.record = Recorder(self.servers, usage)
        self.heap: list[tuple[float, int, int, int]] = []
        self.now = 0.0
        self.events = 0
        self.done = 0
        self.job_of: list[int] = []
        self.bin_of: list[int] = []
        self.slots_of: list[int] = []
        self.need_of: list[tuple[float, float, float, float, int]] = []
        self.weight: list[int] = []
        self.before: list[int] = []
        self.state: list[int] = []
        self.ready: list[float] = []
        self.start: list[float] = []
        self.end: list[float] = []
        self.work: list[float] = []
        self.tries: list[int] = []
        # Columns of the jobs that have arrived, by rank of arrival.
        self.base: list[int] = []
        self.plan: list[Compiled] = []
        self.hand_over: list[float] = []
        self.left: list[int] = []
        self.ended_at: list[float] = []
        self.failures: dict[int, tuple[JobState, str]] = {}
        self.failed_tries: list[FailedTry] = []
        self.booked: dict[int, tuple[float, float]] = {}
        """Only with a placer: when each unfinished step is expected to run."""

    # -- the loop -----------------------------------------------------------------------------------------

    def run(self, ask: bool) -> Generator[Decision, int | None, None]:
        """Run until nothing more happens; yields decisions if ``ask``."""
        heap, servers = self.heap, self.servers
        for server in servers:
            for number, stretch in enumerate(server.place.stretches[1:], start=1):
                heap.append((stretch.start_ms, _CHANGE, server.index, number))
        heapq.heapify(heap)
        if self.order:
            heapq.heappush(heap, (self.given[self.order[0]].arrival_ms, _ARRIVE, 0, 0))
        touched: set[int] = set()
        while heap:
            now = self.now = heap[0][0]
            # All that happens at one instant is taken in before any step starts.
            while heap and heap[0][0] == now:
                _, kind, which, detail = heapq.heappop(heap)
                if kind == _END:
                    if servers[which].version == detail:
                        self._finish(servers[which], touched)
                elif kind == _HAND_OVER:
                    self._hand_over(which, touched)
                elif kind == _CHANGE:
                    self._change(servers[which], detail, touched)
                elif kind == _ARRIVE:
                    self._arrive(which, touched)
                else:
                    self._enqueue(which, touched)
            for number in sorted(touched) if len(touched) > 1 else touched:
                server = servers[number]
                server.advance(now)
                if ask:
                    yield from self._ask(server)
                elif server.queued:
                    self._dispatch(server)
                self._settle(server)
            touched.clear()

    def _settle(self, server: Server) -> None:
        """After a change on a bin: overloads, speeds, the next end, curves."""
        for column in HELD:
            if server.demand[column] > server.free[column] + EPSILON or column in server.over:
                if self.oom:
                    self._kill(server, column)
                self._note(server, column)
        end = server.reckon()
        if end != server.next_end:
            server.version += 1
            server.next_end = end
            if end < float("inf"):
                heapq.heappush(self.heap, (end, _END, server.index, server.version))
        self.record.mark(server)

    # -- what happens -------------------------------------------------------------------------------------

    def _arrive(self, rank: int, touched: set[int]) -> None:
        job = self.given[self.order[rank]]
        workload, plan = job.workload, self.compiled[id(job.workload)]
        base, count = len(self.state), plan.size
        self.base.append(base)
        self.plan.append(plan)
        self.hand_over.append(workload.hand_over_ms)
        self.left.append(count)
        self.ended_at.append(job.arrival_ms)
        self.job_of += [rank] * count
        self.bin_of += plan.bins
        self.slots_of += plan.slots
        self.need_of += plan.needs
        self.weight += plan.weights
        self.before += plan.before
        self.state += [_PENDING] * count
        never = [float("nan")] * count
        self.ready += never
        self.start += never
        self.end += never
        self.tries += [0] * count
        self.work += self.sampler.draw(job)
        if rank + 1 < len(self.order):
            heapq.heappush(self.heap, (self.given[self.order[rank + 1]].arrival_ms, _ARRIVE, rank + 1, 0))
        if self.placer is not None and not self._place(rank, range(count), touched, JobState.REFUSED):
            return
        for number in plan.roots:
            self._enqueue(base + number, touched)

    def _enqueue(self, step: int, touched: set[int]) -> None:
        """A step is ready."""
        self.ready[step] = self.now
        self.state[step] = _WAITING
        self._queue(step, touched)

    def _queue(self, step: int, touched: set[int]) -> None:
        server = self.servers[self.bin_of[step]]
        heap = server.waiting.setdefault(self.slots_of[step], [])
        heapq.heappush(heap, (self.weight[step], self.ready[step], step))
        server.queued += 1
        touched.add(server.index)

    def _finish(self, server: Server, touched: set[int]) -> None:
        now = self.now
        server.advance(now)
        touched.add(server.index)
        for step in server.ended():
            server.finish(self.need_of[step])
            self.state[step] = _DONE
            self.end[step] = now
            self.events += 1
            rank = self.job_of[step]
            self.left[rank] -= 1
            self.ended_at[rank] = now
            self.booked.pop(step, None)
            self.done += 1
            if self.on_progress is not None and not self.done % _REPORT_EVERY:
                self.on_progress(self.done, self.total)
            if self.hand_over[rank] > 0:
                heapq.heappush(self.heap, (now + self.hand_over[rank], _HAND_OVER, step, 0))
            else:
                self._hand_over(step, touched)

    def _hand_over(self, step: int, touched: set[int]) -> None:
        """Airflow has seen that a step ended: its room is free, its followers may be ready."""
        server = self.servers[self.bin_of[step]]
        server.advance(self.now)
        server.used_slots -= self.slots_of[step]
        touched.add(server.index)
        base = self.base[self.job_of[step]]
        for number in self.plan[self.job_of[step]].followers[step - base]:
            follower = base + number
            self.before[follower] -= 1
            if not self.before[follower]:
                self._enqueue(follower, touched)

    def _change(self, server: Server, number: int, touched: set[int]) -> None:
        """The capacity of a bin changes; on a bin that is lost, what runs fails."""
        server.advance(self.now)
        stretch = server.place.stretches[number]
        server.free, server.slots = stretch.free, stretch.slots
        touched.add(server.index)
        gone = stretch.lost and not server.lost
        server.lost = stretch.lost
        if not gone:
            return
        for step in sorted(server.steps()):
            self._fail(server, step, f"its bin {server.place.name} was lost", again=self.placer is not None)
        if self.placer is not None:
            self._move_from(server, touched)

    # -- starting -----------------------------------------------------------------------------------------

    def _dispatch(self, server: Server) -> None:
        """Start what fits, in Airflow's order."""
        state, bin_of, index = self.state, self.bin_of, server.index
        while server.queued:
            room = server.open_slots()
            best: list[tuple[int, float, int]] | None = None
            for slots, heap in server.waiting.items():
                if slots <= room:
                    # A step that was moved to another bin has left its entry here.
                    while heap and (state[heap[0][2]] != _WAITING or bin_of[heap[0][2]] != index):
                        heapq.heappop(heap)
                    if heap and (best is None or heap[0] < best[0]):
                        best = heap
            if best is None:
                return
            self._begin(server, heapq.heappop(best)[2])

    def _ask(self, server: Server) -> Generator[Decision, int | None, None]:
        """Start what the policy chooses."""
        while server.queued:
            room = server.open_slots()
            entries = sorted(
                entry
                for slots, heap in server.waiting.items()
                if slots <= room
                for entry in heap
                if self.state[entry[2]] == _WAITING and self.bin_of[entry[2]] == server.index
            )
            if not entries:
                return
            candidates = tuple(self._candidate(entry[2]) for entry in entries)
            choice = yield Decision(self.now, server.place.name, room, candidates)
            if choice is None:
                return
            if not 0 <= choice < len(entries):
                raise DataError(
                    f"The policy chose candidate {choice} of {len(entries)}.", remedy="Return an index, or None."
                )
            chosen = entries[choice]
            heap = server.waiting[self.slots_of[chosen[2]]]
            heap.remove(chosen)
            heapq.heapify(heap)
            self._begin(server, chosen[2])

    def _candidate(self, step: int) -> Candidate:
        rank = self.job_of[step]
        number = step - self.base[rank]
        given = self.order[rank]
        return Candidate(given, number, self.given[given].workload.steps[number], self.ready[step])

    def _begin(self, server: Server, step: int) -> None:
        server.queued -= 1
        server.begin(step, self.need_of[step], self.slots_of[step], self.work[step])
        self.state[step] = _RUNNING
        self.start[step] = self.now
        self.tries[step] += 1
        self.events += 1

    # -- failing and moving -------------------------------------------------------------------------------

    def _fail(self, server: Server, step: int, why: str, *, again: bool = False) -> None:
        """End a running step badly; it is tried again while tries are left, or in any case."""
        rank = self.job_of[step]
        number = step - self.base[rank]
        self.failed_tries.append(FailedTry(rank, number, server.index, self.start[step], self.now, why))
        server.withdraw(step, self.need_of[step])
        server.used_slots -= self.slots_of[step]
        self.events += 1
        self.end[step] = self.now
        if again or self.tries[step] <= self.retries:
            self.state[step] = _PENDING
            self.end[step] = float("nan")
            heapq.heappush(self.heap, (self.now + self.hand_over[rank], _RETRY, step, 0))
            return
        self.state[step] = _FAILED
        self.booked.pop(step, None)
        self.ended_at[rank] = self.now
        name = self.given[self.order[rank]].workload.steps[number].id
        self.failures.setdefault(rank, (JobState.FAILED, f"step {name} failed at {self.now / 1000:.1f} s: {why}"))

    def _kill(self, server: Server, column: int) -> None:
        """Out of memory: the step that started last goes first."""
        while server.demand[column] > server.free[column] + EPSILON:
            holders = [step for step in server.steps() if self.need_of[step][column] > 0]
            if not holders:
                return
            self._note(server, column)
            victim = max(holders, key=lambda step: (self.start[step], step))
            self._fail(server, victim, f"out of memory on {server.place.name}")

    def _note(self, server: Server, column: int) -> None:
        holders = [step for step in server.steps() if self.need_of[step][column] > 0]
        named = tuple(
            (self.order[self.job_of[step]], step - self.base[self.job_of[step]]) for step in sorted(holders)
        )
        self.record.overload(server, column, self.now, named)

    def _move_from(self, server: Server, touched: set[int]) -> None:
        """Place what a lost bin leaves behind on other bins, job by job."""
        for rank, left in enumerate(self.left):
            base = self.base[rank]
            behind = [
                number
                for number in range(self.plan[rank].size if left else 0)
                if self.bin_of[base + number] == server.index and self.state[base + number] in (_PENDING, _WAITING)
            ]
            if behind and rank not in self.failures:
                self._place(rank, behind, touched, JobState.STUCK)

    def _place(self, rank: int, steps: Sequence[int], touched: set[int], otherwise: JobState) -> bool:
        """Ask the placer for bins of steps that do not run yet; False if it finds none."""
        assert self.placer is not None  # noqa: S101  (asked only where there is one)
        base, workload = self.base[rank], self.given[self.order[rank]].workload
        moving = {base + number for number in steps}
        earliest = {
            number: max(
                (self.booked[base + before][1] for before in workload.steps[number].after
                 if base + before in self.booked and base + before not in moving),
                default=self.now,
            )
            for number in steps
        }  # fmt: skip
        lost = frozenset(server.place.name for server in self.servers if server.lost)
        try:
            placed = self.placer.place(
                workload, steps, now_ms=self.now, earliest_ms=earliest, booked=self._bookings(moving), lost=lost
            )
        except PlanError as error:
            self.failures[rank] = (otherwise, error.what)
            return False
        for number, place in zip(steps, placed, strict=True):
            step = base + number
            waits = self.state[step] == _WAITING
            if waits:
                self.servers[self.bin_of[step]].queued -= 1
            self.bin_of[step], self.slots_of[step] = self.index[place.bin], place.slots
            self.booked[step] = (place.start_ms, place.end_ms)
            if waits:
                self._queue(step, touched)
        return True

    def _bookings(self, moving: set[int]) -> list[Booking]:
        """What the unfinished steps of all jobs are expected to take, from now on.

        As in the forecast, a step that is late or overruns is taken to last as long again as planned.
        """
        found = []
        for step, (start, end) in self.booked.items():
            if step in moving:
                continue
            if self.state[step] == _RUNNING:
                begin, until = self.now, end if end > self.now else self.now + (end - start)
            else:
                begin = max(start, self.now)
                until = begin + (end - start)
            place = self.servers[self.bin_of[step]].place.name
            found.append(Booking(place, self.need_of[step][:4], self.slots_of[step], begin, until))
        return found
