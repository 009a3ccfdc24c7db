"""Sizing: what a tool run needs and how long it takes, from measured history."""

from tomas.sizing.base import Mode, Sizer
from tomas.sizing.ladder import Ladder
from tomas.sizing.latency import LatencySizer
from tomas.sizing.learned import LearnedSizer
from tomas.sizing.memory import (
    MemoryBasis,
    MemoryChoice,
    MemoryExperience,
    MemoryRun,
    MemorySizer,
    MemoryTask,
)
from tomas.sizing.run import Run
from tomas.sizing.usage import Quantiles, Usage

__all__ = [
    "Ladder",
    "LatencySizer",
    "LearnedSizer",
    "MemoryBasis",
    "MemoryChoice",
    "MemoryExperience",
    "MemoryRun",
    "MemorySizer",
    "MemoryTask",
    "Mode",
    "Quantiles",
    "Run",
    "Sizer",
    "Usage",
]
