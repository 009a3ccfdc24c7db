"""Scheduling: a solver-neutral problem model and list scheduling."""

from tomas.schedule.listing import list_schedule
from tomas.schedule.problem import Activity, Assignment, Capacity, Mode, Problem, Schedule, capacity_of

__all__ = ["Activity", "Assignment", "Capacity", "Mode", "Problem", "Schedule", "capacity_of", "list_schedule"]
