"""GPU memory and SM share of a set of processes, through NVML where it answers."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Collection
from typing import Any

__all__ = ["GpuMeter"]

_GB = 2**30


class GpuMeter:
    """Accumulates the peak of GPU memory (GB) and the mean SM share (percent of one GPU) over samples."""

    def __init__(self) -> None:
        self.peak_mem_gb = 0.0
        self._sm_total = 0.0
        self._samples = 0
        self._since: dict[int, int] = {}
        self._nvml: Any = None
        self._devices: list[Any] = []
        with contextlib.suppress(ImportError):
            self._nvml = importlib.import_module("pynvml")
        if self._nvml is not None:
            try:
                self._nvml.nvmlInit()
                count = self._nvml.nvmlDeviceGetCount()
                self._devices = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            except self._nvml.NVMLError:  # no driver, or no device: nothing to measure
                self._devices = []

    @property
    def sm_mean(self) -> float:
        """Mean over the samples of the SM share that the processes used, summed over GPUs, in percent."""
        return self._sm_total / self._samples if self._samples else 0.0

    def sample(self, pids: Collection[int]) -> None:
        """Add one reading for the processes ``pids``."""
        if not self._devices:
            return
        memory = 0
        share = 0.0
        for index, device in enumerate(self._devices):
            memory += self._memory(device, pids)
            share += self._share(index, device, pids)
        self.peak_mem_gb = max(self.peak_mem_gb, memory / _GB)
        self._sm_total += share
        self._samples += 1

    def _memory(self, device: Any, pids: Collection[int]) -> int:
        try:
            running = self._nvml.nvmlDeviceGetComputeRunningProcesses(device)
        except self._nvml.NVMLError:
            return 0
        return sum(int(item.usedGpuMemory or 0) for item in running if item.pid in pids)

    def _share(self, index: int, device: Any, pids: Collection[int]) -> float:
        try:
            readings = self._nvml.nvmlDeviceGetProcessUtilization(device, self._since.get(index, 0))
        except self._nvml.NVMLError:  # "not found" means that no process used the GPU since the last reading
            return 0.0
        latest: dict[int, tuple[int, int]] = {}
        for item in readings:
            self._since[index] = max(self._since.get(index, 0), int(item.timeStamp))
            if item.pid in pids:
                latest[item.pid] = max(latest.get(item.pid, (0, 0)), (int(item.timeStamp), int(item.smUtil)))
        return float(sum(value for _, value in latest.values()))
