"""``python -m tomas.training.generate`` as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tomas.training.generate import read_examples


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tomas.training.generate", *arguments], capture_output=True, text=True, check=False
    )


def test_it_writes_labelled_examples_and_says_what_they_are(tmp_path: Path) -> None:
    out = tmp_path / "examples.jsonl.gz"
    done = run(
        "--count", "30", "--seed", "4", "--out", str(out), "--labels", "--cache", str(tmp_path), "--language", "zh"
    )
    assert done.returncode == 0, done.stderr
    assert "30 examples in" in done.stdout
    assert "labels" in done.stdout
    assert "answer: plan" in done.stdout
    assert "labelled 1.00 (median 1.00), 0 of" in done.stdout
    examples = list(read_examples(out))
    assert len(examples) == 30
    assert {example.given.language for example in examples} == {"zh"}
    assert any(example.modes for example in examples)
    first = out.read_bytes()
    assert run("--count", "30", "--seed", "4", "--out", str(out), "--labels", "--language", "zh").returncode == 0
    assert out.read_bytes() == first


def test_a_missing_registry_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    done = run("--count", "1", "--registry", str(tmp_path / "none.json"))
    assert done.returncode == 2
    assert "none.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_training_data_need_no_torch() -> None:
    code = "import sys, tomas.training.generate; sys.exit('torch' in sys.modules or 'ortools' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
