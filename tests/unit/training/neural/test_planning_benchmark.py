"""The benchmark of planning: formats, metrics, baselines, and a whole run on small files."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import planning
from benchmarks.planning_baselines import bag_of_bigrams, retrieval
from benchmarks.planning_formats import Request, format_of, read_chains
from benchmarks.planning_metrics import chain_scores, f1, graph_scores
from benchmarks.planning_split import held_out
from tomas.errors import DataError
from tomas.model.example import ToolCard

TOOLS = {
    "alarm_set": "Sets an alarm clock",
    "alarm_cancel": "Removes an alarm",
    "train_query": "Looks up trains between cities",
    "weather_query": "Tells the weather of a city",
}
HOURS = ("six", "seven", "eight", "nine", "ten")
CITIES = ("Beijing", "Xian", "Lhasa", "Harbin")


def chain(number: int, task: str, *plan: str) -> dict[str, object]:
    """A row of UltraTool's format."""
    links = [{"source": a, "target": b} for a, b in pairwise(plan)]
    return {"id": str(number), "user_request": task, "task_nodes": [{"task": t} for t in plan], "task_links": links}


def rows() -> list[dict[str, object]]:
    """Two habits."""
    moved = [
        (f"Move my alarm from {a} to {b}", ("alarm_cancel", "alarm_set")) for a in HOURS for b in HOURS if a != b
    ]
    trips = [
        (f"Is there a train to {city} at {a} and does it rain", ("train_query", "weather_query"))
        for city in CITIES
        for a in HOURS
    ]
    return [chain(number, task, *plan) for number, (task, plan) in enumerate(moved + trips)]


def written(path: Path, content: list[dict[str, object]]) -> Path:
    """Rows as a file of JSON lines."""
    path.write_text("\n".join(json.dumps(row) for row in content), encoding="utf-8")
    return path


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """UltraTool's list of tools."""
    path = tmp_path / "tool_desc.json"
    path.write_text(json.dumps({"nodes": [{"id": name, "desc": text} for name, text in TOOLS.items()]}))
    return path


def test_formats_are_told_apart_by_their_fields(tmp_path: Path) -> None:
    assert format_of(written(tmp_path / "a.jsonl", rows())) == "ultratool"
    assert (
        format_of(written(tmp_path / "b.jsonl", [{"id": "1", "query": "x", "tools": {}, "dag": "1->2"}]))
        == "complextool"
    )
    assert (
        format_of(written(tmp_path / "c.jsonl", [{"id": 0, "title": "x", "steps": [], "edges": []}])) == "asynchow"
    )
    with pytest.raises(DataError, match="none of the known formats"):
        format_of(written(tmp_path / "d.jsonl", [{"id": 0}]))
    with pytest.raises(DataError, match="cannot be read"):
        format_of(tmp_path / "nowhere.jsonl")


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [*rows()[:2], {"id": "7", "user_request": "x", "task_nodes": [{}]}])
    with pytest.raises(DataError, match="line 3"):
        read_chains(path)


def test_metrics_are_means_over_requests_of_sets() -> None:
    right = [
        Request("1", "", ("a", "b", "c"), frozenset({("a", "b"), ("b", "c")})),
        Request("2", "", ("a", "b"), frozenset({("a", "b")})),
    ]
    found = chain_scores([("a", "b"), ("b", "a")], right)
    assert found == {
        "node_f1": pytest.approx((0.8 + 1.0) / 2, abs=1e-4),
        "link_f1": pytest.approx((2 / 3 + 0.0) / 2, abs=1e-4),
        "exact_set": 0.5,
    }
    assert f1((), ()) == 1.0
    assert f1(("a",), ()) == 0.0
    graphs = graph_scores([frozenset({(0, 1), (1, 2)}), frozenset()], [frozenset({(0, 1), (0, 2)}), frozenset()])
    assert graphs == {"edge_f1": 0.75, "exact_dag": 0.5}


def test_baselines_learn_what_is_plain_to_see(tmp_path: Path) -> None:
    known = read_chains(written(tmp_path / "a.jsonl", rows()))
    asked = [Request("x", "Please move the alarm from ten to five", ("alarm_cancel", "alarm_set"), frozenset())]
    assert bag_of_bigrams(known, asked) == [("alarm_cancel", "alarm_set")]
    cards = [ToolCard(name, f"{name.replace('_', ' ')}. {text}") for name, text in TOOLS.items()]
    assert retrieval([Request("x", "cancel the alarm", (), frozenset())], cards)[0][0] == "alarm_cancel"


def test_a_whole_run_beats_chance_and_names_its_weights(
    tmp_path: Path, tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = rows()
    train = written(tmp_path / "train.jsonl", [row for n, row in enumerate(every) if n % 5])
    asked = written(tmp_path / "asked.jsonl", every[::5])
    arguments = ["--train", str(train), "--requests", str(asked), "--tools", str(tools), "--plain", "--epochs", "2"]
    assert planning.main([*arguments, "--checkpoint", str(tmp_path / "planner")]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["node_f1"] > 0.9
    assert line["exact_set"] > 0.8
    assert line["requests"] == len(every[::5])
    assert line["encoder"] is None
    assert set(line["baselines"]) == {"retrieval_planner", "bag_of_bigrams", "prior_alone"}
    again = ["--requests", str(asked), "--tools", str(tools), "--checkpoint", str(tmp_path / "planner"), "--plain"]
    assert planning.main(again) == 0
    second = json.loads(capsys.readouterr().out.splitlines()[-1])
    keys = ("node_f1", "link_f1", "exact_set", "weights_sha256")
    assert [second[key] for key in keys] == [line[key] for key in keys]


def test_graphs_are_learned_and_measured_beside_the_listed_chain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edges = [["1", "3"], ["2", "3"], ["START", "1"], ["3", "END"]]
    dishes = ("bread", "cake", "pie", "rolls", "pizza", "tarts", "buns", "scones", "naan", "pita")
    how: list[dict[str, object]] = []
    for number, what in enumerate(dishes):
        steps = [f"Mix the {what}", f"Heat the oven for {what}", f"Bake {what}"]
        how.append({"id": number, "title": f"How to bake {what}", "steps": steps, "edges": edges})
    train, asked = written(tmp_path / "t.jsonl", how), written(tmp_path / "a.jsonl", how[:4])
    assert planning.main(["--train", str(train), "--requests", str(asked), "--epochs", "1"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"edge_f1", "exact_dag", "ms_per_request", "weights_sha256", "baselines"} <= set(line)
    assert line["zero_shot"] is False
    assert 0.0 <= line["baselines"]["chain_as_listed"]["edge_f1"] < 1.0


def test_what_cannot_be_read_ends_with_status_2(tmp_path: Path) -> None:
    assert planning.main(["--requests", str(tmp_path / "nowhere.jsonl")]) == 2
    asked = written(tmp_path / "asked.jsonl", rows()[:2])
    assert planning.main(["--requests", str(asked)]) == 2


def test_what_is_held_out_is_not_learned_from_in_nearly_the_same_words() -> None:
    tasks = [
        f"Move the alarm of my {thing} please" for thing in ("brother", "sister", "uncle", "aunt", "cat", "dog")
    ]
    same = ["Is there a train to Harbin tomorrow morning", "Is there a train to Harbin tomorrow morning?"]
    seen = set()
    for seed in range(8):
        learned, out = held_out([*tasks, *same], 3, seed)
        assert sorted(learned + out) == list(range(8))
        assert 2 <= len(out) <= 3
        assert (6 in out) == (7 in out)
        seen.add(tuple(out))
        assert held_out([*tasks, *same], 3, seed) == (learned, out)
    assert len(seen) > 2


def test_a_part_of_one_file_is_held_out(tmp_path: Path, tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "all.jsonl", rows())
    given = ["--requests", str(file), "--tools", str(tools), "--plain", "--epochs", "1", "--candidates", "4"]
    assert planning.main([*given, "--hold-out", "8", "--no-baselines"]) == 0
    line = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert line["requests"] + line["trained_on"] == len(rows())
    assert 0 < line["requests"] <= 8
    with pytest.raises(SystemExit):
        planning.main([*given, "--hold-out", "8", "--train", str(file)])
