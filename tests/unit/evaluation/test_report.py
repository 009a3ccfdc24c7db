"""A checkpoint that knows a few requests by heart, measured as a user does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.unit.model import world as small
from tests.unit.neural.conftest import KNOWN, checkpoint, registry
from tomas.cli.app import app
from tomas.config import Settings
from tomas.errors import DataError, ModelUnavailable
from tomas.evaluation.ablation import VARIANTS
from tomas.evaluation.answers import answer, with_panels
from tomas.evaluation.cases import Allocation, Case
from tomas.evaluation.report import Wanted, evaluate
from tomas.evaluation.sensitivity import sensitivity
from tomas.model.batch import collate
from tomas.model.checkpoint import Checkpoint, load_checkpoint
from tomas.model.config import NeuralConfig
from tomas.model.example import ModeCard, PlanningExample, PlanningTarget, StepModes, StepTarget
from tomas.model.network import PlannerNetwork
from tomas.training.generate.fleet import Fleet

__all__ = ["checkpoint", "registry"]  # fixtures


@pytest.fixture
def requests_file(tmp_path: Path) -> Path:
    """What the checkpoint has learned, with the right answers."""
    rows = []
    for number, (task, inputs, chain) in enumerate(KNOWN):
        names = [name for name, _, _ in chain]
        rows.append(
            {
                "id": str(number),
                "language": "en",
                "task": task,
                "inputs": {name: item.type for name, item in inputs.items()},
                "tools": names,
                "edges": [[names[parent], name] for name, parents, _ in chain for parent in parents],
                "refuse": not names,
            }
        )
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_what_was_learned_by_heart_scores_full_marks(checkpoint: Path, requests_file: Path) -> None:
    report = evaluate(checkpoint, Wanted(requests=(requests_file,), generated=0), Settings())
    plans = report.written["all"]
    assert plans["requests"] == len(KNOWN)
    assert [plans[name] for name in ("node_f1", "edge_f1", "exact_plan", "tool_accuracy")] == [1.0] * 4
    assert [plans["refusal_precision"], plans["refusal_recall"]] == [1.0, 1.0]
    assert report.parse_success == 1.0
    assert report.recall["all, seen"]["top_n"] == 1.0
    assert report.recall["all, unseen"]["tools"] == 0
    assert "generated" not in report.calibration
    assert report.written["retrieval planner, all"]["node_f1"] is not None


def test_the_command_shows_tables_and_ends_with_json(checkpoint: Path, requests_file: Path, tmp_path: Path) -> None:
    picture, tables = tmp_path / "figures.png", tmp_path / "figures.md"
    told = CliRunner().invoke(
        app,
        [
            "evaluate", "--checkpoint", str(checkpoint), "--requests", str(requests_file), "--generated", "6",
            "--ablate", "--ablated", "2", "--picture", str(picture), "--markdown", str(tables),
            "--labels", str(tmp_path), "--json",
        ],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    assert "Ablation" in told.output
    line: dict[str, Any] = json.loads(told.stdout.splitlines()[-1])
    assert line["generated"]["all"]["requests"] == 6
    assert set(line["ablation"]) == {variant.name for variant in VARIANTS}
    assert line["allocation"]["all"]["labelled_plans"] >= 1
    assert line["makespan_given"]["model"]["plans"] == line["allocation"]["all"]["labelled_plans"]
    assert line["makespan_given"]["projected"]["infeasible"] == 0
    assert picture.stat().st_size > 10_000
    lines = tables.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| no feedback")]
    assert all(line.count("|") > 4 for line in lines if line.startswith("|"))
    kept = (tmp_path / "labels-1.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(kept) >= line["allocation"]["all"]["labelled_plans"]


def test_nothing_to_evaluate_and_no_weights_are_errors(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate(checkpoint, Wanted(generated=0), Settings())
    with pytest.raises(ModelUnavailable, match="manifest"):
        evaluate(tmp_path, Wanted(generated=1), Settings())


def test_a_variant_shares_the_weights_and_leaves_the_model_as_it_was(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    panels = loaded.config.model.panels.model_copy(update={"retrieval": False})
    blind = with_panels(loaded, panels)
    for name, value in loaded.network.named_parameters():
        assert value.data_ptr() == dict(blind.network.named_parameters())[name].data_ptr()
    assert loaded.config.model.panels.retrieval
    assert loaded.network.left.switches.retrieval
    given = small.given("Detect the objects in these photos", "image/png")
    assert answer(blind, given).refusal != answer(loaded, given).refusal


def _example(rng: np.random.Generator) -> tuple[PlanningExample, Case]:
    """One step that two classes can run alike; the right one is free."""
    given = small.given("Detect the objects in these photos", "image/png")
    free = int(rng.integers(2))
    given.curves[...] = 0.05
    given.curves[free] = 1.0
    modes = (StepModes(tuple(ModeCard(c, (2.0, 2.0, 0.0, 0.0), 4000.0, 5000.0, 1.0) for c in range(2))),)
    weights = (float(free == 0), float(free == 1))
    example = PlanningExample(given, PlanningTarget((StepTarget(0, mode_weights=weights),)), modes)
    fleet = Fleet(given.classes, given.capacity, (1, 1), given.curves, given.step_ms)
    allocation = Allocation(modes, (weights,), ((0.0,) * 4,), ((),), fleet, given.step_ms, 5000.0)
    return example, Case("x", given, ("object_detection",), frozenset(), allocation=allocation)


def test_a_model_that_avoids_busy_classes_moves_in_the_right_direction() -> None:
    config: NeuralConfig = small.small_config()
    tokenizer = small.tokenizer()
    torch.manual_seed(0)
    network = PlannerNetwork(config)
    rng = np.random.default_rng(0)
    drawn = [_example(rng) for _ in range(64)]
    cases = [case for _, case in drawn[:6]]
    checkpoint = Checkpoint(network, tokenizer, config, "x", {}, {})
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    network.train()
    for step in range(40):
        optimizer.zero_grad()
        rows = [example for example, _ in drawn[step % 4 * 16 : step % 4 * 16 + 16]]
        torch.autograd.backward(network.loss(collate(rows, tokenizer, config))["total"])
        optimizer.step()
    found = sensitivity(checkpoint, cases)
    assert found["class"]["cases"] == 6
    assert found["class"]["right"] == 1.0
    assert found["class"]["moved"] is not None
    assert found["class"]["moved"] > 0.5
    assert found["gpu"] == {"cases": 0.0, "right": None, "moved": None}
