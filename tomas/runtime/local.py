"""Run a whole plan on this machine, bin by bin, without Airflow."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from tomas.config import Settings, get_settings
from tomas.errors import BinTooSmall, PlanRejected, TomasError, ToolOutOfMemory
from tomas.runtime.escalation import Escalation, Grant
from tomas.runtime.step import attempt_step
from tomas.schema import POOL_SIZE, Artifact, ExecutionRecord, Plan, PlanStatus, PlanStep
from tomas.tools.registry import Registry

if TYPE_CHECKING:
    from tomas.store import Store

__all__ = ["RunEvent", "RunEventKind", "run_plan"]


class RunEventKind(StrEnum):
    """What happened to a step."""

    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    AGAIN = "again"
    """It ran out of memory, and its next try gets more."""
    SKIPPED = "skipped"


@dataclass(frozen=True)
class RunEvent:
    """Progress of a local run. ``record`` stands with the end of a try, ``error`` with its failure.

    ``grant`` is what the try gets that starts, or the next one after an out-of-memory.
    """

    kind: RunEventKind
    step: PlanStep
    at_ms: float
    grant: Grant
    record: ExecutionRecord | None = None
    error: str = ""

    def __str__(self) -> str:
        text = f"{self.at_ms / 1000:7.2f} s  {self.step.id}  {self.step.tool}  {self.kind.value}"
        if self.kind is RunEventKind.STARTED:
            return f"{text} on {self.step.bin} ({self.grant.slots} slots of {self.step.pool})"
        if self.kind is RunEventKind.AGAIN:
            return f"{text} with {self.grant.need.cpu_mem_gb:.3g} GB: {self.error}"
        if self.record is not None and not self.error:
            usage = self.record.usage
            took = f"{usage.wall_ms / 1000:.2f} s, peak {usage.peak_mem_gb:.3f} GB, {usage.cpu_seconds:.2f} CPU s"
            return f"{text} in {took}"
        return f"{text}: {self.error}" if self.error else text


def run_plan(
    plan: Plan,
    registry: Registry,
    store: Store | None = None,
    *,
    artifacts_dir: Path,
    on_event: Callable[[RunEvent], None] | None = None,
    settings: Settings | None = None,
    try_number: int = 1,
) -> list[ExecutionRecord]:
    """Run every step of ``plan`` here, each in a measured child process.

    A step starts when its predecessors succeeded and its bin's pool has slots left, in the order of the
    planned starts. A step that runs out of memory is tried again with more, up to the capacity of its bin. A
    failure keeps its descendants from running and leaves the other steps alone.

    :param on_event: called from this thread.
    :param try_number: of the first try of every step.
    :returns: the records of all tries, in the order of their ends; skipped steps have none.
    :raises PlanRejected: the plan names unknown predecessors, holds a cycle, or a step larger than its pool.
    :raises KeyboardInterrupt: after all children are killed and all reservations released.
    """
    tools = registry.with_tools(plan.request.tools)
    run = _LocalRun(plan, tools, store, artifacts_dir, on_event, settings or get_settings(), try_number)
    return run.run()


class _LocalRun:
    def __init__(
        self,
        plan: Plan,
        tools: Registry,
        store: Store | None,
        artifacts_dir: Path,
        on_event: Callable[[RunEvent], None] | None,
        settings: Settings,
        try_number: int,
    ) -> None:
        _check_graph(plan)
        self.plan = plan
        self.tools = {step.id: tools.get(step.tool) for step in plan.steps}
        self.store = store
        self.artifacts_dir = artifacts_dir
        self.on_event = on_event
        self.settings = settings
        self.escalation = Escalation.load(store, settings)
        self.grants = {step.id: self.escalation.grant(step, []) for step in plan.steps}
        self.try_numbers = dict.fromkeys(self.grants, try_number)
        self.began = time.monotonic()
        self.cancel = threading.Event()
        self.ended: queue.SimpleQueue[tuple[PlanStep, ExecutionRecord | None, BaseException | None]]
        self.ended = queue.SimpleQueue()
        self.waiting = _in_order(plan.steps)
        self.ready_at: dict[str, float] = {}
        self.slots: dict[str, int] = {}
        self.outputs: dict[str, list[Artifact]] = {}
        self.lost: set[str] = set()
        self.threads: dict[str, threading.Thread] = {}

    def run(self) -> list[ExecutionRecord]:
        records: list[ExecutionRecord] = []
        status = PlanStatus.FAILED
        if self.store is not None:
            self.store.set_plan_status(self.plan.id, PlanStatus.RUNNING)
        try:
            while self.waiting or self.threads:
                self._start_what_can()
                if not self.threads:
                    break
                step, record, error = self.ended.get()
                self.threads.pop(step.id).join()
                self.slots[step.pool] -= self.grants[step.id].slots
                if record is not None:
                    records.append(record)
                if error is not None and not isinstance(error, TomasError):
                    raise error
                self._note_end(step, record, error)
            if not self.lost:
                status = PlanStatus.SUCCEEDED
        finally:
            self.cancel.set()
            for thread in self.threads.values():
                thread.join()
            if self.store is not None:
                self.store.set_plan_status(self.plan.id, status)
                self.store.release_plan_reservations(self.plan.id)
        return records

    def _start_what_can(self) -> None:
        while doomed := [step for step in self.waiting.values() if self.lost.intersection(step.depends_on)]:
            for step in doomed:
                causes = ", ".join(sorted(self.lost.intersection(step.depends_on)))
                del self.waiting[step.id]
                self.lost.add(step.id)
                self._tell(RunEventKind.SKIPPED, step, error=f"{causes} did not succeed")
        now = time.monotonic()
        for step in list(self.waiting.values()):
            if any(name not in self.outputs for name in step.depends_on):
                continue
            self.ready_at.setdefault(step.id, now)
            used = self.slots.get(step.pool, 0)
            slots = self.grants[step.id].slots
            if used + slots > POOL_SIZE:
                continue
            self.slots[step.pool] = used + slots
            del self.waiting[step.id]
            self._tell(RunEventKind.STARTED, step)
            waited = (time.monotonic() - self.ready_at[step.id]) * 1000.0
            thread = threading.Thread(target=self._work, args=(step, waited), name=f"tomas-step-{step.id}")
            self.threads[step.id] = thread
            thread.start()

    def _work(self, step: PlanStep, waited_ms: float) -> None:
        try:
            record, error = attempt_step(
                self.store,
                self.plan,
                step,
                tool=self.tools[step.id],
                artifacts_dir=self.artifacts_dir,
                try_number=self.try_numbers[step.id],
                outputs_of=lambda name: self.outputs[name],
                settings=self.settings,
                queue=step.queue,
                waited_ms=waited_ms,
                cancel=self.cancel,
                grant=self.grants[step.id],
                pool_is_shared=False,
            )
            self.ended.put((step, record, error))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that runs the plan
            self.ended.put((step, None, error))

    def _note_end(self, step: PlanStep, record: ExecutionRecord | None, error: BaseException | None) -> None:
        if error is None and record is not None:
            self.outputs[step.id] = record.outputs
            self._tell(RunEventKind.SUCCEEDED, step, record)
        elif record is not None and isinstance(error, ToolOutOfMemory) and self._gets_more(step, record, error):
            self.waiting = _in_order([step, *self.waiting.values()])
            self.try_numbers[step.id] += 1
            del self.ready_at[step.id]
            self._tell(RunEventKind.AGAIN, step, record, error.what)
        else:
            self.lost.add(step.id)
            self._tell(RunEventKind.FAILED, step, record, str(error))

    def _gets_more(self, step: PlanStep, record: ExecutionRecord, error: ToolOutOfMemory) -> bool:
        """Grant more memory to a step that ran out of it; False if there is no more."""
        if isinstance(error, BinTooSmall):
            return False
        following = self.escalation.following(step, record.requested, record.usage)
        if following.need.cpu_mem_gb <= record.requested.cpu_mem_gb:
            return False
        self.grants[step.id] = following
        return True

    def _tell(
        self, kind: RunEventKind, step: PlanStep, record: ExecutionRecord | None = None, error: str = ""
    ) -> None:
        if self.on_event is not None:
            elapsed_ms = (time.monotonic() - self.began) * 1000.0
            self.on_event(RunEvent(kind, step, elapsed_ms, self.grants[step.id], record, error))


def _in_order(steps: Iterable[PlanStep]) -> dict[str, PlanStep]:
    return {step.id: step for step in sorted(steps, key=lambda item: (item.start_ms, item.id))}


def _check_graph(plan: Plan) -> None:
    """A cycle would wait for ever: refuse before anything starts."""
    names = {step.id for step in plan.steps}
    done: set[str] = set()
    pending = list(plan.steps)
    for step in pending:
        missing = [name for name in step.depends_on if name not in names]
        if missing:
            raise PlanRejected(
                f"Plan {plan.id}: step {step.id} depends on {missing[0]}, which the plan does not hold.",
                remedy="Make the plan anew.",
            )
        if not 1 <= step.pool_slots <= POOL_SIZE:
            raise PlanRejected(
                f"Plan {plan.id}: step {step.id} asks for {step.pool_slots} of {POOL_SIZE} pool slots.",
                remedy="Make the plan anew with a larger bin.",
            )
    while pending:
        rest = [step for step in pending if not done.issuperset(step.depends_on)]
        if len(rest) == len(pending):
            raise PlanRejected(
                f"Plan {plan.id} holds a cycle through {', '.join(step.id for step in rest[:5])}.",
                remedy="Make the plan anew.",
            )
        done.update(step.id for step in pending if step not in rest)
        pending = rest
