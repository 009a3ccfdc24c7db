"""Times: durations, ends, the makespan, the release, the deadline, and room in the calendar."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from tomas.schema import Plan

__all__ = ["MAX_MS", "check_clock", "check_reach"]

MAX_MS = 3.2e11
"""Ten years. Up to here a float tells times apart that are less than a microsecond from each other."""

_TOLERANCE_MS = 1e-3
_ROUNDED_MS = 1.0
"""Instants are rounded to microseconds, latencies are predicted in milliseconds."""
_LAST_INSTANT = datetime.max.replace(tzinfo=UTC)


def check_reach(plan: Plan) -> Iterator[str]:
    """Violations by times so far away that nothing can be said about their sums."""
    of_plan = ("makespan_ms", "t_inf_predicted_ms", "dispatch_lag_predicted_ms", "hand_over_predicted_ms")
    for name in of_plan:
        if getattr(plan, name) > MAX_MS:
            yield f"{name} is {getattr(plan, name):g}, more than ten years"
    for step in plan.steps:
        for name in ("start_ms", "end_ms", "latency_p50_ms", "latency_p90_ms"):
            if getattr(step, name) > MAX_MS:
                yield f"step {step.id}: {name} is {getattr(step, name):g}, more than ten years"
    for curve in plan.forecast:
        if curve.step_ms > MAX_MS:
            yield f"forecast of bin {curve.bin}: step_ms is more than ten years"


def check_clock(plan: Plan) -> Iterator[str]:
    """Violations of time, once the numbers are known to be finite, not negative, and within reach."""
    last = 0.0
    for step in plan.steps:
        if step.latency_p90_ms <= 0:
            yield f"step {step.id}: it takes no time"
        if step.latency_p50_ms > step.latency_p90_ms + _TOLERANCE_MS:
            yield f"step {step.id}: its median latency is above its 90 % latency"
        if abs(step.start_ms + step.latency_p90_ms - step.end_ms) > _TOLERANCE_MS:
            yield f"step {step.id}: it ends at {step.end_ms:g} ms, which is not its start plus its 90 % latency"
        last = max(last, step.end_ms)
    if abs(last - plan.makespan_ms) > _TOLERANCE_MS:
        yield f"makespan_ms is {plan.makespan_ms:g}, but the last step ends at {last:g} ms"
    yield from _release(plan, last)


def _release(plan: Plan, last: float) -> Iterator[str]:
    wait_ms = (plan.release_at - plan.created_at).total_seconds() * 1000.0
    predicted = plan.t_inf_predicted_ms + plan.dispatch_lag_predicted_ms
    if wait_ms < 0:
        yield "it is released before it was created"
    elif abs(wait_ms - predicted) > _ROUNDED_MS:
        yield (
            f"it is released {wait_ms:g} ms after it was created, but planner latency and dispatch lag are "
            f"predicted to be {predicted:g} ms"
        )
    if (_LAST_INSTANT - plan.release_at).total_seconds() * 1000.0 < last:
        yield "the last step ends after the last instant of the calendar"
    deadline_s = plan.request.deadline_s
    if deadline_s is not None and wait_ms + last > deadline_s * 1000.0 + _ROUNDED_MS:
        yield (
            f"the last step ends {(wait_ms + last) / 1000.0:.1f} s after the request, later than the deadline of "
            f"{deadline_s:g} s"
        )
