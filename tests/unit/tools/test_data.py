"""The tables beside the registry: profiles, worker classes, timelines."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomas.errors import DataError
from tomas.schema import InputSize, ProfileRow, ProfileSource, Tool
from tomas.tools.availability import availability
from tomas.tools.data import load_profiles, load_timeline, load_worker_classes, save_profiles
from tomas.tools.registry import Registry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEADER = "tool,input_size,input_bytes,cpu_core,cpu_mem_gb,latency_ms,peak_mem_gb,source"


def test_shipped_profiles_cover_every_tool(registry: Registry) -> None:
    rows = load_profiles()
    assert {row.tool for row in rows} == set(registry.names)
    for tool in registry:
        mine = [row for row in rows if row.tool == tool.name]
        cells = {(row.input_size, row.allocation) for row in mine}
        sizes, allocations = {size for size, _ in cells}, {allocation for _, allocation in cells}
        assert sizes == set(InputSize), tool.name
        assert len(allocations) >= 3, tool.name
        # Size and allocation vary independently: every size under every allocation.
        assert len(cells) == len(sizes) * len(allocations), tool.name
        for row in mine:
            assert tool.input_size.classify(row.input_bytes) is row.input_size, row


def test_profiles_of_tools_that_run_here_are_measured(registry: Registry) -> None:
    rows = load_profiles()
    measured = {row.tool for row in rows if row.source is ProfileSource.MEASURED}
    given_ = {row.tool for row in rows if row.source is ProfileSource.GIVEN}
    assert measured == {tool.name for tool in registry if runs_offline(tool)}
    assert given_ == set(registry.names) - measured


def runs_offline(tool: Tool) -> bool:
    return availability(tool).ok


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a,huge,1,1,1,5,1,given", "line 3, field input_size"),
        ("a,small,1,1,1,nan,1,given", "line 3, field latency_ms"),
        ("a,small,1,-1,1,5,1,given", "line 3, field cpu_core"),
        ("a,small,1,1,1,,1,given", "line 3, field latency_ms"),
        ("a,small,1,1,1,5,1,guessed", "line 3, field source"),
        ("a,small,1,1,inf,5,1,given", "line 3, field cpu_mem_gb"),
    ],
)
def test_bad_profile_rows_name_line_and_field(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "profiles.csv"
    path.write_text(f"{HEADER}\na,small,1,1,1,5,1,given\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=expected) as caught:
        load_profiles(path)
    assert str(path) in str(caught.value)


def test_missing_and_unknown_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "profiles.csv"
    path.write_text("tool,input_size\n", encoding="utf-8")
    with pytest.raises(DataError, match="column input_bytes is missing"):
        load_profiles(path)
    path.write_text(f"{HEADER},colour\n", encoding="utf-8")
    with pytest.raises(DataError, match="column 'colour' is unknown"):
        load_profiles(path)


@given(
    st.lists(
        st.builds(
            ProfileRow,
            tool=st.sampled_from(["a", "b.c", "d-1"]),
            input_size=st.sampled_from(InputSize),
            input_bytes=st.integers(0, 2**40),
            cpu_core=st.floats(0, 64),
            cpu_mem_gb=st.floats(0, 512),
            gpu_sm=st.floats(0, 100),
            gpu_mem_gb=st.floats(0, 80),
            latency_ms=st.floats(0.001, 1e7),
            peak_mem_gb=st.floats(0, 512),
            source=st.sampled_from(ProfileSource),
            measured_at=st.none() | st.just(NOW),
        ),
        max_size=5,
    )
)
def test_profiles_survive_the_file(tmp_path_factory: pytest.TempPathFactory, rows: list[ProfileRow]) -> None:
    path = tmp_path_factory.mktemp("profiles") / "rows.csv"
    save_profiles(rows, path)
    assert load_profiles(path) == rows


def test_worker_classes_follow_the_host() -> None:
    small, large = load_worker_classes(host_cores=8)
    assert (small.name, small.capacity.cpu_cores, small.bins[0].queue) == ("cpu-small", 1, "tomas_small_1")
    assert (large.name, large.capacity.cpu_cores, large.bins[0].pool) == ("cpu-large", 7, "tomas_large_1")
    assert load_worker_classes(host_cores=1)[1].capacity.cpu_cores == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"capacity": {"cpu_cores": "many"}}, "capacity.cpu_cores 'many'"),
        ({"capacity": {"cpu_cores": -1}}, "field cpu_cores"),
        ({"bins": []}, "field bins"),
        ({"bins": [{"name": "w", "queue": "q", "pool": "p"}] * 2}, "already belongs"),
        ({"bins": [{"name": "bad name", "queue": "q", "pool": "p"}]}, "field bins.0.name"),
        ({"capacity": None}, "row 1"),
    ],
)
def test_bad_worker_classes_are_refused(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    row = {
        "name": "w",
        "capacity": {"cpu_cores": 1, "cpu_mem_gb": 1},
        "bins": [{"name": "w", "queue": "q", "pool": "p"}],
    }
    path = tmp_path / "classes.json"
    path.write_text(json.dumps([row | change]), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_worker_classes(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)


def test_timeline_becomes_a_curve(tmp_path: Path) -> None:
    path = tmp_path / "timeline.csv"
    path.write_text(
        "time_ms,cpu_cores,cpu_mem_gb,gpu_sm,gpu_mem_gb\n0,8,16,50,40\n100,4,8,100,80\n", encoding="utf-8"
    )
    curve = load_timeline(path, "small_1", NOW)
    assert (curve.step_ms, curve.cpu_cores, curve.gpu_sm, curve.source) == (100, [8, 4], [50, 100], "declared")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("0,8,16,50,40\n100,4,8,100,80\n250,4,8,100,80\n", "line 4, field time_ms"),
        ("0,8,16,50,40\n100,-4,8,100,80\n", "line 3, field cpu_cores"),
        ("0,8,16,50,40\n100,4,nan,100,80\n", "line 3, field cpu_mem_gb"),
        ("0,8,16,50,x\n", "line 2, field gpu_mem_gb"),
        ("", "no rows"),
    ],
)
def test_bad_timelines_are_refused(tmp_path: Path, body: str, expected: str) -> None:
    path = tmp_path / "timeline.csv"
    path.write_text("time_ms,cpu_cores,cpu_mem_gb,gpu_sm,gpu_mem_gb\n" + body, encoding="utf-8")
    with pytest.raises(DataError, match=expected):
        load_timeline(path, "small_1", NOW)
