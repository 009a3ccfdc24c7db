"""Forecasts: free capacity per bin from the moment a plan can start, and the planner's own latency."""

from tomas.forecast.capacity import forecast
from tomas.forecast.latency import LatencyModel, predict_latency

__all__ = ["LatencyModel", "forecast", "predict_latency"]
