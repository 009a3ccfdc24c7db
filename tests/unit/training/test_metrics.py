"""Metrics of a sizer against runs."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tomas.errors import DataError
from tomas.schema import (
    ExecutionRecord,
    InputSizeThresholds,
    Outcome,
    Port,
    Resources,
    StepUsage,
    Tool,
)
from tomas.sizing import QuantileSizer
from tomas.training import retrain
from tomas.training.metrics import pinball, score

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BLUR = Tool(
    name="blur", family="vision", description="Blur.", inputs=[Port(name="images", type="image/*")],
    outputs=[Port(name="images", type="image/png")],
    input_size=InputSizeThresholds(small_max_bytes=1000, medium_max_bytes=100_000),
)  # fmt: skip


def record(step: str, peak: float, wall: float, outcome: Outcome = Outcome.SUCCESS) -> ExecutionRecord:
    return ExecutionRecord(
        plan_id="p", step_id=step, tool="blur", try_number=1, bin="b1", host="h",
        requested=Resources(cpu_cores=1, cpu_mem_gb=4), input_bytes=1000, started_at=NOW, ended_at=NOW,
        usage=StepUsage(wall_ms=wall, peak_mem_gb=peak, cpu_seconds=1, peak_cpu_cores=1, outcome=outcome),
    )  # fmt: skip


def test_pinball_loss_is_least_at_the_quantile() -> None:
    values = [float(i) for i in range(1, 101)]
    losses = {guess: sum(pinball(value, guess, 0.9) for value in values) for guess in (50.0, 90.0, 100.0)}
    assert min(losses, key=lambda guess: losses[guess]) == 90.0


def test_a_sizer_that_saw_the_runs_wastes_less_than_a_guess() -> None:
    runs = [record(f"s{i}", 0.1, 100.0 + i) for i in range(10)]
    fitted = score(QuantileSizer.fit([], runs), runs, {"blur": BLUR})
    guessed = score(QuantileSizer.fit([], []), runs, {"blur": BLUR})
    assert fitted["memory_waste"] < guessed["memory_waste"]
    assert fitted["latency_pinball_ms"] < guessed["latency_pinball_ms"]
    assert fitted["memory_short"] == 0.0


def test_runs_above_the_allotment_are_counted_as_short() -> None:
    assert score(QuantileSizer.fit([], []), [record("s1", 50.0, 1.0)], {"blur": BLUR})["memory_short"] == 1.0


def test_failed_runs_and_unknown_tools_are_left_out() -> None:
    assert score(QuantileSizer.fit([], []), [record("s1", 1.0, 1.0, Outcome.FAILED)], {"blur": BLUR}) == {}
    assert score(QuantileSizer.fit([], []), [record("s1", 1.0, 1.0)], {}) == {}


def test_an_empty_interval_is_refused_before_anything_is_read() -> None:
    with pytest.raises(DataError, match="empty or has no time zone"):
        retrain(None, NOW, NOW)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="time zone"):
        retrain(None, NOW.replace(tzinfo=None), NOW)  # type: ignore[arg-type]
