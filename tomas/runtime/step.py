"""Run one step of a plan: resolve its inputs, run its tool, keep its execution record."""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tomas.config import Settings, get_settings
from tomas.errors import DataError, StoreUnavailable, TomasError, ToolError, ToolOutOfMemory, UnboundInput
from tomas.planner.inputs import local_files
from tomas.runtime.escalation import Grant, hold
from tomas.schema import (
    Artifact,
    Binding,
    ExecutionRecord,
    Outcome,
    Plan,
    PlanStep,
    RequestBinding,
    StepUsage,
    Tool,
    utc_now,
)
from tomas.tools.run import run_tool

if TYPE_CHECKING:
    from tomas.store import Store

__all__ = ["attempt_step", "output_dir", "run_step"]

_log = logging.getLogger(__name__)

FLUSH_S = 2.0
"""How often a running step's record is written."""

_SAVE_TRIES = 4


def run_step(
    store: Store | None,
    plan: Plan,
    step: PlanStep,
    *,
    tool: Tool,
    artifacts_dir: Path,
    try_number: int,
    outputs_of: Callable[[str], list[Artifact]],
    settings: Settings | None = None,
    dag_id: str | None = None,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
    queue: str | None = None,
    waited_ms: float = 0.0,
    cancel: threading.Event | None = None,
    grant: Grant | None = None,
    pool_is_shared: bool = True,
) -> ExecutionRecord:
    """Run ``step`` once and return its record.

    The record is written at the start, about every two seconds, and at the end, whatever the end is; the
    step's reservation is released then. Outputs go to ``artifacts_dir/PLAN/STEP/TRY``; those of a failed
    try are deleted.

    :param store: None keeps nothing.
    :param outputs_of: the artifacts of an earlier step, by step id.
    :param waited_ms: from the moment the step was ready until now.
    :param cancel: when set, the tool's process tree is killed.
    :param grant: what this try gets; None: what the plan gave. For more than that the reservation grows first.
    :param pool_is_shared: see :func:`~tomas.runtime.escalation.hold`.
    :raises BinTooSmall: the run hit its memory limit, and that was all that its bin has.
    :raises UnboundInput: an input of the request or of an earlier step is missing.
    :raises ToolUnavailable: the tool cannot run on this machine.
    :raises ToolError: the run failed; the record says how.
    """
    record, error = attempt_step(
        store,
        plan,
        step,
        tool=tool,
        artifacts_dir=artifacts_dir,
        try_number=try_number,
        outputs_of=outputs_of,
        settings=settings,
        dag_id=dag_id,
        run_id=run_id,
        task_id=task_id,
        map_index=map_index,
        queue=queue,
        waited_ms=waited_ms,
        cancel=cancel,
        grant=grant,
        pool_is_shared=pool_is_shared,
    )
    if error is not None:
        raise error
    return record


def attempt_step(
    store: Store | None,
    plan: Plan,
    step: PlanStep,
    *,
    tool: Tool,
    artifacts_dir: Path,
    try_number: int,
    outputs_of: Callable[[str], list[Artifact]],
    settings: Settings | None = None,
    dag_id: str | None = None,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
    queue: str | None = None,
    waited_ms: float = 0.0,
    cancel: threading.Event | None = None,
    grant: Grant | None = None,
    pool_is_shared: bool = True,
) -> tuple[ExecutionRecord, TomasError | None]:
    """Like :func:`run_step`, but a failure of the step is returned next to its record."""
    settings = settings or get_settings()
    runtime = settings.runtime
    grant = grant or Grant.planned(step)
    started_at = utc_now()
    if store is not None and grant.more_than(step):
        began = time.monotonic()
        started_at = hold(
            store,
            plan,
            step,
            grant,
            pool_is_shared=pool_is_shared,
            patience_s=runtime.step_timeout_s,
            cancel=cancel,
        )
        waited_ms += (time.monotonic() - began) * 1000.0
    folder = output_dir(artifacts_dir, plan, step, try_number)
    record = ExecutionRecord(
        plan_id=plan.id,
        step_id=step.id,
        tool=step.tool,
        try_number=try_number,
        bin=step.bin,
        host=socket.gethostname(),
        dag_id=dag_id,
        run_id=run_id,
        task_id=task_id,
        map_index=map_index,
        queue=queue,
        requested=grant.need,
        input_bytes=0,
        started_at=started_at,
        waited_ms=waited_ms,
        usage=_nothing_yet(Outcome.RUNNING),
    )
    keeper = _RecordKeeper(store, record)
    error: TomasError | None = None
    done = False
    try:
        keeper.start()
        try:
            inputs = {
                port: [path for binding in bindings for path in _files(plan, step, port, binding, outputs_of)]
                for port, bindings in step.inputs.items()
            }
            keeper.update(input_bytes=sum(path.stat().st_size for paths in inputs.values() for path in paths))
            if folder.exists():  # what a try of the same number left when its machine died
                shutil.rmtree(folder)
            run = run_tool(
                tool,
                inputs,
                step.arguments,
                folder,
                grant.need,
                timeout_s=runtime.step_timeout_s,
                meter_interval_ms=runtime.meter_interval_ms,
                memory_limit=runtime.memory_limit,
                on_usage=lambda usage: keeper.update(usage=usage),
                cancel=cancel,
            )
        except TomasError as raised:
            error = grant.judged(raised, step) if isinstance(raised, ToolOutOfMemory) else raised
            usage = raised.usage if isinstance(raised, ToolError) and raised.usage is not None else None
            keeper.update(usage=usage or _nothing_yet(Outcome.FAILED, str(error)), error=str(error))
        else:
            if run.log.strip():
                _log.info("Step %s printed: %s", step.id, run.log.strip())
            size = sum(Path(artifact.uri).stat().st_size for artifact in run.outputs)
            keeper.update(usage=run.usage, outputs=run.outputs, output_bytes=size)
        done = True
    finally:
        if not done:  # interrupted, or the disk is full: run_tool has killed the tree already
            keeper.update(
                usage=keeper.record.usage.model_copy(update={"outcome": Outcome.KILLED, "evidence": "interrupted"}),
                error="The run was interrupted.",
            )
        if error is not None or not done:
            shutil.rmtree(folder, ignore_errors=True)
        keeper.finish()
    return keeper.record, error


def output_dir(artifacts_dir: Path, plan: Plan, step: PlanStep, try_number: int) -> Path:
    """Where a try of a step writes."""
    return artifacts_dir.absolute() / plan.id / step.id / str(try_number)


class _RecordKeeper:
    """Holds the record of a running step and writes it from a thread of its own.

    The thread that watches the tool must not wait for Postgres: it also guards the memory limit.
    """

    def __init__(self, store: Store | None, record: ExecutionRecord) -> None:
        self.record = record
        self._store = store
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flush, name=f"tomas-record-{record.step_id}", daemon=True)

    def start(self) -> None:
        if self._store is not None:
            self._store.save_record(self.record)
            self._thread.start()

    def update(self, **fields: object) -> None:
        with self._lock:
            self.record = self.record.model_copy(update=fields)

    def finish(self) -> None:
        """Write the final record and free the reservation; a store that is away is asked a few times."""
        self.update(ended_at=utc_now())
        if self._store is None:
            return
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for number in range(1, _SAVE_TRIES + 1):
            try:
                self._store.save_record(self.record)
                self._store.release_reservation(self.record.plan_id, self.record.step_id)
                return
            except StoreUnavailable:
                if number == _SAVE_TRIES:
                    raise
                time.sleep(float(number))

    def _flush(self) -> None:
        assert self._store is not None  # noqa: S101 - start() makes no thread without a store
        while not self._stop.wait(FLUSH_S):
            with self._lock:
                record = self.record
            with contextlib.suppress(StoreUnavailable):  # the next flush, or the end, tries again
                self._store.save_record(record)


def _files(
    plan: Plan, step: PlanStep, port: str, binding: Binding, outputs_of: Callable[[str], list[Artifact]]
) -> list[Path]:
    if isinstance(binding, RequestBinding):
        given = plan.request.inputs.get(binding.name)
        if given is None or not given.uris:
            raise UnboundInput(
                f"Step {step.id}, input {port}: the request has no input {binding.name!r}.",
                remedy=f"Give the request files for {binding.name}.",
            )
        found: list[Path] = []
        for uri in given.uris:
            files = local_files(binding.name, uri)
            if files is None:
                raise DataError(
                    f"Step {step.id}, input {port}: {uri.partition('://')[0]}:// addresses cannot be read.",
                    remedy="Copy the files to a folder that every worker can read, and name that.",
                )
            found.extend(files)
        return found
    paths = [Path(artifact.uri) for artifact in outputs_of(binding.step) if artifact.name == binding.output]
    if not paths:
        raise UnboundInput(
            f"Step {step.id}, input {port}: step {binding.step} left no output {binding.output}.",
            remedy=f"Run step {binding.step} first, to success.",
        )
    return paths


def _nothing_yet(outcome: Outcome, evidence: str = "") -> StepUsage:
    return StepUsage(
        wall_ms=0, peak_mem_gb=0, cpu_seconds=0, peak_cpu_cores=0, outcome=outcome, evidence=evidence[:2000]
    )
