"""History told again: only what had ended is known, tries of a step are one run, a picture is drawn from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tomas.errors import DataError
from tomas.schema import ExecutionRecord, InputSize, Outcome, ProfileRow, ProfileSource, Resources, StepUsage
from tomas.sizing.picture import draw_sizes
from tomas.sizing.replay import replay

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(
    step: str, start_s: float, end_s: float, *, peak: float = 0.5, gb: float = 1.0,
    outcome: Outcome = Outcome.SUCCESS, tries: int = 1, tool: str = "blur",
) -> ExecutionRecord:  # fmt: skip
    return ExecutionRecord(
        plan_id="p", step_id=step, tool=tool, try_number=tries, bin="b1", host="h",
        requested=Resources(cpu_cores=1, cpu_mem_gb=gb), input_bytes=10_000,
        started_at=NOW + timedelta(seconds=start_s), ended_at=NOW + timedelta(seconds=end_s),
        usage=StepUsage(
            wall_ms=(end_s - start_s) * 1000, peak_mem_gb=peak, cpu_seconds=1, peak_cpu_cores=1, outcome=outcome
        ),
    )  # fmt: skip


def row(peak: float, source: ProfileSource) -> ProfileRow:
    return ProfileRow(
        tool="blur", input_size=InputSize.SMALL, input_bytes=10_000, cpu_core=1, cpu_mem_gb=4, latency_ms=100,
        peak_mem_gb=peak, output_bytes=1, source=source,
        measured_at=NOW if source is ProfileSource.MEASURED else None,
    )  # fmt: skip


def test_a_run_is_foretold_only_from_what_had_ended_before_it_started() -> None:
    told = replay([], [record("a", 0, 10), record("b", 5, 20), record("c", 11, 30)])
    assert [run.given_gb is None for run in told.runs] == [True, True, False]
    assert told.runs[2].p50_ms == pytest.approx(10_000, rel=0.01)


def test_tries_of_a_step_are_one_run_and_failures_none() -> None:
    tries = [
        record("a", 0, 1, outcome=Outcome.OUT_OF_MEMORY, gb=0.4, peak=0.4),
        record("a", 2, 3, tries=2),
        record("b", 4, 5, outcome=Outcome.FAILED),
    ]
    told = replay([], tries)
    assert len(told.runs) == 1
    assert [(name, run.peak_gb) for name, run in told.broken] == [("blur", 0.4)]
    assert told.sizer.times_ms("blur", 10_000, [1])[0, 0] == pytest.approx(1000, rel=0.01)


def test_given_rows_count_only_while_nothing_was_measured() -> None:
    given = [row(3.0, ProfileSource.GIVEN)]
    assert replay(given, []).sizer.choice("blur", 1e4).basis == "profile"
    measured = replay([*given, row(0.5, ProfileSource.MEASURED)], [])
    assert measured.sizer.choice("blur", 1e4).basis == "tool"
    assert len(measured.runs) == 1


def test_only_the_runs_of_the_tool_asked_for_are_foretold() -> None:
    told = replay([], [record("a", 0, 1), record("b", 2, 3, tool="crop"), record("c", 4, 5)], only="blur")
    assert [run.tool for run in told.runs] == ["blur", "blur"]
    assert told.sizer.tools == ["blur", "crop"]


def test_the_picture_is_written_and_bad_names_are_refused(tmp_path: Path) -> None:
    broken = record("x", 200, 201, outcome=Outcome.OUT_OF_MEMORY, gb=0.4, peak=0.4)
    told = replay([], [*(record(f"s{i}", i, i + 0.5, peak=0.4 + i / 50) for i in range(8)), broken])
    draw_sizes("blur", told, tmp_path / "sizes.png")
    assert (tmp_path / "sizes.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(DataError, match="ends in none"):
        draw_sizes("blur", told, tmp_path / "sizes.txt")
    with pytest.raises(DataError, match="no run"):
        draw_sizes("crop", told, tmp_path / "sizes.png")
    with pytest.raises(DataError, match="cannot be written"):
        draw_sizes("blur", told, tmp_path / "none" / "sizes.png")
