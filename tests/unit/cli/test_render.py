"""What the terminal shows of a plan: whose words are whose."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from tests.unit.airflow_ui.sample_run import plan
from tomas.cli import render
from tomas.schema import PlannerInfo


def shown(monkeypatch: pytest.MonkeyPatch, **changes: object) -> str:
    console = Console(file=StringIO(), width=200)
    monkeypatch.setattr(render, "console", console)
    render.plan_tables(plan(**changes))
    return console.file.getvalue()


def test_the_models_words_stand_apart_from_the_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    told = shown(monkeypatch, narrative="First [bold]denoise[/bold], then the rest.")
    assert "In the model's own words: First [bold]denoise[/bold], then the rest." in told
    assert told.index("Scans are denoised first") < told.index("In the model's own words")
    assert "own words" not in shown(monkeypatch)


def test_the_planner_is_named_with_its_version_and_for_whom_it_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    neural = PlannerInfo(kind="neural", version="tiny@0123456789ab")
    assert "planned by neural tiny@0123456789ab," in shown(monkeypatch, planner=neural)
    stand_in = PlannerInfo(kind="retrieval", version="1", fallback_from="neural", fallback_reason="[altered]")
    assert "planned by retrieval 1, instead of neural: [altered]," in shown(monkeypatch, planner=stand_in)
