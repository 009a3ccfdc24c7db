"""The pictures of docs/scheduling.md can still be drawn, and still show what the page says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "draw_scheduling.py"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("matplotlib", reason="pictures are the extra 'plots'")
    spec = importlib.util.spec_from_file_location("draw_scheduling", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look it up there
    spec.loader.exec_module(module)
    return module


def test_the_scheduler_beats_the_greedy_rule_on_the_plan_shown(script: ModuleType, tmp_path: Path) -> None:
    greedy_ms, final_ms = script.draw_comparison(tmp_path / "a.png", limit_s=0.1)
    assert final_ms < 0.9 * greedy_ms
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_the_moved_step_is_refused_for_the_load_alone(script: ModuleType, tmp_path: Path) -> None:
    message = script.draw_proof(tmp_path / "b.png")
    assert message.startswith("Plan plan_2 breaks ")
    assert "bin large_1 at " in message
    assert (tmp_path / "b.png").read_bytes().startswith(PNG)


def test_more_time_narrows_the_gap(script: ModuleType, tmp_path: Path) -> None:
    (gaps,) = script.draw_anytime(tmp_path / "c.png", limits_s=(0.0, 0.3), plans=[(1.0, 5)], steps=24)
    assert gaps[0] > 1.0
    assert gaps[1] == 0.0
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)


def test_the_page_shows_every_picture_and_no_other() -> None:
    page = (ROOT / "docs" / "scheduling.md").read_text(encoding="utf-8")
    drawn = SCRIPT.read_text(encoding="utf-8")
    for path in (ROOT / "docs" / "pictures").glob("scheduling_*.png"):
        assert f"(pictures/{path.name})" in page
        assert f'"{path.name}"' in drawn
    assert page.count("](pictures/") == 3
