"""What a sizer answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tomas.schema import Bin, Resources, Tool

__all__ = ["Basis", "Mode", "Sizer"]

Basis = Literal["tool", "family", "any", "prior"]
"""Whose history an estimate rests on: the tool's, its family's, all tools', or none."""


@dataclass(frozen=True)
class Mode:
    """One way to run a tool on one input: where, with what, how long, and why so."""

    bin: str
    allocation: Resources
    floor: Resources
    """From history: with less, the step would break or outrun its estimate."""
    slots: int
    p50_ms: float
    p90_ms: float
    basis: Basis
    runs: int
    """Runs that the estimate rests on."""
    peak_gb: float
    """The 95 % quantile of peak memory, before margin and rounding."""
    why: str


class Sizer(Protocol):
    """Turns a tool and its input size into candidate allocations."""

    def modes(
        self, tool: Tool, input_bytes: float, bins: Sequence[Bin], *, fractions: Sequence[float] = ()
    ) -> list[Mode]:
        """All sensible allocations that fit some bin; empty if none does.

        :param fractions: shares of a core to offer besides whole cores.
        """
        ...

    def output_bytes(self, tool: Tool, input_bytes: float) -> float:
        """Expected size of the tool's outputs together, in bytes."""
        ...

    def peak_gb(self, tool: Tool, input_bytes: float) -> float:
        """The memory that a run needs at least, in GB, with margin."""
        ...
