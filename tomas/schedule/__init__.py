"""Scheduling: a solver-neutral problem model, list scheduling, and CP-SAT."""

from tomas.schedule.once import OnePass
from tomas.schedule.problem import (
    PLAN_RESOURCES,
    Activity,
    Assignment,
    Capacity,
    Mode,
    Problem,
    Schedule,
    capacity_of,
    mode_need,
)
from tomas.schedule.solve import list_schedule, schedule

__all__ = [
    "PLAN_RESOURCES",
    "Activity",
    "Assignment",
    "Capacity",
    "Mode",
    "OnePass",
    "Problem",
    "Schedule",
    "capacity_of",
    "list_schedule",
    "mode_need",
    "schedule",
]
