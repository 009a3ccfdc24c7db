"""Child processes that are surely ended: own sessions, recorded ids, and a marker in their environment."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tomas.errors import TomasError

__all__ = ["MARKER", "Service", "ServiceDied", "Supervisor", "tail"]

MARKER = "TOMAS_STACK_ID"
"""Environment variable that every process of a stack carries, grandchildren included."""


class ServiceDied(TomasError):
    """A process of the stack ended by itself."""


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log; empty if there is none."""
    try:
        with path.open("rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - 64_000))
            text = handle.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


@dataclass
class Service:
    """One running child process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    started: float

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self.process.poll()


class Supervisor:
    """Starts children and ends them with all their descendants.

    :param run_dir: one file per child with its process id and start time, read again after a crash.
    :param logs_dir: ``NAME.log`` per child; the log of the run before is kept as ``NAME.previous.log``.
    :param stack_id: value of :data:`MARKER` by which strays of this stack are found.
    """

    def __init__(self, run_dir: Path, logs_dir: Path, stack_id: str) -> None:
        self._run_dir = run_dir
        self._logs_dir = logs_dir
        self._stack_id = stack_id
        self.services: dict[str, Service] = {}

    def log_path(self, name: str) -> Path:
        """Where the output of child ``name`` goes."""
        return self._logs_dir / f"{name}.log"

    def spawn(self, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> Service:
        """Start a child in a session of its own; a terminal's Ctrl-C does not reach it."""
        log = self.log_path(name)
        if log.exists():
            log.replace(log.with_name(f"{name}.previous.log"))
        with log.open("wb") as handle:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                env={**environment, MARKER: self._stack_id},
                cwd=self._run_dir,
                start_new_session=True,
            )
        service = Service(name=name, process=process, log=log, started=time.time())
        self.services[name] = service
        with contextlib.suppress(psutil.Error):
            record = {"pid": process.pid, "create_time": psutil.Process(process.pid).create_time()}
            (self._run_dir / f"{name}.json").write_text(json.dumps(record))
        return service

    def check(self) -> None:
        """:class:`ServiceDied` if a child ended by itself, with its last log lines and their place."""
        for service in self.services.values():
            if service.returncode is not None:
                raise died(service)

    def forget(self, name: str) -> None:
        """Take a child that has ended off the list (a command that ran once)."""
        self.services.pop(name, None)
        (self._run_dir / f"{name}.json").unlink(missing_ok=True)

    def stop_one(self, name: str, *, grace_s: float = 8.0) -> None:
        """End one child and its descendants."""
        service = self.services.get(name)
        if service is None:
            return
        tree = _tree([service.process.pid])
        _terminate([service], grace_s)
        _end(tree, 0.5)
        self.forget(name)

    def stop(self, *, grace_s: float = 8.0, hurry: Callable[[], bool] = lambda: False) -> int:
        """End all children, politely at first, and then whatever carries the marker.

        :param hurry: asked while waiting; True ends the polite part.
        :return: how many processes had to be ended beyond the children that went by themselves.
        """
        family = self._family()
        _terminate(list(self.services.values()), grace_s, hurry)
        left = {process.pid: process for process in (*family, *self._family()) if _alive(process)}
        _end(list(left.values()), 1.0)
        # A process forked between the two looks is found by the marker again.
        for _ in range(5):
            strays = [process for process in self._family() if _alive(process)]
            if not strays:
                break
            _end(strays, 0.0)
            left.update({process.pid: process for process in strays})
        for service in self.services.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                service.process.wait(1)
        self.services.clear()
        for record in self._run_dir.glob("*.json"):
            record.unlink(missing_ok=True)
        return len(left)

    def recover(self) -> int:
        """End what a killed former run left behind; returns how many processes that were."""
        return self.stop(grace_s=0.0)

    def _family(self) -> list[psutil.Process]:
        """Live processes of this stack: recorded ones, their descendants and sessions, and marked ones."""
        roots = {service.process.pid for service in self.services.values()} | self._recorded()
        found = {process.pid: process for process in _tree(sorted(roots))}
        kept = {os.getpid(), os.getppid()}
        for process in psutil.process_iter():
            if process.pid in found or process.pid in kept:
                continue
            with contextlib.suppress(psutil.Error, OSError):
                if os.getsid(process.pid) in roots or process.environ().get(MARKER) == self._stack_id:
                    found[process.pid] = process
        return [process for pid, process in found.items() if pid not in kept]

    def _recorded(self) -> set[int]:
        """Process ids of the files in the run folder that still mean the same process."""
        pids = set()
        for path in self._run_dir.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, psutil.Error):
                record = json.loads(path.read_text())
                if abs(psutil.Process(record["pid"]).create_time() - record["create_time"]) < 1.0:
                    pids.add(int(record["pid"]))
        return pids


def died(service: Service) -> ServiceDied:
    """The error that tells how a child ended and what it said last."""
    return ServiceDied(
        f"{service.name} ended with code {service.returncode}. Its last messages:\n{tail(service.log)}\n",
        remedy=f"Read {service.log}.",
    )


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _tree(pids: Sequence[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(pid)
            found += [root, *root.children(recursive=True)]
    return found


def _terminate(services: Sequence[Service], grace_s: float, hurry: Callable[[], bool] = lambda: False) -> None:
    """SIGTERM to the children alone, so that each can end its own workers in order."""
    for service in services:
        if service.returncode is None:
            service.process.terminate()
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and not hurry() and any(one.returncode is None for one in services):
        time.sleep(0.05)


def _end(processes: Sequence[psutil.Process], grace_s: float) -> None:
    """SIGTERM, then SIGKILL; returns when none is left."""
    if grace_s > 0:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _wait_gone(processes, grace_s)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if _alive(process):
                process.kill()
    _wait_gone(processes, 5.0)


def _wait_gone(processes: Sequence[psutil.Process], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(_alive(process) for process in processes):
        time.sleep(0.05)
