"""Measuring a process tree: memory peaks, CPU seconds, GPU memory and SM share.

Memory is read as resident size per process, summed over the tree at each sample, and as the high-water
mark (``VmHWM``) that the kernel keeps per process, so a peak between two samples is not lost.
CPU seconds are the sum over live processes of their own time and the time of the children they waited
for: a grandchild that came and went counts. ``getrusage(RUSAGE_CHILDREN)`` is not used: its peak is that
of any child this process ever had.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tomas.telemetry.process_gpu import GpuMeter

__all__ = ["ProcessTreeMeter", "TreeReading", "kill_tree"]

_GB = 2**30
_LINUX = sys.platform.startswith("linux")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_RATE_WINDOW_S = 0.4
"""Shortest window of a core rate: CPU time advances in ticks of 10 ms."""


@dataclass(frozen=True)
class TreeReading:
    """The tree at one instant, and the peaks until then. Memory in GB, CPU in seconds."""

    mem_gb: float
    peak_mem_gb: float
    cpu_seconds: float
    peak_cpu_cores: float
    gpu_peak_mem_gb: float
    gpu_sm_mean: float
    processes: int


@dataclass(frozen=True)
class _Process:
    started: float
    rss: int
    hwm: int
    own: float
    waited: float


class ProcessTreeMeter:
    """Samples the tree below one process. Not thread-safe; the owner calls :meth:`sample`."""

    def __init__(self, pid: int, *, gpu: bool = False) -> None:
        """:param gpu: also read GPU memory and SM share of the tree, where NVML answers."""
        self.pid = pid
        self._seen: dict[tuple[int, float], float] = {}
        self._peak_bytes = 0
        self._cpu = 0.0
        self._peak_rate = 0.0
        self._mark = (time.monotonic(), 0.0)
        self._began = self._mark[0]
        self._gpu = GpuMeter() if gpu else None

    def sample(self) -> TreeReading:
        """Read the tree once; a tree that has gone keeps its last figures."""
        now = time.monotonic()
        alive = self.processes()
        rss = sum(item.rss for item in alive.values())
        self.add_peak_bytes(max([rss, *(item.hwm for item in alive.values())]))
        for pid, item in alive.items():
            self._seen[pid, item.started] = item.own
        # Waited-for time is complete only when every parent waits; last-seen own time covers the rest.
        self.add_cpu_seconds(sum(item.own + item.waited for item in alive.values()))
        self.add_cpu_seconds(sum(self._seen.values()))
        if now - self._mark[0] >= _RATE_WINDOW_S:
            self._peak_rate = max(self._peak_rate, (self._cpu - self._mark[1]) / (now - self._mark[0]))
            self._mark = (now, self._cpu)
        if self._gpu is not None:
            self._gpu.sample(alive.keys())
        return self._reading(rss, len(alive))

    def finish(self) -> TreeReading:
        """The last reading, after the tree ended; adds no sample."""
        elapsed = max(time.monotonic() - self._began, 1e-3)
        self._peak_rate = max(self._peak_rate, self._cpu / max(elapsed, _RATE_WINDOW_S))
        return self._reading(0, 0)

    def add_peak_bytes(self, peak: int) -> None:
        """Take a peak known from elsewhere (the process's own report, a cgroup's ``memory.peak``)."""
        self._peak_bytes = max(self._peak_bytes, peak)

    def add_cpu_seconds(self, seconds: float) -> None:
        """Take a total known from elsewhere; the larger one stands."""
        self._cpu = max(self._cpu, seconds)

    def known_pids(self) -> dict[int, float]:
        """Every process seen so far: pid to start time (so that a reused pid is not mistaken for it)."""
        return dict(self._seen.keys())

    def processes(self) -> dict[int, _Process]:
        """The tree now, by pid."""
        if not _LINUX:
            return _read_with_psutil(self.pid)
        found: dict[int, _Process] = {}
        pending = [self.pid]
        while pending:
            pid = pending.pop()
            item = _read_proc(pid)
            if item is None or pid in found:
                continue
            found[pid] = item
            pending.extend(_children(pid))
        return found

    def _reading(self, rss: int, count: int) -> TreeReading:
        return TreeReading(
            mem_gb=rss / _GB,
            peak_mem_gb=self._peak_bytes / _GB,
            cpu_seconds=self._cpu,
            peak_cpu_cores=self._peak_rate,
            gpu_peak_mem_gb=self._gpu.peak_mem_gb if self._gpu else 0.0,
            gpu_sm_mean=self._gpu.sm_mean if self._gpu else 0.0,
            processes=count,
        )


def kill_tree(pid: int, known: dict[int, float] | None = None, *, rounds: int = 20) -> None:
    """SIGKILL the process, its descendants, its session, and ``known`` processes that still live.

    Repeats until nothing is left, since a process may fork while it is being killed. The caller
    reaps the process itself.
    """
    for _ in range(rounds):
        victims = _victims(pid, known or {})
        if not victims:
            return
        for victim in victims:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(victim, signal.SIGKILL)
        time.sleep(0.01)


def _victims(pid: int, known: dict[int, float]) -> list[int]:
    found: set[int] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            number = process.pid
            if number == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            same = number in known and abs(process.create_time() - _boot_time() - known[number]) < 1.0
            if number == pid or same or (pid > 0 and os.getsid(number) == pid):
                found.add(number)
                found.update(child.pid for child in process.children(recursive=True))
    found.discard(os.getpid())
    return sorted(found)


def _boot_time() -> float:
    return psutil.boot_time() if _LINUX else 0.0


def _read_proc(pid: int) -> _Process | None:
    """One process from ``/proc``; a zombie keeps its times and has no memory. None where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = stat[stat.rindex(")") + 2 :].split()
        hwm = 0
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                hwm = int(line.split()[1]) * 1024
                break
    except (OSError, ValueError):
        return None
    return _Process(
        started=int(fields[19]) / _TICKS,
        rss=int(fields[21]) * _PAGE,
        hwm=hwm,
        own=(int(fields[11]) + int(fields[12])) / _TICKS,
        waited=(int(fields[13]) + int(fields[14])) / _TICKS,
    )


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.extend(int(child) for child in (task / "children").read_text(encoding="ascii").split())
    except FileNotFoundError:
        if Path(f"/proc/{pid}").exists():  # a kernel without CONFIG_PROC_CHILDREN, or a thread that just ended
            with contextlib.suppress(psutil.Error):
                return [child.pid for child in psutil.Process(pid).children()]
    except OSError:
        pass
    return found


def _read_with_psutil(pid: int) -> dict[int, _Process]:
    found: dict[int, _Process] = {}
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return found
    for process in tree:
        with contextlib.suppress(psutil.Error, OSError), process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            found[process.pid] = _Process(
                started=process.create_time(),
                rss=memory.rss,
                hwm=memory.rss,
                own=times.user + times.system,
                waited=getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0),
            )
    return found
