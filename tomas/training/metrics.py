"""How well a sizer foretold runs: wasted memory, broken limits, quantile loss of latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from tomas.schema import ExecutionRecord, Outcome, Tool
from tomas.sizing import QuantileSizer

__all__ = ["pinball", "score"]


def pinball(actual: float, predicted: float, quantile: float) -> float:
    """The quantile loss (Koenker and Bassett 1978): its mean is least where ``predicted`` is the quantile."""
    error = actual - predicted
    return max(quantile * error, (quantile - 1.0) * error)


def score(sizer: QuantileSizer, records: Sequence[ExecutionRecord], tools: Mapping[str, Tool]) -> dict[str, float]:
    """Compare predictions with successful runs; empty where there are none.

    ``memory_waste``: mean of (allotted - peak) / allotted, over runs that fit. ``memory_short``: share of runs
    whose peak is above what would be allotted. ``latency_pinball_ms``: mean quantile loss of the p50 and p90.
    """
    waste: list[float] = []
    short: list[float] = []
    losses: list[float] = []
    for record in records:
        tool = tools.get(record.tool)
        if tool is None or record.usage.outcome is not Outcome.SUCCESS:
            continue
        allotted = sizer.peak_gb(tool, record.input_bytes)
        broken = record.usage.peak_mem_gb > allotted
        short.append(float(broken))
        if not broken:
            waste.append((allotted - record.usage.peak_mem_gb) / allotted)
        p50, p90 = sizer.latency_ms(tool, record.input_bytes, max(record.requested.cpu_cores, 0.1))
        wall = record.usage.wall_ms
        losses.append((pinball(wall, p50, 0.5) + pinball(wall, p90, 0.9)) / 2.0)
    if not short:
        return {}
    result = {"memory_short": fmean(short), "latency_pinball_ms": fmean(losses)}
    if waste:
        result["memory_waste"] = fmean(waste)
    return result
