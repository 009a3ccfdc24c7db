"""Names of output files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["output_names"]


def output_names(paths: Sequence[Path], suffix: str) -> list[str]:
    """A file name per input: its stem plus ``suffix``, numbered where two would be equal."""
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem + suffix, 2
        while name.casefold() in taken:
            name, number = f"{path.stem}-{number}{suffix}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names
