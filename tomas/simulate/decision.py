"""What a policy is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tomas.simulate.workload import SimStep

__all__ = ["Candidate", "Decision", "Policy"]


@dataclass(frozen=True)
class Candidate:
    """A ready step that fits the open slots of its bin."""

    job: int
    """Index into the jobs as given."""
    step: int
    """Index into the steps of the job's workload."""
    what: SimStep
    ready_ms: float


@dataclass(frozen=True)
class Decision:
    """A bin has room for at least one ready step: which one starts?"""

    now_ms: float
    bin: str
    open_slots: int
    candidates: tuple[Candidate, ...]
    """In the order in which Airflow would take them."""


Policy = Callable[[Decision], int | None]
"""Gives the index of the candidate to start, or None to start nothing here until something changes on the bin."""
