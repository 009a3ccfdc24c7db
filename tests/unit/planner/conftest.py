"""The shipped registry and a small one, for planner tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tomas.planner.retrieval import RetrievalPlanner
from tomas.schema import InputSizeThresholds, Port, PythonRunner, Tool
from tomas.tools.registry import Registry

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The registry that is shipped."""
    return Registry.load(ROOT / "data/tool_registry/tools.json")


@pytest.fixture(scope="session")
def planner() -> RetrievalPlanner:
    """One planner for all tests: drafting changes nothing in it but its index."""
    return RetrievalPlanner(0.18)


@pytest.fixture
def make_tool() -> Any:
    """A builder of small tools that can run: ``make_tool("blur", "image/*", "image/png", aliases=[…])``."""

    def build(name: str, takes: str, gives: str, **more: Any) -> Tool:
        fields: dict[str, Any] = {
            "family": "test", "description": f"{name.replace('_', ' ').capitalize()} things.",
            "inputs": [Port(name="data", type=takes)], "outputs": [Port(name="result", type=gives)],
            "input_size": InputSizeThresholds(small_max_bytes=1000, medium_max_bytes=100_000),
            "runner": PythonRunner(callable="tests.none:run"),
        }  # fmt: skip
        return Tool(name=name, **{**fields, **more})

    return build
