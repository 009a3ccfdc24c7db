"""The child process that runs one tool: ``python -m tomas.tools.child``.

It reads one line of JSON from standard input, limits itself, runs the tool, and writes its result to the
file named there. Standard input stays open: when the supervisor dies, the pipe closes, and the kernel
kills this whole process group. Imports are few: all that is loaded here counts as the tool's memory.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

_F_SETSIG = 10
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_MEMORY_TEXTS = ("cannot allocate memory", "bad_alloc", "out of memory", "insufficient memory")


def main() -> int:
    """Run the tool that standard input describes; the exit code is 0 only if its result was written."""
    spec = json.loads(sys.stdin.buffer.readline())
    _die_with_supervisor()
    _limit(spec)
    for entry in spec["sys_path"]:
        if entry not in sys.path:
            sys.path.append(entry)
    result: dict[str, Any] = {"outputs": [], "error": None}
    try:
        run = _run_command if spec["runner"] == "command" else _run_callable
        result["outputs"] = run(spec)
    except BaseException as error:  # noqa: BLE001 - whatever the tool raises is reported, then we exit
        traceback.print_exc()
        result["error"] = {
            "type": type(error).__name__,
            "message": str(error)[:2000],
            "memory": _is_memory(error),
        }
    result["peak_bytes"] = _peak_bytes()
    target = Path(spec["result"])
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(result), encoding="utf-8")
    partial.replace(target)
    return 0 if result["error"] is None else 1


def _run_callable(spec: dict[str, Any]) -> list[dict[str, str]]:
    module, _, name = spec["callable"].partition(":")
    function = getattr(importlib.import_module(module), name)
    inputs = {port: [Path(item) for item in paths] for port, paths in spec["inputs"].items()}
    outputs = function(inputs, spec["arguments"], Path(spec["output_dir"]))
    return [{"name": str(o["name"]), "type": str(o["type"]), "uri": str(o["uri"])} for o in outputs]


def _run_command(spec: dict[str, Any]) -> list[dict[str, str]]:
    outputs: list[dict[str, str]] = []
    for words, path in zip(spec["commands"], spec["outputs"], strict=True):
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = code = os.waitstatus_to_exitcode(status)
        # ru_maxrss of wait4 is of this one command; kilobytes on Linux, bytes on macOS.
        _note_peak(_status_bytes("VmRSS") + used.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
        if code != 0:
            how = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
            raise CommandFailed(f"{Path(words[0]).name} {how} on {Path(path).name}", code)
        outputs.append({"name": spec["output_name"], "type": spec["output_type"], "uri": path})
    return outputs


class CommandFailed(Exception):
    """A command did not exit with 0."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


_command_peak = 0


def _note_peak(peak: int) -> None:
    global _command_peak
    _command_peak = max(_command_peak, peak)


def _peak_bytes() -> int:
    return max(_status_bytes("VmHWM"), _command_peak)


def _status_bytes(name: str) -> int:
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _is_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(part in text for part in _MEMORY_TEXTS)


def _limit(spec: dict[str, Any]) -> None:
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if spec["rlimit_bytes"]:
        resource.setrlimit(resource.RLIMIT_DATA, (spec["rlimit_bytes"], spec["rlimit_bytes"]))
    if spec["cores"] is not None:
        os.sched_setaffinity(0, spec["cores"])
    # Orphaned grandchildren come to this process, so that they stay in the measured tree.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _die_with_supervisor() -> None:
    if sys.platform.startswith("linux"):
        import fcntl

        # A hang-up of the pipe signals the whole group, in the kernel: no thread of ours has to run.
        fcntl.fcntl(0, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(0, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_kill_group_at_hangup, daemon=True).start()


def _kill_group_at_hangup() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
