"""The prior: what is known of a request before the network reads it.

A score of every tool, from the words alone or from known requests, and the plans of similar ones. The files of a
prior stand in the checkpoint beside the network's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from tomas.errors import ModelUnavailable
from tomas.model.example import FloatArray, Precedent, ToolCard
from tomas.model.prior_terms import TermTable, content_words

__all__ = ["PRIOR_FILE", "LexicalPrior", "Prior", "load_prior"]

PRIOR_FILE = "prior.json"
_SLOPE, _OFFSET = 12.0, 3.0
"""A likeness of 1/4 between a task and a tool's text is even odds that the tool is meant."""


class Prior(Protocol):
    """What is known of a request before the network reads it."""

    kind: ClassVar[str]

    def scores(self, task: str, cards: Sequence[ToolCard]) -> FloatArray:
        """Log-odds that each tool is part of the plan, shape (cards,)."""
        ...

    def precedents(self, task: str, cards: Sequence[ToolCard]) -> tuple[Precedent, ...]:
        """Plans of similar known requests over these tools, likeliest first; none where none is known."""
        ...

    def files(self) -> dict[str, bytes]:
        """Contents of its files by name, for the checkpoint."""
        ...


class LexicalPrior:
    """Likeness of words and pieces of words between the task and each tool's text. Nothing is learned.

    Of the task function words are left out.
    """

    kind: ClassVar[str] = "lexical"

    def scores(self, task: str, cards: Sequence[ToolCard]) -> FloatArray:
        """Log-odds by likeness, shape (cards,); terms that few of the cards hold weigh more."""
        if not cards:
            return np.zeros(0, np.float32)
        table = _table(tuple(card.text for card in cards))
        return table.likeness(content_words(task)) * np.float32(_SLOPE) - np.float32(_OFFSET)

    def precedents(self, task: str, cards: Sequence[ToolCard]) -> tuple[Precedent, ...]:  # noqa: ARG002
        """None: it knows no requests."""
        return ()

    def files(self) -> dict[str, bytes]:
        """Its name; there is nothing else."""
        return {PRIOR_FILE: json.dumps({"kind": self.kind}).encode()}


@lru_cache(maxsize=64)
def _table(texts: tuple[str, ...]) -> TermTable:
    return TermTable(texts)


def load_prior(files: Mapping[str, Path]) -> Prior:
    """The prior of a checkpoint; the lexical one where the checkpoint names none.

    :param files: path of every file by name, whose hashes have been compared with the manifest.
    :raises ModelUnavailable: the prior is damaged, of an unknown kind, or needs an encoder that is not installed.
    """
    if PRIOR_FILE not in files:
        return LexicalPrior()
    try:
        head = json.loads(files[PRIOR_FILE].read_text(encoding="utf-8"))
        kind = head["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelUnavailable(
            f"{files[PRIOR_FILE]} is damaged.", remedy="Restore the checkpoint, or train anew."
        ) from None
    if kind == LexicalPrior.kind:
        return LexicalPrior()
    # The memory knows this module's protocol and its lexical prior, so that it can only be named here.
    from tomas.model.prior_memory import PlanMemory

    if kind == PlanMemory.kind:
        return PlanMemory.load(head, files)
    raise ModelUnavailable(
        f"{files[PRIOR_FILE]} holds a prior of the kind “{kind}”, which this version does not know.",
        remedy="Install the TOMAS version that wrote it, or train anew.",
    )
