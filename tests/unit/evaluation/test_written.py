"""Hand-written requests: what is read, and what is refused with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tomas.config import Settings, shared_file
from tomas.errors import DataError
from tomas.evaluation.plans import plan_metrics
from tomas.evaluation.written import read_requests, read_world, retrieval_answers, written_cases
from tomas.model.config import load_config
from tomas.model.prior import LexicalPrior

ROW = {"id": "x", "language": "en", "task": "Detect the objects", "inputs": {"photos": "image/png"}}


def write(folder: Path, *rows: object) -> Path:
    path = folder / "requests.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "line 2"),
        (ROW | {"tools": "object_detection"}, "field tools"),
        (ROW | {"colour": "red", "tools": ["object_detection"]}, "field colour"),
        (ROW | {"tools": ["object_detection"], "refuse": True}, "contradict"),
        (ROW, "contradict"),
        (ROW | {"tools": ["object_detection"], "edges": [["object_detection", "ocr"]]}, "contradict"),
    ],
)
def test_a_damaged_line_is_named(row: object, said: str, tmp_path: Path) -> None:
    good = ROW | {"tools": ["object_detection"]}
    with pytest.raises(DataError, match=said) as found:
        read_requests(write(tmp_path, good, row))
    assert "line 2" in found.value.what


def test_a_missing_file_and_an_unknown_tool_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        read_requests(tmp_path / "nowhere.jsonl")
    requests = read_requests(write(tmp_path, ROW | {"tools": ["tea_making"]}))
    with pytest.raises(DataError, match="tea_making"):
        written_cases(requests, read_world(None, Settings()), LexicalPrior(), load_config("tiny").model.limits)


def test_shipped_requests_over_the_shipped_registry_and_the_extra_tools() -> None:
    """As the planner reads them: workers and profiles are there, tools beyond its limit are narrowed away."""
    limits = load_config("tiny").model.limits
    world = read_world(shared_file("data/evaluation/extra_tools.json"), Settings())
    requests = read_requests(shared_file("data/evaluation/requests_zh.jsonl"))
    cases = written_cases(requests, world, LexicalPrior(), limits)
    assert len(cases) == 200
    assert len(world.extra) == 25
    assert sum(case.refuse for case in cases) == 21
    assert any(case.unseen for case in cases)
    assert {tool for case in cases for tool in case.unseen} <= world.extra
    for case in cases:
        assert len(case.given.candidates) == limits.max_candidates < len(world.registry)
        assert case.given.classes
        assert case.given.curves.shape == (len(case.given.classes), 4, 48)
    assert any(len(card.profile) for card in cases[0].given.candidates)


def test_the_retrieval_planner_is_measured_on_the_same_requests() -> None:
    world = read_world(shared_file("data/evaluation/extra_tools.json"), Settings())
    requests = read_requests(shared_file("data/evaluation/requests_en.jsonl"))[:60]
    cases = written_cases(requests, world, LexicalPrior(), load_config("tiny").model.limits)
    found = plan_metrics(list(zip(cases, retrieval_answers(requests, world), strict=True)))
    assert found["node_f1"] is not None
    assert 0.3 < found["node_f1"] < 1.0
