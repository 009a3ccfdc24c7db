"""``tomas model info``: parameters and memory, without weights."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.test_cli import flat, tomas


def test_the_7b_configuration_is_counted_without_its_weights() -> None:
    done = tomas("model", "info", "qwen2_5_7b", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 7.6e9 < found["parameters"] < 7.8e9
    assert 14 < found["stored_gb"] < 15
    assert set(found["training"]) == {"freeze_backbone", "lora", "full_finetune"}


def test_tables_name_every_panel() -> None:
    done = tomas("model", "info")
    assert done.returncode == 0, done.stderr
    text = flat(done.stdout)
    for part in ("tool encoder", "resource MLP", "temporal encoder", "allocation head", "key-value cache"):
        assert part in text


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: {backbone: {nmae: tiny}}")
    done = tomas("model", "info", "--config", str(file))
    assert done.returncode == 1
    assert "model.backbone.nmae" in flat(done.stderr)
