"""The benchmark of large configurations, on small ones: every part is timed, and weights play no part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.planner_7b import main
from tomas.model.config import ArchitectureConfig, load_config


def test_it_plans_on_the_processor_and_ends_in_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--config", "tiny", "--device", "cpu", "--steps", "3", "--tools", "8", "--count", "2", "--warm", "1"]
    assert main(options) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["device"], line["requests"], line["steps"]) == ("cpu", 2, 3)
    assert 4_000_000 < line["parameters"] < 5_000_000
    assert line["weights_gb"] < line["peak_gb"]
    parts = line["prompt_ms_p50"] + 3 * line["step_ms_p50"] + line["finish_ms_p50"]
    assert 0 < line["step_ms_p50"] < line["plan_ms_p50"] < 3 * parts
    assert line["plans_per_s"] > 0
    assert 20 < line["prompt_positions_p50"] <= 128


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "tiny"]) == 2
    assert "no GPU" in capsys.readouterr().err


def test_a_pretrained_configuration_needs_no_files_of_its_backbone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The 7B configuration with a smaller decoder: bfloat16, adapters, an output layer of its own."""
    large = load_config("qwen2_5_7b")
    shape = ArchitectureConfig(
        hidden_size=128, layers=2, heads=4, kv_heads=2, ffn=256, vocab_size=9000, tie_embeddings=False
    )
    backbone = large.model.backbone.model_copy(update={"architecture": shape})
    small = large.model_copy(update={"model": large.model.model_copy(update={"backbone": backbone})})
    path = tmp_path / "small.yaml"
    path.write_text(small.model_dump_json())
    options = [
        "--config",
        str(path),
        "--device",
        "cpu",
        "--steps",
        "3",
        "--tools",
        "8",
        "--count",
        "2",
        "--warm",
        "0",
    ]
    assert main(options) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["requests"] == 2
    assert line["prompt_positions_p50"] > 20
