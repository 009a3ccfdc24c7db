"""Why a step gets what it gets, in one sentence."""

from __future__ import annotations

from tomas.schema import Resources, Tool
from tomas.sizing.base import Basis
from tomas.sizing.memory import MemoryChoice

__all__ = ["why"]


def why(
    tool: Tool,
    input_bytes: float,
    allocation: Resources,
    choice: MemoryChoice,
    p50_ms: float,
    p90_ms: float,
    planned: int | None,
) -> str:
    """Say whose history an allocation rests on, and what it says.

    :param planned: how often plans ran the tool, where that is too rarely to do without a margin.
    """
    sources: dict[Basis, str] = {
        "tool": f"{choice.runs} runs of {tool.name}",
        "family": f"{choice.runs} runs of its family {tool.family}, for it has none of its own",
        "profile": f"{choice.runs} given profile rows of {tool.name}, for nothing was measured",
        "any": f"{choice.runs} runs of other tools, for its family has none",
        "prior": "a guess, for there is no history at all",
    }
    given = (
        f"a first try with {allocation.cpu_mem_gb:g} GB costs least, {choice.failing:.1%} of such would need more"
    )
    if planned is not None:
        given = f"a first try has {allocation.cpu_mem_gb:g} GB, with a margin, as plans ran it {planned} times only"
    return (
        f"From {sources[choice.basis]}: peak memory {choice.p95_gb:.2f} GB at the 95 % quantile for "
        f"{input_bytes / 1e6:.2f} MB; {given}; on {allocation.cpu_cores:g} core(s) {p50_ms / 1000:.1f} s, "
        f"in nine of ten runs at most {p90_ms / 1000:.1f} s."
    )
