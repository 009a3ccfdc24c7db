"""Forecasts: free capacity per bin from the moment a plan can start, and the planner's own latency."""

from tomas.forecast.capacity import forecast
from tomas.forecast.latency import LatencyModel, predict_latency
from tomas.forecast.mixture import Forecast, forecast_quantiles
from tomas.forecast.series import CleanSeries, SeriesReport, clean_series

__all__ = [
    "CleanSeries",
    "Forecast",
    "LatencyModel",
    "SeriesReport",
    "clean_series",
    "forecast",
    "forecast_quantiles",
    "predict_latency",
]
