"""The catalogue of corruptions: each turns a good case into one that breaks a rule, by construction.

A kind returns None where a case offers no occasion for it (no step depends on another, say).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.verify_world import Case

__all__ = ["KINDS", "Kind", "kind", "kinds_of"]

Corruption = Callable[[Case, random.Random], Case | None]


@dataclass(frozen=True)
class Kind:
    """One kind of corruption."""

    name: str
    says: str
    """A regular expression that the refusal matches."""
    corrupt: Corruption
    of_schema: bool = False
    """Whether the value is one that pydantic refuses where a plan is made; it is fed past pydantic."""
    judged: bool = False
    """Whether the second opinion on order and load has to agree."""
    heavy: bool = False
    """Whether a plan of this kind is large; there are few of them."""


KINDS: dict[str, Kind] = {}


def kind(
    name: str, says: str, *, of_schema: bool = False, judged: bool = False, heavy: bool = False
) -> Callable[[Corruption], Corruption]:
    """Enter a corruption into the catalogue."""

    def enter(corrupt: Corruption) -> Corruption:
        if name in KINDS:
            raise ValueError(f"two kinds are called {name}")
        KINDS[name] = Kind(name, says, corrupt, of_schema, judged, heavy)
        return corrupt

    return enter


def kinds_of(*, heavy: bool) -> list[Kind]:
    """The kinds of small plans, or those of large ones."""
    from benchmarks import verify_kinds_data, verify_kinds_graph, verify_kinds_load  # noqa: F401 - they enter theirs

    return [item for item in KINDS.values() if item.heavy is heavy]
