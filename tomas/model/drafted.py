"""What the network answers for one request, before schemas, sizes and schedules have been asked."""

from __future__ import annotations

from dataclasses import dataclass

from tomas.model.example import Source

__all__ = ["Drafted", "DraftedStep", "ModeProposal"]


@dataclass(frozen=True)
class ModeProposal:
    """The allocation that the model proposes for a step.

    :ivar mode: index into the step's modes; the likeliest, unless another was chosen for where it would stand.
    :ivar probabilities: of all its modes.
    :ivar amounts: cores, GB, percent of a GPU, GB; those of the mode, corrected within the bound.
    """

    mode: int
    probabilities: tuple[float, ...]
    amounts: tuple[float, float, float, float]


@dataclass(frozen=True)
class DraftedStep:
    """One chosen step.

    :ivar tool: index into the candidates.
    :ivar confidence: calibrated probability of the tool.
    :ivar parents: indices of earlier steps that it waits for, those it reads from among them.
    :ivar bindings: per input port of its tool the sources; empty where nothing of its type is there.
    :ivar arguments: name and value as text, of those that the task sets.
    """

    tool: int
    confidence: float
    parents: tuple[int, ...] = ()
    bindings: tuple[tuple[Source, ...], ...] = ()
    arguments: tuple[tuple[str, str], ...] = ()
    proposal: ModeProposal | None = None


@dataclass(frozen=True)
class Drafted:
    """The steps in the order they were chosen, or a refusal.

    :ivar refusal: probability that no candidate serves the task, as the gate saw it at the start.
    :ivar passes: runs of the backbone; those for the explanation are not counted.
    """

    steps: tuple[DraftedStep, ...]
    refuse: bool
    refusal: float
    explanation: str = ""
    passes: int = 0
