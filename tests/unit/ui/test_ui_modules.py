"""The pure modules of the pages, tested by Node's own test runner."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SUITES = sorted(HERE.glob("*.test.mjs"))


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed; the pages need it only for tests")
@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_suite_passes(suite: Path) -> None:
    node = shutil.which("node")
    assert node is not None
    run = subprocess.run([node, "--test", str(suite)], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_there_are_suites() -> None:
    assert [path.name for path in SUITES] == ["format.test.mjs", "layout.test.mjs", "model.test.mjs"]
