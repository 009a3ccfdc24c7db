"""Run one tool in a measured, limited child process."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from tomas.errors import ToolContractError, ToolError, ToolOutOfMemory, ToolTimeout, ToolUnavailable
from tomas.schema import Artifact, CommandRunner, Outcome, Resources, StepUsage, Tool
from tomas.telemetry.process import ProcessTreeMeter, TreeReading, kill_tree
from tomas.tools.arguments import validate_arguments
from tomas.tools.availability import availability, find_command
from tomas.tools.contract import check_inputs, check_outputs
from tomas.tools.limits import RLIMIT_SLACK_BYTES, Cgroup, child_environment, claim_cores, whole_cores
from tomas.tools.naming import output_names
from tomas.tools.template import fill_words

__all__ = ["MemoryLimit", "ToolRun", "run_tool"]

MemoryLimit = Literal["auto", "rlimit", "watchdog", "none"]
_LimitUsed = Literal["cgroup", "rlimit", "watchdog", "rlimit+watchdog", "none"]

_GB = 2**30
_LOG_TAIL = 4000
_NEAR = 0.9
"""A crash at this share of the memory limit or above counts as out of memory."""


@dataclass(frozen=True)
class ToolRun:
    """A successful run: what it produced, what it used, and the end of what it printed."""

    outputs: list[Artifact]
    usage: StepUsage
    log: str = ""


@dataclass
class _Ended:
    """How the child ended, before it is judged."""

    reading: TreeReading
    wall_ms: float
    exit_code: int
    limit_used: _LimitUsed
    stopped: Literal["", "timeout", "cancelled", "watchdog"] = ""
    oom_kills: int = 0
    watchdog_gb: float = 0.0
    result: dict[str, Any] | None = None
    log: str = ""


def run_tool(
    tool: Tool,
    inputs: Mapping[str, Sequence[Path]],
    arguments: Mapping[str, Any],
    output_dir: Path,
    allocation: Resources,
    *,
    timeout_s: float,
    meter_interval_ms: int = 100,
    memory_limit: MemoryLimit = "auto",
    on_usage: Callable[[StepUsage], None] | None = None,
    cancel: threading.Event | None = None,
) -> ToolRun:
    """Run ``tool`` once, in a child process group held to ``allocation``.

    :param inputs: local files per input port.
    :param output_dir: created if missing; must be empty. What a failed run leaves there stays.
    :param allocation: cores (affinity and thread counts), memory (GB, of the whole tree), GPU share.
        Zero memory means no memory limit.
    :param memory_limit: ``auto`` takes a cgroup v2 where one can be made, else RLIMIT_DATA per process
        and a watchdog on the resident memory of the tree. ``rlimit`` and ``watchdog`` take one alone.
    :param on_usage: called about every ``meter_interval_ms`` with the usage so far; it must not block.
    :param cancel: when set, the tree is killed and :class:`ToolError` raised.
    :raises ToolUnavailable: a requirement of the tool is not met here; nothing was started.
    :raises ToolContractError: arguments, inputs or outputs break the contract.
    :raises ToolOutOfMemory: the run hit its memory limit.
    :raises ToolTimeout: it ran longer than ``timeout_s``; the tree was killed.
    :raises ToolError: it failed, was killed, or was cancelled. All but refusals before the start carry
        ``usage`` and ``log``.
    """
    state = availability(tool)
    if not state.ok:
        raise ToolUnavailable(state.reason, remedy=state.remedy)
    filled = validate_arguments(tool, arguments)
    files = check_inputs(tool, inputs)
    output_dir = output_dir.absolute()
    output_dir.mkdir(parents=True, exist_ok=True)
    if any(output_dir.iterdir()):
        raise ToolContractError(
            f"Output folder {output_dir} is not empty.", remedy="Give every try its own folder."
        )
    with tempfile.TemporaryDirectory(prefix="tomas-run-") as folder, claim_cores(whole_cores(allocation)) as cores:
        job = _Job(tool, allocation, Path(folder), memory_limit)
        spec = _spec(tool, files, filled, output_dir, allocation)
        ended = job.run(
            {**spec, "cores": cores},
            timeout_s=timeout_s,
            interval_s=meter_interval_ms / 1000.0,
            on_usage=on_usage,
            cancel=cancel,
        )
    error = _judge(tool, ended, allocation, timeout_s)
    if error is not None:
        raise error
    assert ended.result is not None  # noqa: S101 - _judge refuses a run without a result
    usage = _usage(ended, Outcome.SUCCESS)
    try:
        outputs = check_outputs(tool, ended.result["outputs"], output_dir)
    except ToolContractError as broken:
        broken.usage, broken.log = _usage(ended, Outcome.FAILED), ended.log
        raise
    return ToolRun(outputs, usage, ended.log)


def _spec(
    tool: Tool, files: Mapping[str, list[Path]], arguments: dict[str, Any], output_dir: Path, allocation: Resources
) -> dict[str, Any]:
    runner = tool.runner
    if not isinstance(runner, CommandRunner):
        assert runner is not None  # noqa: S101 - availability() refuses a tool without a runner
        return {
            "runner": "python",
            "callable": runner.callable,
            "inputs": {port: [str(path) for path in paths] for port, paths in files.items()},
            "arguments": arguments,
            "output_dir": str(output_dir),
        }
    executable = find_command(runner.argv[0])
    paths = files.get(tool.inputs[0].name, [])
    targets = [str(output_dir / name) for name in output_names(paths, runner.output_suffix)]
    commands = [
        [
            str(executable),
            *fill_words(
                runner.argv[1:],
                arguments=arguments,
                cores=whole_cores(allocation),
                input_path=str(path),
                output_path=target,
            ),
        ]
        for path, target in zip(paths, targets, strict=True)
    ]
    port = tool.outputs[0]
    return {
        "runner": "command",
        "commands": commands,
        "outputs": targets,
        "output_name": port.name,
        "output_type": port.type,
    }


@dataclass
class _Job:
    tool: Tool
    allocation: Resources
    work_dir: Path
    memory_limit: MemoryLimit
    limit_used: _LimitUsed = "none"
    group: Cgroup | None = field(default=None, init=False)

    def run(
        self,
        spec: dict[str, Any],
        *,
        timeout_s: float,
        interval_s: float,
        on_usage: Callable[[StepUsage], None] | None,
        cancel: threading.Event | None,
    ) -> _Ended:
        limit = self.allocation.cpu_mem_gb * _GB
        if limit > 0 and self.memory_limit == "auto":
            self.group = Cgroup.create(self.allocation)
        rlimit = limit > 0 and self.memory_limit in ("auto", "rlimit")
        spec.update(result=str(self.work_dir / "result.json"), sys_path=[entry for entry in sys.path if entry])
        log_path = self.work_dir / "log"
        began = time.monotonic()
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tomas.tools.child"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.work_dir,
                env=child_environment(os.environ, self.allocation, self.work_dir),
                start_new_session=True,
            )
        meter = ProcessTreeMeter(process.pid, gpu=self.allocation.gpu_sm > 0 or self.allocation.gpu_mem_gb > 0)
        try:
            if self.group is not None and not self.group.add(process.pid):
                self.group.remove()
                self.group = None
            watchdog = limit > 0 and self.group is None and self.memory_limit in ("auto", "watchdog")
            rlimit = rlimit and self.group is None
            spec["rlimit_bytes"] = int(limit) + RLIMIT_SLACK_BYTES if rlimit else 0
            self.limit_used = _limit_name(self.group is not None, rlimit, watchdog)
            assert process.stdin is not None  # noqa: S101 - stdin=PIPE
            _send(process.stdin, spec)
            ended = self._watch(process, meter, began, timeout_s, interval_s, watchdog, on_usage, cancel)
        finally:
            # Also after KeyboardInterrupt: nothing of the tree outlives this call.
            kill_tree(process.pid, meter.known_pids())
            process.wait()
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            if self.group is not None:
                meter.add_peak_bytes(self.group.peak_bytes())
                oom_kills = self.group.oom_kills()
                self.group.remove()
            else:
                oom_kills = 0
        ended.exit_code = process.returncode
        ended.oom_kills = oom_kills
        ended.result = _read_result(self.work_dir / "result.json")
        if ended.result is not None:
            meter.add_peak_bytes(int(ended.result.get("peak_bytes", 0)))
        ended.reading = meter.finish()
        ended.log = _tail(log_path)
        return ended

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        meter: ProcessTreeMeter,
        began: float,
        timeout_s: float,
        interval_s: float,
        watchdog: bool,
        on_usage: Callable[[StepUsage], None] | None,
        cancel: threading.Event | None,
    ) -> _Ended:
        limit_gb = self.allocation.cpu_mem_gb
        ended = _Ended(meter.sample(), 0.0, 0, self.limit_used)
        with _ExitWaiter(process.pid) as waiter:
            while not waiter.wait(interval_s):
                ended.reading = meter.sample()
                elapsed = time.monotonic() - began
                if watchdog and ended.reading.mem_gb > limit_gb:
                    ended.stopped, ended.watchdog_gb = "watchdog", ended.reading.mem_gb
                elif elapsed > timeout_s:
                    ended.stopped = "timeout"
                elif cancel is not None and cancel.is_set():
                    ended.stopped = "cancelled"
                if ended.stopped:
                    kill_tree(process.pid, meter.known_pids())
                    waiter.wait(5.0)
                    break
                if on_usage is not None:
                    ended.wall_ms = elapsed * 1000.0
                    on_usage(_usage(ended, Outcome.RUNNING))
        meter.sample()  # the child is a zombie now: its CPU times are final and still readable
        ended.wall_ms = (time.monotonic() - began) * 1000.0
        return ended


class _ExitWaiter:
    """Waits for a child to end without reaping it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = -1

    def __enter__(self) -> _ExitWaiter:
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self._handle = os.pidfd_open(self.pid)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def wait(self, seconds: float) -> bool:
        """True when the child ended within ``seconds``."""
        if self._handle >= 0:
            poller = select.poll()
            poller.register(self._handle, select.POLLIN)
            return bool(poller.poll(seconds * 1000.0))
        deadline = time.monotonic() + seconds
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True


def _judge(tool: Tool, ended: _Ended, allocation: Resources, timeout_s: float) -> ToolError | None:
    """None for a run that ended well, else the error that says what happened."""
    limit = allocation.cpu_mem_gb
    peak = ended.reading.peak_mem_gb
    failure = (ended.result or {}).get("error")
    kind: type[ToolError] = ToolError
    outcome = Outcome.FAILED
    evidence = ""
    name = f"Tool {tool.name}"
    if ended.stopped == "timeout":
        kind, outcome = ToolTimeout, Outcome.TIMEOUT
        evidence = f"still running after {timeout_s:g} s; killed with its process tree"
        what, remedy = f"{name} ran longer than {timeout_s:g} s.", "Raise the timeout, or give it less input."
    elif ended.stopped == "cancelled":
        outcome, evidence = Outcome.KILLED, "cancelled; killed with its process tree"
        what, remedy = f"{name} was cancelled.", "Run it again if that was not meant."
    elif memory := _memory_evidence(ended, failure, limit, peak):
        kind, outcome, evidence = ToolOutOfMemory, Outcome.OUT_OF_MEMORY, memory
        what = f"{name} hit its memory limit of {limit:.2f} GB: {memory}."
        remedy = "Give it more memory, as the next try of a planned step gets, or smaller inputs."
    elif ended.exit_code < 0:
        outcome = Outcome.KILLED
        evidence = f"killed by {_signal_name(-ended.exit_code)} at a peak of {peak:.2f} GB"
        what, remedy = f"{name} was {evidence}.", "Find out who sent the signal; the log may tell."
    elif failure is not None:
        what = f"{name} failed: {failure['type']}: {failure['message']}."
        remedy = "See the end of its log."
    elif ended.exit_code != 0 or ended.result is None:
        what = f"{name} exited with {ended.exit_code} and left no result."
        remedy = "See the end of its log."
    else:
        return None
    if ended.log and outcome is Outcome.FAILED:
        remedy += " Log: " + " | ".join(ended.log.strip().splitlines()[-3:])
    error = kind(what, remedy=remedy)
    error.usage, error.log = _usage(ended, outcome, evidence), ended.log
    return error


def _memory_evidence(ended: _Ended, failure: dict[str, Any] | None, limit: float, peak: float) -> str:
    if ended.stopped == "watchdog":
        return f"the watchdog read {ended.watchdog_gb:.2f} GB resident in the process tree"
    if ended.oom_kills:
        return f"the kernel killed {ended.oom_kills} process(es) of its cgroup"
    if failure is not None and failure["memory"]:
        return f"{failure['type']} at a peak of {peak:.2f} GB"
    if limit > 0 and peak >= _NEAR * limit and -ended.exit_code in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV):
        return f"{_signal_name(-ended.exit_code)} at a peak of {peak:.2f} GB"
    return ""


def _usage(ended: _Ended, outcome: Outcome, evidence: str = "") -> StepUsage:
    reading = ended.reading
    return StepUsage(
        wall_ms=ended.wall_ms,
        peak_mem_gb=reading.peak_mem_gb,
        cpu_seconds=reading.cpu_seconds,
        peak_cpu_cores=reading.peak_cpu_cores,
        gpu_peak_mem_gb=reading.gpu_peak_mem_gb,
        gpu_sm_mean=reading.gpu_sm_mean,
        exit_code=None if outcome is Outcome.RUNNING else ended.exit_code,
        outcome=outcome,
        evidence=evidence,
        memory_limit=ended.limit_used,
    )


def _limit_name(cgroup: bool, rlimit: bool, watchdog: bool) -> _LimitUsed:
    if cgroup:
        return "cgroup"
    if rlimit and watchdog:
        return "rlimit+watchdog"
    if rlimit:
        return "rlimit"
    return "watchdog" if watchdog else "none"


def _send(stdin: IO[bytes], spec: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # a child that died at once is judged by its exit code
        stdin.write(json.dumps(spec).encode() + b"\n")
        stdin.flush()


def _read_result(path: Path) -> dict[str, Any] | None:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - _LOG_TAIL))
            return handle.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
