"""What a sizer answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tomas.schema import Bin, Resources, Tool
from tomas.sizing.memory import MemoryBasis
from tomas.sizing.usage import Usage

__all__ = ["Basis", "Mode", "Sizer"]

Basis = MemoryBasis
"""Whose history an estimate rests on."""


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
    """The 95 % quantile of peak memory."""
    usage: Usage
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
        """The memory that a run is given at least, in GB."""
        ...
