"""What this machine, or the container this process lives in, has and uses: cores, memory, GPUs.

A container sees the numbers of the whole machine in ``/proc``; its limits stand in its cgroup. Both versions of
cgroups are read, and every group from the process's own up to the root counts: the tightest limit holds.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tomas.schema import Resources

__all__ = ["HostMeter", "host_capacity", "host_usage"]

_GB = 2**30
_CGROUP_ROOT = Path("/sys/fs/cgroup")
_PROC_CGROUP = Path("/proc/self/cgroup")


class HostMeter:
    """Reads capacity and use; keeps the last CPU reading, so that a use is the mean since then.

    :param cgroup_root: where cgroups are mounted.
    :param proc_cgroup: the file that names the cgroups of this process.
    """

    def __init__(self, cgroup_root: Path = _CGROUP_ROOT, proc_cgroup: Path = _PROC_CGROUP) -> None:
        self._cgroups = _Cgroups(cgroup_root, proc_cgroup)
        self._last: tuple[float, float] | None = None

    def capacity(self, gpu_index: int | None = None) -> Resources:
        """Cores and GB that this process may use, and GPUs.

        :param gpu_index: count this GPU alone; None counts all (``gpu_sm`` 100 for each).
        """
        cores = float(len(_cpus()))
        quota = self._cgroups.cpu_quota()
        limit = self._cgroups.memory_limit()
        total = psutil.virtual_memory().total
        gpu_sm, gpu_mem_gb = _gpus(gpu_index, used=False)
        return Resources(
            cpu_cores=min(cores, quota[0]) if quota else cores,
            cpu_mem_gb=(min(total, limit[0]) if limit else total) / _GB,
            gpu_sm=gpu_sm,
            gpu_mem_gb=gpu_mem_gb,
        )

    def usage(self, gpu_index: int | None = None) -> Resources:
        """What is in use by everybody: of the container where it has a limit, else of the machine.

        CPU is the mean since the last call; the first call waits 0.2 s. Memory leaves out file cache that the
        kernel can drop.
        """
        if self._last is None:
            self._last = (time.monotonic(), self._cpu_seconds())
            time.sleep(0.2)
        before, busy_before = self._last
        now, busy = time.monotonic(), self._cpu_seconds()
        self._last = (now, busy)
        cores = max(0.0, busy - busy_before) / max(now - before, 1e-3)
        gpu_sm, gpu_mem_gb = _gpus(gpu_index, used=True)
        return Resources(
            cpu_cores=min(cores, self.capacity().cpu_cores),
            cpu_mem_gb=self._memory_bytes() / _GB,
            gpu_sm=gpu_sm,
            gpu_mem_gb=gpu_mem_gb,
        )

    def gpu_usage(self, gpu_index: int) -> Resources:
        """What is in use of one GPU; its CPU and memory fields are 0."""
        gpu_sm, gpu_mem_gb = _gpus(gpu_index, used=True)
        return Resources(gpu_sm=gpu_sm, gpu_mem_gb=gpu_mem_gb)

    def _cpu_seconds(self) -> float:
        quota = self._cgroups.cpu_quota()
        if quota and quota[0] < len(_cpus()):
            used = self._cgroups.cpu_seconds(quota[1])
            if used is not None:
                return used
        times = psutil.cpu_times(percpu=True)
        # Guest time is part of user time already; idle and waiting for disks is not use.
        return sum(
            t.user + t.nice + t.system + getattr(t, "irq", 0.0) + getattr(t, "softirq", 0.0)
            for index, t in enumerate(times)
            if index in _cpus() or len(times) <= len(_cpus())
        )

    def _memory_bytes(self) -> float:
        memory = psutil.virtual_memory()
        limit = self._cgroups.memory_limit()
        if limit and limit[0] < memory.total:
            used = self._cgroups.memory_bytes(limit[1])
            if used is not None:
                return used
        return float(memory.total - memory.available)


def host_capacity(gpu_index: int | None = None) -> Resources:
    """What this host (or container) has; see :meth:`HostMeter.capacity`."""
    return HostMeter().capacity(gpu_index)


def host_usage(gpu_index: int | None = None) -> Resources:
    """What is in use now, CPU over 0.2 s; see :meth:`HostMeter.usage`."""
    return HostMeter().usage(gpu_index)


class _Cgroups:
    """Limits and use of the cgroups that this process is in."""

    def __init__(self, root: Path, proc_cgroup: Path) -> None:
        self._root = root
        self._paths: dict[str, str] = {}
        with contextlib.suppress(OSError):
            for line in proc_cgroup.read_text().splitlines():
                number, controllers, path = line.split(":", 2)
                for controller in controllers.split(",") if number != "0" else [""]:
                    self._paths[controller] = path

    def cpu_quota(self) -> tuple[float, Path] | None:
        """The tightest CPU quota in cores, and its group."""
        found: list[tuple[float, Path]] = []
        for group in self._groups(""):
            words = _words(group / "cpu.max")
            if len(words) == 2 and words[0] != "max":
                found.append((float(words[0]) / float(words[1]), group))
        for group in self._groups("cpu"):
            quota, period = _words(group / "cpu.cfs_quota_us"), _words(group / "cpu.cfs_period_us")
            if quota and period and float(quota[0]) > 0:
                found.append((float(quota[0]) / float(period[0]), group))
        return min(found, default=None)

    def memory_limit(self) -> tuple[float, Path] | None:
        """The tightest memory limit in bytes, and its group."""
        found: list[tuple[float, Path]] = []
        for controller, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
            for group in self._groups(controller):
                words = _words(group / name)
                if words and words[0] != "max":
                    found.append((float(words[0]), group))
        return min(found, default=None)

    def cpu_seconds(self, group: Path) -> float | None:
        """CPU time that a group has used so far."""
        version_2 = _table(group / "cpu.stat").get("usage_usec")
        if version_2 is not None:
            return version_2 / 1e6
        for candidate in (group, *self._groups("cpuacct")):
            words = _words(candidate / "cpuacct.usage")
            if words:
                return float(words[0]) / 1e9
        return None

    def memory_bytes(self, group: Path) -> float | None:
        """Memory of a group without the file cache that can be dropped at once."""
        words = _words(group / "memory.current") or _words(group / "memory.usage_in_bytes")
        if not words:
            return None
        stat = _table(group / "memory.stat")
        return max(0.0, float(words[0]) - stat.get("total_inactive_file", stat.get("inactive_file", 0.0)))

    def _groups(self, controller: str) -> Iterator[Path]:
        """The process's group of a controller ("" for version 2), then its parents up to the mount."""
        path = self._paths.get(controller)
        if path is None:
            return
        mounts = ["", "unified"] if not controller else [controller, "cpu,cpuacct", "cpuacct,cpu"]
        for mount in mounts:
            base = self._root / mount
            if not base.is_dir():
                continue
            group = base / path.strip("/")
            # Inside a container the path may be that of the machine, which is not mounted here.
            if not group.is_dir():
                group = base
            while True:
                yield group
                if group == base or base not in group.parents:
                    break
                group = group.parent
            return


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _table(path: Path) -> dict[str, float]:
    words = _words(path)
    return {name: float(value) for name, value in zip(words[::2], words[1::2], strict=False)}


def _cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _gpus(index: int | None, *, used: bool) -> tuple[float, float]:
    """(percent of SMs, GB) that GPUs have or use; zeros without driver or library."""
    try:
        import pynvml
    except ImportError:
        return 0.0, 0.0
    nvml: Any = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return 0.0, 0.0
    sm, mem_gb = 0.0, 0.0
    try:
        for number in range(nvml.nvmlDeviceGetCount()) if index is None else [index]:
            handle = nvml.nvmlDeviceGetHandleByIndex(number)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            mem_gb += (memory.used if used else memory.total) / _GB
            sm += float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) if used else 100.0
    except nvml.NVMLError:
        # A GPU that went away, or a partition that hides its load, counts as far as it was read.
        return sm, mem_gb
    finally:
        nvml.nvmlShutdown()
    return sm, mem_gb
