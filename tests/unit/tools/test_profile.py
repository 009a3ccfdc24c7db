"""Profiling: inputs of the right size, rows that stand for real runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tomas.errors import UnknownToolError
from tomas.schema import InputSize, ProfileSource, Resources, Tool
from tomas.tools.availability import availability
from tomas.tools.data import load_profiles
from tomas.tools.profile import make_inputs, profile_tool, profile_tools
from tomas.tools.registry import Registry

ONE = Resources(cpu_cores=1, cpu_mem_gb=1)


def test_inputs_fall_into_their_size_class(registry: Registry, tmp_path: Path) -> None:
    for tool in registry:
        if not availability(tool).ok:
            continue
        for size in InputSize:
            made = make_inputs(tool, size, tmp_path / tool.name / size.value)
            total = sum(path.stat().st_size for paths in made.values() for path in paths)
            assert tool.input_size.classify(total) is size, (tool.name, size, total)


def test_rows_are_measured_over_every_size_and_allocation(registry: Registry) -> None:
    tool = registry.get("image_deduplication")
    allocations = [ONE, Resources(cpu_cores=2, cpu_mem_gb=1)]
    said: list[str] = []
    rows = profile_tool(
        tool, [InputSize.SMALL, InputSize.MEDIUM], allocations, repeats=2, cell_budget_s=0.0, progress=said.append
    )
    cells = [(row.input_size, row.allocation) for row in rows]
    assert len(set(cells)) == len(cells) == 4  # the time budget allows no repeat
    assert len(said) == 4
    for row in rows:
        assert row.source is ProfileSource.MEASURED
        assert row.measured_at is not None
        assert row.latency_ms > 20
        assert 0.01 < row.peak_mem_gb < 0.5
        assert row.output_bytes > 0


def test_a_run_out_of_memory_gives_no_row(helper: Callable[..., Tool]) -> None:
    tool = helper(
        "allocate",
        inputs=[{"name": "files", "type": "text/plain"}],
        arguments={"type": "object", "properties": {"megabytes": {"type": "integer", "default": 400}}},
    )
    tight, wide = Resources(cpu_cores=1, cpu_mem_gb=0.1), ONE
    rows = profile_tool(tool, [InputSize.SMALL], [tight, wide], repeats=1)
    assert [row.allocation for row in rows] == [wide]
    assert rows[0].peak_mem_gb == pytest.approx(400 / 1024, rel=0.15)


def test_the_table_keeps_rows_of_other_tools(registry: Registry, tmp_path: Path) -> None:
    table = tmp_path / "profiling.csv"
    count = profile_tools(["audio_extraction"], output=table, repeats=1, allocations=[ONE])
    assert count == 3
    profile_tools(["image_deduplication"], output=table, repeats=1, allocations=[ONE])
    again = profile_tools(["audio_extraction"], output=table, repeats=1, allocations=[ONE])
    assert again == 3
    names = [row.tool for row in load_profiles(table)]
    assert (names.count("audio_extraction"), names.count("image_deduplication")) == (3, 3)
    with pytest.raises(UnknownToolError):
        profile_tools(["no_such_tool"], output=table)
