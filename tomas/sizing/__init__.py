"""Sizing: what a tool run needs and how long it takes, from measured history."""

from tomas.sizing.base import Mode, Sizer
from tomas.sizing.curve import SizeCurve
from tomas.sizing.observation import Observation, observations
from tomas.sizing.quantile import QuantileSizer

__all__ = ["Mode", "Observation", "QuantileSizer", "SizeCurve", "Sizer", "observations"]
