"""Fixtures of the tool tests: real samples, and tools made from ``helper_tools``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tomas.config import shared_file
from tomas.schema import Resources, Tool
from tomas.tools.registry import Registry
from tomas.tools.run import ToolRun, run_tool

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture(scope="session")
def samples() -> Path:
    return shared_file("data/samples")


@pytest.fixture
def helper(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tool]:
    """Make a tool from a function of ``helper_tools`` (the child gets our ``sys.path``)."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(HERE)])

    def make(function: str, **fields: Any) -> Tool:
        row: dict[str, Any] = {
            "name": function,
            "family": "test",
            "description": "A tool of the tests.",
            "inputs": [{"name": "files", "type": "*/*", "required": False}],
            "outputs": [{"name": "result", "type": "application/jsonl"}],
            "input_size": {"small_max_bytes": 1000, "medium_max_bytes": 2000},
            "runner": {"kind": "python", "callable": f"helper_tools:{function}"},
        }
        return Tool.model_validate(row | fields)

    return make


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., ToolRun]:
    """Run a tool on one core and 2 GB unless said otherwise; each run gets its own output folder."""
    folders = (tmp_path / name for name in ["out", *(f"out{n}" for n in range(2, 100))])

    def call(tool: Tool, inputs: dict[str, list[Path]] | None = None, **options: Any) -> ToolRun:
        allocation = options.pop("allocation", Resources(cpu_cores=1, cpu_mem_gb=2))
        arguments = options.pop("arguments", {})
        options.setdefault("timeout_s", 60)
        options.setdefault("meter_interval_ms", 20)
        return run_tool(tool, inputs or {}, arguments, next(folders), allocation, **options)

    return call


@pytest.fixture
def records() -> Callable[[ToolRun, str], dict[str, dict[str, Any]]]:
    """The JSON lines of an output port, by file name."""

    def read(result: ToolRun, port: str) -> dict[str, dict[str, Any]]:
        path = next(Path(item.uri) for item in result.outputs if item.name == port)
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {row["file"]: row for row in rows if "file" in row}

    return read
