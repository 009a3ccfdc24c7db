"""The budget of a whole plan: what its steps consume at their 90 % latencies, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from tomas.schema import Plan

__all__ = ["check_budget"]

_MS_PER_HOUR = 3_600_000.0
_RELATIVE = 1e-6
"""A scheduler may count in whole units."""
_PRICES = {"cpu_core_hour": "cpu_core_hours", "mem_gb_hour": "cpu_mem_gb_hours", "gpu_hour": "gpu_hours"}
"""What each price is paid for."""


def check_budget(plan: Plan, prices: Mapping[str, float] | None) -> Iterator[str]:
    """Violations of the request's budget.

    :param prices: per ``cpu_core_hour``, ``mem_gb_hour`` and ``gpu_hour``, finite and not negative. A plan whose
        cost is limited is refused without them.
    """
    budget = plan.request.budget
    limits = {name: limit for name in type(budget).model_fields if (limit := getattr(budget, name)) is not None}
    if not limits:
        return
    used = _consumption(plan)
    if "cost" in limits:
        given = prices or {}
        wrong = [name for name in _PRICES if not _is_price(given.get(name))]
        if wrong:
            yield f"its cost is limited, but no sound price is given per {', '.join(wrong)}"
            return
        used["cost"] = math.fsum(given[name] * used[what] for name, what in _PRICES.items())
    for name, limit in limits.items():
        if used[name] > limit * (1 + _RELATIVE):
            yield f"it takes {used[name]:.6g} of the budget's {limit:.6g} {name}"


def _consumption(plan: Plan) -> dict[str, float]:
    """Resource hours of all steps, by the budget's names; a GPU hour is one of a whole GPU."""
    sums: dict[str, list[float]] = {"cpu_core_hours": [], "cpu_mem_gb_hours": [], "gpu_hours": []}
    for step in plan.steps:
        hours = step.latency_p90_ms / _MS_PER_HOUR
        sums["cpu_core_hours"].append(step.allocation.final.cpu_cores * hours)
        sums["cpu_mem_gb_hours"].append(step.allocation.final.cpu_mem_gb * hours)
        sums["gpu_hours"].append(step.allocation.final.gpu_sm / 100.0 * hours)
    return {name: math.fsum(values) for name, values in sums.items()}


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0
