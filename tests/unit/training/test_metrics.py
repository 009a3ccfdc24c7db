"""Metrics of a sizer against steps, and when one sizer is better than another beyond chance."""

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
from tomas.sizing import LearnedSizer
from tomas.training.metrics import StepScore, better_by_chance, pinball, score, scored_steps, summary
from tomas.training.retrain import retrain

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BLUR = Tool(
    name="blur", family="vision", description="Blur.", inputs=[Port(name="images", type="image/*")],
    outputs=[Port(name="images", type="image/png")],
    input_size=InputSizeThresholds(small_max_bytes=1000, medium_max_bytes=100_000),
)  # fmt: skip


def record(
    step: str, peak: float, wall: float, outcome: Outcome = Outcome.SUCCESS, *, tries: int = 1, gb: float = 4
) -> ExecutionRecord:
    return ExecutionRecord(
        plan_id="p", step_id=step, tool="blur", try_number=tries, bin="b1", host="h",
        requested=Resources(cpu_cores=1, cpu_mem_gb=gb), input_bytes=1000, started_at=NOW, ended_at=NOW,
        usage=StepUsage(wall_ms=wall, peak_mem_gb=peak, cpu_seconds=1, peak_cpu_cores=1, outcome=outcome),
    )  # fmt: skip


def test_pinball_loss_is_least_at_the_quantile() -> None:
    values = [float(i) for i in range(1, 101)]
    losses = {guess: sum(pinball(value, guess, 0.9) for value in values) for guess in (50.0, 90.0, 100.0)}
    assert min(losses, key=lambda guess: losses[guess]) == 90.0


def judged(sizer: LearnedSizer, records: list[ExecutionRecord], tools: tuple[str, ...] = ("blur",)) -> dict:
    return summary(score(sizer, scored_steps(records, tools, most=1000)), "it")


def test_a_sizer_that_saw_the_runs_wastes_less_than_a_guess() -> None:
    runs = [record(f"s{i}", 0.1, 100.0 + i) for i in range(10)]
    fitted, guessed = judged(LearnedSizer.fit([], runs), runs), judged(LearnedSizer(), runs)
    assert fitted["it_memory_waste"] < guessed["it_memory_waste"]
    assert fitted["it_latency_pinball_ms"] < guessed["it_latency_pinball_ms"]
    assert fitted["it_loss"] < guessed["it_loss"]
    assert fitted["it_memory_short"] == 0.0
    assert fitted["it_latency_within_p90"] >= 0.9


def test_runs_above_the_allotment_are_counted_as_short() -> None:
    assert judged(LearnedSizer(), [record("s1", 50.0, 1.0)])["it_memory_short"] == 1.0


def test_failed_runs_and_unknown_tools_are_left_out() -> None:
    assert judged(LearnedSizer(), [record("s1", 1.0, 1.0, Outcome.FAILED)]) == {}
    assert judged(LearnedSizer(), [record("s1", 1.0, 1.0)], ()) == {}


def test_retries_of_a_step_are_one_and_a_limit_that_broke_tells_only_of_smaller_ones() -> None:
    broke = [
        record("s1", 1.0, 1.0, Outcome.OUT_OF_MEMORY, gb=1),
        record("s2", 0.1, 1.0, Outcome.OUT_OF_MEMORY, gb=0.1),
    ]
    fixed = record("s1", 2.0, 1.0, tries=2, gb=8)
    steps = scored_steps([*broke, fixed], {"blur"}, most=1000)
    first, second = score(LearnedSizer(), steps)
    assert first is not None
    assert first.peak_gb == 2.0
    assert first.short
    assert second is None, "a guess gives more than the 0.1 GB at which it broke: whether enough is not known"


def test_of_too_many_steps_some_are_taken() -> None:
    assert len(scored_steps([record(f"s{i}", 1.0, 1.0) for i in range(100)], {"blur"}, most=40)) == 34


def test_better_beyond_chance_needs_enough_steps_that_agree() -> None:
    slow = [record(f"s{i}", 0.5, 9000.0 + i) for i in range(12)]
    quick = [record(f"s{i}", 0.5, 1000.0 + i) for i in range(12)]
    stale, fresh = LearnedSizer.fit([], slow), LearnedSizer.fit([], quick)

    def chance(count: int, old: LearnedSizer, new: LearnedSizer) -> float:
        steps = scored_steps(quick[:count], {"blur"}, most=1000)
        return better_by_chance(score(old, steps), score(new, steps))

    assert chance(12, stale, fresh) < 0.01
    assert chance(12, fresh, stale) == 1.0
    assert chance(4, stale, fresh) == 1 / 16, "four steps prove nothing, however clear they are"
    assert chance(12, fresh, fresh) == 1.0
    assert chance(0, stale, fresh) == 1.0


def test_differences_that_go_both_ways_are_chance() -> None:
    def scores(losses: list[float]) -> list[StepScore | None]:
        return [StepScore(loss, 1.0, 0.5, True, 1.0, True) for loss in losses]

    level = scores([1.0] * 41)
    mixed = scores([1.0 + (0.5 if number % 2 else -0.5) for number in range(41)])
    assert 0.05 < better_by_chance(level, mixed) < 0.95
    assert better_by_chance(level, scores([0.9] * 41)) < 0.001


def test_an_empty_interval_is_refused_before_anything_is_read() -> None:
    with pytest.raises(DataError, match="empty or has no time zone"):
        retrain(None, NOW, NOW)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="time zone"):
        retrain(None, NOW.replace(tzinfo=None), NOW)  # type: ignore[arg-type]
