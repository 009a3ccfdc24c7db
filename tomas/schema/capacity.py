"""Bins, worker classes, samples, and curves of free capacity."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tomas.schema.base import Identifier, NonNegative, Schema, UtcDatetime
from tomas.schema.resources import RESOURCE_NAMES, Resources

__all__ = ["Bin", "CapacityCurve", "Reservation", "Sample", "WorkerClass"]


class Bin(Schema):
    """What a step is placed on: one worker with its own queue and its own pool."""

    name: Identifier
    worker_class: Identifier
    queue: Identifier
    pool: Identifier
    capacity: Resources
    gpu_index: Annotated[int, Field(ge=0)] | None = None


class WorkerClass(Schema):
    """A group of equal bins."""

    name: Identifier
    description: str = ""
    capacity: Resources
    bins: Annotated[list[Bin], Field(min_length=1)]

    @model_validator(mode="after")
    def _bins_are_equal(self) -> WorkerClass:
        for item in self.bins:
            if item.worker_class != self.name or item.capacity != self.capacity:
                raise ValueError(f"bin {item.name} differs from its class {self.name} in class name or capacity")
        return self


class Sample(Schema):
    """One reading of a bin: ``free = declared capacity - background - reserved``, never below zero."""

    bin: Identifier
    at: UtcDatetime
    free: Resources
    background: Resources
    """In use on the bin's host by other work than TOMAS's own steps."""
    reserved: Resources


class Reservation(Schema):
    """Capacity of a bin held by a step of a plan from ``start_at`` until ``end_at`` (half-open)."""

    plan_id: str
    step_id: str
    bin: Identifier
    need: Resources
    slots: Annotated[int, Field(ge=1)]
    start_at: UtcDatetime
    end_at: UtcDatetime


class CapacityCurve(Schema):
    """Free capacity of one bin at a low quantile, on an even grid.

    Value ``i`` holds from ``start_at + i * step_ms`` until the next; the last one holds on. All lists have
    the same length ≥ 1. Reservations of other plans are already subtracted.
    """

    bin: Identifier
    start_at: UtcDatetime
    step_ms: Annotated[int, Field(gt=0)]
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.1
    source: Literal["naive", "samples", "declared", "learned"]
    cpu_cores: list[NonNegative]
    cpu_mem_gb: list[NonNegative]
    gpu_sm: list[NonNegative]
    gpu_mem_gb: list[NonNegative]
    spread: NonNegative = 0.0
    """How uncertain the forecast is: the median minus this quantile, as the largest share of the bin's capacity."""

    @model_validator(mode="after")
    def _even(self) -> CapacityCurve:
        lengths = {len(getattr(self, name)) for name in RESOURCE_NAMES}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"the four curves of bin {self.bin} must have one common length >= 1, not {lengths}")
        return self

    def __len__(self) -> int:
        return len(self.cpu_cores)

    def at_index(self, index: int) -> Resources:
        """Free capacity in grid cell ``index``; beyond the end the last value holds."""
        i = min(max(index, 0), len(self) - 1)
        return Resources(**{name: getattr(self, name)[i] for name in RESOURCE_NAMES})

    def at(self, instant: datetime) -> Resources:
        """Free capacity at ``instant``."""
        elapsed_ms = (instant - self.start_at).total_seconds() * 1000.0
        return self.at_index(int(elapsed_ms // self.step_ms))
