"""The explanation of a plan in the language of its task: sentences of ours, filled with its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from tomas.schema import PlannerInfo, PlanStep, SchedulingInfo
from tomas.sizing import Mode

__all__ = ["explain"]

_MAX_STEPS = 12
"""Steps described one by one; longer plans are summed up."""


def explain(
    language: Literal["en", "zh"],
    planner: PlannerInfo,
    steps: Sequence[PlanStep],
    modes: Mapping[str, Mode],
    makespan_ms: float,
    wait_ms: float,
    hand_over_ms: float,
    scheduling: SchedulingInfo,
) -> str:
    """Say which tools run where, when and why with that much.

    :param modes: the sizer's mode of each step, by step id.
    :param wait_ms: from the request until the first step can be queued.
    :param hand_over_ms: what Airflow takes between two steps.
    :param scheduling: how good the schedule is known to be.
    """
    write = _chinese if language == "zh" else _english
    return write(planner, steps, modes, makespan_ms, wait_ms, hand_over_ms, scheduling)


def _english(
    planner: PlannerInfo,
    steps: Sequence[PlanStep],
    modes: Mapping[str, Mode],
    makespan_ms: float,
    wait_ms: float,
    hand_over_ms: float,
    scheduling: SchedulingInfo,
) -> str:
    bins = sorted({step.bin for step in steps})
    head = (
        f"{_count(len(steps), 'step')} on {_count(len(bins), 'worker')} ({', '.join(bins)}), drafted by the "
        f"{planner.kind} planner ({planner.version}). The first can be queued after {_seconds(wait_ms)}; nine "
        f"times in ten a step ends within its time here, and then all is done {_seconds(makespan_ms)} later."
    )
    if planner.fallback_from:
        head += f" It stands in for the {planner.fallback_from} planner: {planner.fallback_reason}"
    if hand_over_ms and len(steps) > 1:
        head += f" That counts {_seconds(hand_over_ms)} from one step to the next for Airflow itself."
    if len(steps) > 1:
        head += (
            " No order and no choice of these allocations would end earlier: that is proven."
            if scheduling.gap_pct <= 0
            else f" At most {scheduling.gap_pct:.1f} % of that could be saved by another order or allocation."
        )
    lines = [head]
    for step in steps[:_MAX_STEPS]:
        after = f", after {', '.join(step.depends_on)}" if step.depends_on else ""
        final = step.allocation.final
        mode = modes[step.id]
        history = {
            "tool": f"{_count(mode.runs, 'run')} of it",
            "family": f"{_count(mode.runs, 'run')} of tools of its family, as it has none of its own",
            "profile": f"{_count(mode.runs, 'given profile row')} of it, as nothing was measured",
            "any": f"{_count(mode.runs, 'run')} of other tools, as its family has none",
            "prior": "no history at all, so a cautious guess",
        }[mode.basis]
        lines.append(
            f"{step.id}: {step.tool} on {step.bin} from {_seconds(step.start_ms)} to {_seconds(step.end_ms)}"
            f"{after}, with {final.cpu_cores:g} core(s) and {final.cpu_mem_gb:g} GB{_gpu(step)} "
            f"({step.pool_slots} slots). It should take {_seconds(step.latency_p50_ms)} and peak below "
            f"{mode.peak_gb:.2f} GB; known from {history}."
        )
    if len(steps) > _MAX_STEPS:
        lines.append(f"{len(steps) - _MAX_STEPS} more steps follow.")
    return "\n".join(lines)


def _chinese(
    planner: PlannerInfo,
    steps: Sequence[PlanStep],
    modes: Mapping[str, Mode],
    makespan_ms: float,
    wait_ms: float,
    hand_over_ms: float,
    scheduling: SchedulingInfo,
) -> str:
    bins = sorted({step.bin for step in steps})
    head = (
        f"计划共 {len(steps)} 个步骤，使用 {len(bins)} 个工作节点（{'、'.join(bins)}），"
        f"由 {planner.kind} 规划器（{planner.version}）生成。第一个步骤约 {wait_ms / 1000:.1f} 秒后可以排队；"
        f"按每个步骤九成把握的耗时估计，全部步骤在其后 {makespan_ms / 1000:.1f} 秒内完成。"
    )
    if planner.fallback_from:
        head += f"它代替 {planner.fallback_from} 规划器，原因：{planner.fallback_reason}"
    if hand_over_ms and len(steps) > 1:
        head += f"其中每次步骤交接计入 Airflow 自身的 {hand_over_ms / 1000:.1f} 秒。"
    if len(steps) > 1:
        head += (
            "已证明：任何其他顺序或分配都不会更早结束。"
            if scheduling.gap_pct <= 0
            else f"换用其他顺序或分配，最多还能节省其中的 {scheduling.gap_pct:.1f}%。"
        )
    lines = [head]
    for step in steps[:_MAX_STEPS]:
        after = f"，在 {'、'.join(step.depends_on)} 之后" if step.depends_on else ""
        final = step.allocation.final
        mode = modes[step.id]
        history = {
            "tool": f"该工具的 {mode.runs} 次运行",
            "family": f"同类工具的 {mode.runs} 次运行（该工具尚无记录）",
            "profile": f"该工具的 {mode.runs} 条给定性能数据（尚无实测）",
            "any": f"其他工具的 {mode.runs} 次运行（同类工具尚无记录）",
            "prior": "保守的猜测（尚无任何历史记录）",
        }[mode.basis]
        lines.append(
            f"{step.id}：{step.tool} 在 {step.bin} 上运行，"
            f"第 {step.start_ms / 1000:.1f} 至 {step.end_ms / 1000:.1f} 秒{after}，"
            f"分配 {final.cpu_cores:g} 核、{final.cpu_mem_gb:g} GB 内存{_gpu(step)}（{step.pool_slots} 个槽位）。"
            f"预计耗时 {step.latency_p50_ms / 1000:.1f} 秒，内存峰值低于 {mode.peak_gb:.2f} GB，依据：{history}。"
        )
    if len(steps) > _MAX_STEPS:
        lines.append(f"其后还有 {len(steps) - _MAX_STEPS} 个步骤。")
    return "\n".join(lines)


def _gpu(step: PlanStep) -> str:
    final = step.allocation.final
    return f", {final.gpu_sm:g} % GPU, {final.gpu_mem_gb:g} GB GPU" if final.gpu_sm or final.gpu_mem_gb else ""


def _seconds(value_ms: float) -> str:
    return f"{value_ms / 1000:.1f} s"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
