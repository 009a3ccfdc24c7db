"""Readers of public formats, on small files of each format."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from tomas.errors import DataError
from tomas.model.example import PlanningExample
from tomas.training.generate import Generator
from tomas.training.generate.public import (
    read_asynchow,
    read_complextool,
    read_taskbench_requests,
    read_ultratool,
    taskbench_specs,
)


def edges(example: PlanningExample) -> set[tuple[str, str]]:
    names = [example.given.candidates[step.tool].name for step in example.target.steps]
    return {(names[a], names[b]) for b, step in enumerate(example.target.steps) for a in step.parents}


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    path = tmp_path / "tool_desc.json"
    nodes = [{"id": name, "desc": f"{name} tool", "domain": ["X"]} for name in ("file_write", "file_modify", "sms")]
    path.write_text(json.dumps({"nodes": nodes}))
    return path


def ultratool_row(*chain: str) -> str:
    row = {
        "id": "7",
        "user_request": "Write the minutes, then change the first item.\n",
        "task_nodes": [{"task": name} for name in chain],
        "task_links": [{"source": a, "target": b} for a, b in pairwise(chain)],
    }
    return json.dumps(row)


def test_ultratool_gives_a_chain_over_its_tools(tmp_path: Path, tools: Path) -> None:
    requests = tmp_path / "train.jsonl"
    requests.write_text(ultratool_row("file_write", "file_modify", "file_write") + "\n")
    (example,) = read_ultratool(requests, tools)
    assert example.given.task == "Write the minutes, then change the first item."
    assert edges(example) == {("file_write", "file_modify")}
    assert {card.name for card in example.given.candidates} == {"file_write", "file_modify", "sms"}


def test_ultratool_shows_what_is_selected_and_the_answer(tmp_path: Path, tools: Path) -> None:
    requests = tmp_path / "train.jsonl"
    requests.write_text(ultratool_row("sms") + "\n")
    (example,) = read_ultratool(requests, tools, select=lambda task: [0] if "minutes" in task else [1])
    assert {card.name for card in example.given.candidates} == {"sms", "file_write"}


def test_an_unknown_tool_is_named_with_its_line(tmp_path: Path, tools: Path) -> None:
    requests = tmp_path / "train.jsonl"
    requests.write_text(ultratool_row("sms") + "\n" + ultratool_row("fax") + "\n")
    with pytest.raises(DataError, match=r"train\.jsonl, line 2.*fax"):
        list(read_ultratool(requests, tools))


def test_complextool_takes_its_own_candidates_and_graph(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "description": "数量"}}, "required": ["n"]}
    row = {
        "id": "easy-1",
        "query": "Where am I and what time is it?",
        "tools": {str(k): {"name": f"t{k}", "description": "描述", "inputSchema": schema} for k in range(1, 5)},
        "dag": '```json\n{\n "DAG": "3->1, 3->4, 4->1"\n}\n```',
    }
    path = tmp_path / "easy.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False))
    (example,) = read_complextool(path)
    assert edges(example) == {("t3", "t1"), ("t3", "t4"), ("t4", "t1")}
    assert [example.given.candidates[step.tool].name for step in example.target.steps] == ["t3", "t4", "t1"]
    argument = example.given.candidates[0].arguments[0]
    assert (argument.name, argument.kind, argument.required) == ("n", "integer", True)


def test_asynchow_shuffles_the_steps_and_keeps_their_edges(tmp_path: Path) -> None:
    row = {
        "id": 3,
        "title": "How to bake",
        "steps": ["buy", "mix", "heat the oven", "bake"],
        "edges": [["START", "1"], ["1", "2"], ["2", "4"], ["3", "4"], ["4", "END"], ["START", "3"]],
    }
    path = tmp_path / "async.jsonl"
    path.write_text("\n".join(json.dumps({**row, "id": number}) for number in range(20)))
    examples = list(read_asynchow(path))
    orders = set()
    for example in examples:
        texts = {card.name: card.text for card in example.given.candidates}
        assert {(texts[a], texts[b]) for a, b in edges(example)} == {
            ("buy", "mix"),
            ("mix", "bake"),
            ("heat the oven", "bake"),
        }
        orders.add(tuple(card.text for card in example.given.candidates))
    assert len(orders) > 5
    assert [e.given.task for e in read_asynchow(path)] == [e.given.task for e in examples]


@pytest.fixture
def typed(tmp_path: Path) -> Path:
    nodes = [
        {"id": "Image Downloader", "desc": "Downloads.", "input-type": ["url"], "output-type": ["image"]},
        {"id": "Image-to-Text", "desc": "Describes.", "input-type": ["image"], "output-type": ["text"]},
        {"id": "Summarization", "desc": "Shortens.", "input-type": ["text"], "output-type": ["text"]},
        {"id": "Nothing", "desc": "Reads nothing.", "input-type": [], "output-type": []},
    ]
    path = tmp_path / "multimedia" / "tool_desc.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"nodes": nodes}))
    return path


def test_typed_taskbench_tools_are_a_registry_of_their_own(typed: Path) -> None:
    specs = taskbench_specs(typed)
    assert [spec.name for spec in specs] == ["Image Downloader", "Image-to-Text", "Summarization"]
    generator = Generator((), synthetic=False, more=[specs], split=None, seed=1)
    chains = [generator.generate(number).example for number in range(60)]
    assert {len(example.target.steps) for example in chains} >= {1, 2, 3}
    for example in chains:
        assert len(example.given.candidates) <= 3 or example.target.refuse


def test_taskbench_requests_come_without_plans(tmp_path: Path, typed: Path) -> None:
    path = tmp_path / "user_requests.jsonl"
    path.write_text(json.dumps({"id": "1", "user_request": "Describe example.jpg"}) + "\n")
    (given,) = read_taskbench_requests(path, typed)
    assert given.task == "Describe example.jpg"
    assert len(given.candidates) == 4


def test_a_file_that_is_missing_or_malformed_is_named(tmp_path: Path, tools: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list(read_complextool(tmp_path / "nowhere.jsonl"))
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"id": 1}\n')
    for reader in (read_complextool, read_asynchow):
        with pytest.raises(DataError, match=r"broken\.jsonl, line 1"):
            list(reader(broken))
    with pytest.raises(DataError, match="not typed"):
        taskbench_specs(tools)
