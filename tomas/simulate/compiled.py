"""A workload in columns, as the event loop reads it."""

from __future__ import annotations

from tomas.errors import DataError
from tomas.simulate.workload import Workload

__all__ = ["Compiled"]


class Compiled:
    """A workload in columns, made once however often it arrives."""

    def __init__(self, workload: Workload, index: dict[str, int]) -> None:
        steps = workload.steps
        unknown = next((step for step in steps if step.bin not in index), None)
        if unknown is not None:
            raise DataError(
                f"Step {unknown.id} of {workload.name} is placed on {unknown.bin}, which is not simulated.",
                remedy=f"Simulate that bin, or place the step on one of {', '.join(index)}.",
            )
        self.bins = [index[step.bin] for step in steps]
        self.slots = [step.slots for step in steps]
        self.needs = [(*step.need, (step.need[0] > 0) + 2 * (step.need[2] > 0)) for step in steps]
        self.weights = [-step.priority for step in steps]
        self.before = [len(step.after) for step in steps]
        self.followers: list[list[int]] = [[] for _ in steps]
        for number, step in enumerate(steps):
            for parent in step.after:
                self.followers[parent].append(number)
        self.roots = [number for number, count in enumerate(self.before) if not count]
        self.size = len(steps)
