"""Splits by phrasing family and by tool: a row never shares its family or a held-out tool with another split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from tomas.training.generate.registry import REGISTRY_DOMAIN

__all__ = ["Split", "group_of", "split_of", "split_of_tool"]

Split = Literal["train", "valid", "test"]

_VALID_FAMILIES = frozenset({"en.gerunds", "zh.topic", "en.deliverables"})
_TEST_FAMILIES = frozenset({"en.goal", "zh.goal", "zh.deliverables"})
_VALID_SHARE = 8
_TEST_SHARE = 16
"""Of a hundred tools, those below the first number are held out for validation, below the second for the test."""


def group_of(family: str, tools: Iterable[str]) -> str:
    """The group of an example: its phrasing family, and ``domain/tool`` of every tool of its answer."""
    return f"{family}|{','.join(sorted(tools))}"


def split_of_tool(tool: str) -> Split:
    """Where a tool (``domain/name``) may stand; those of a given registry stand everywhere."""
    if tool.startswith(REGISTRY_DOMAIN):
        return "train"
    place = int(hashlib.sha256(tool.encode()).hexdigest()[:8], 16) % 100
    return "valid" if place < _VALID_SHARE else "test" if place < _TEST_SHARE else "train"


def split_of(group: str) -> Split:
    """The split of a group: test where anything of it is held out for the test, else valid, else train."""
    family, _, tools = group.partition("|")
    splits = {split_of_tool(tool) for tool in tools.split(",") if tool}
    if family in _TEST_FAMILIES or "test" in splits:
        return "test"
    return "valid" if family in _VALID_FAMILIES or "valid" in splits else "train"
