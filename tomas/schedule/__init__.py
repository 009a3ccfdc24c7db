"""Scheduling: a solver-neutral problem model, list scheduling, and CP-SAT."""

from tomas.schedule.listing import list_schedule
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

__all__ = [
    "PLAN_RESOURCES",
    "Activity",
    "Assignment",
    "Capacity",
    "Mode",
    "Problem",
    "Schedule",
    "capacity_of",
    "list_schedule",
    "mode_need",
]
