"""The precedence graph of a problem: order, successors, and longest paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tomas.errors import PlanError
from tomas.schedule.problem import Activity

__all__ = ["successors", "tails", "topological"]


def successors(activities: Iterable[Activity]) -> dict[str, list[str]]:
    """Ids of the activities that wait for each; PlanError where a predecessor is unknown."""
    activities = tuple(activities)
    result: dict[str, list[str]] = {activity.id: [] for activity in activities}
    for activity in activities:
        for name in dict.fromkeys(activity.predecessors):
            if name not in result:
                raise PlanError(
                    f"Step {activity.id} depends on {name}, which is not in the plan.",
                    remedy="Add that step, or remove the dependency.",
                )
            result[name].append(activity.id)
    return result


def topological(activities: tuple[Activity, ...]) -> list[str]:
    """Ids so that predecessors come first; PlanError on a cycle, an unknown id or one used twice."""
    waiting = {activity.id: len(set(activity.predecessors)) for activity in activities}
    if len(waiting) != len(activities):
        raise PlanError("Two steps have the same id.", remedy="Give every step an id of its own.")
    followers = successors(activities)
    ready = [activity.id for activity in activities if not waiting[activity.id]]
    order: list[str] = []
    while ready:
        current = ready.pop()
        order.append(current)
        for follower in followers[current]:
            waiting[follower] -= 1
            if not waiting[follower]:
                ready.append(follower)
    if len(order) != len(activities):
        stuck = sorted(name for name, count in waiting.items() if count)
        raise PlanError(
            f"The steps {', '.join(stuck[:10])} depend on each other in a cycle.",
            remedy="Remove one of these dependencies.",
        )
    return order


def tails(
    order: Iterable[str], followers: Mapping[str, list[str]], lengths: Mapping[str, float]
) -> dict[str, float]:
    """Length of the longest path from each activity's start to the end of the project.

    :param order: topological.
    :param lengths: of each activity.
    """
    result: dict[str, float] = {}
    for name in reversed(list(order)):
        result[name] = lengths[name] + max((result[follower] for follower in followers[name]), default=0.0)
    return result
