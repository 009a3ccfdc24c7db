"""Sizing: what a tool run needs and how long it takes, from measured history."""

from tomas.sizing.base import Mode, Sizer
from tomas.sizing.curve import SizeCurve
from tomas.sizing.ladder import Ladder
from tomas.sizing.latency import LatencySizer
from tomas.sizing.memory import (
    MemoryBasis,
    MemoryChoice,
    MemoryExperience,
    MemoryRun,
    MemorySizer,
    MemoryTask,
)
from tomas.sizing.observation import Observation, observations
from tomas.sizing.quantile import QuantileSizer

__all__ = [
    "Ladder",
    "LatencySizer",
    "MemoryBasis",
    "MemoryChoice",
    "MemoryExperience",
    "MemoryRun",
    "MemorySizer",
    "MemoryTask",
    "Mode",
    "Observation",
    "QuantileSizer",
    "SizeCurve",
    "Sizer",
    "observations",
]
