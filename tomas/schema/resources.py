"""The four renewable resources, and the share of a bin that a need takes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tomas.schema.base import NonNegative, Schema

__all__ = ["POOL_SIZE", "RESOURCE_NAMES", "Resources", "pool_slots"]

RESOURCE_NAMES = ("cpu_cores", "cpu_mem_gb", "gpu_sm", "gpu_mem_gb")
"""The order in which the resources stand everywhere: cores, GB (2^30 bytes), percent of one GPU's SMs, GB."""

POOL_SIZE = 100
"""Slots of a bin's pool: hundredths of its capacity."""

_EPSILON = 1e-9


class Resources(Schema):
    """An amount of each resource: a need, a capacity, or what is free."""

    cpu_cores: NonNegative = 0.0
    cpu_mem_gb: NonNegative = 0.0
    gpu_sm: NonNegative = 0.0
    gpu_mem_gb: NonNegative = 0.0

    def __iter__(self) -> Iterator[float]:  # type: ignore[override]
        return iter((self.cpu_cores, self.cpu_mem_gb, self.gpu_sm, self.gpu_mem_gb))

    def __add__(self, other: Resources) -> Resources:
        return _of(a + b for a, b in zip(self, other, strict=True))

    def minus(self, other: Resources) -> Resources:
        """Subtract, stopping at zero: what is overcommitted counts as nothing free."""
        return _of(max(0.0, a - b) for a, b in zip(self, other, strict=True))

    def at_least(self, other: Resources) -> Resources:
        """The larger of both, resource by resource."""
        return _of(max(a, b) for a, b in zip(self, other, strict=True))

    def fits(self, capacity: Resources) -> bool:
        """Whether this need stays within ``capacity`` in every resource."""
        return all(need <= room + _EPSILON for need, room in zip(self, capacity, strict=True))


def _of(values: Iterator[float]) -> Resources:
    return Resources(**dict(zip(RESOURCE_NAMES, values, strict=True)))


def pool_slots(need: Resources, capacity: Resources) -> int:
    """The dominant share of ``need`` in ``capacity``, in hundredths, rounded up, at least 1.

    Dominant share after Ghodsi et al., "Dominant Resource Fairness", NSDI 2011. While a pool of
    :data:`POOL_SIZE` slots is not exceeded, no single resource of its bin is. A need above the
    capacity gives more than :data:`POOL_SIZE`; a need for a resource the bin lacks raises ValueError.
    """
    share = 0.0
    for name, wanted, room in zip(RESOURCE_NAMES, need, capacity, strict=True):
        if wanted <= 0:
            continue
        if room <= 0:
            raise ValueError(f"{wanted:g} {name} needed where the capacity is 0")
        share = max(share, wanted / room)
    return max(1, math.ceil(share * POOL_SIZE - 1e-6))
