"""The comparison that ends ``make train-tiny``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[4] / "scripts" / "compare_evaluations.py"


def compare(folder: Path, shipped: dict[str, object], found: dict[str, object]) -> subprocess.CompletedProcess[str]:
    for name, data in (("shipped", shipped), ("found", found)):
        (folder / name).write_text(f"a table\n{json.dumps(data)}\n")
    command = [sys.executable, str(SCRIPT), str(folder / "shipped"), str(folder / "found")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def figures(node_f1: float, geometric: float) -> dict[str, object]:
    return {
        "generated": {"all": {"node_f1": node_f1, "edge_f1": None}, "1 step": {"node_f1": 0.0}},
        "makespan_given": {"model": {"geometric": geometric}},
    }


def test_equal_and_better_figures_pass(tmp_path: Path) -> None:
    done = compare(tmp_path, figures(0.8, 1.1), figures(0.95, 1.0))
    assert done.returncode == 0
    assert "2 figures compared, 0 worse" in done.stdout


def test_a_worse_figure_fails_whichever_way_is_better(tmp_path: Path) -> None:
    assert compare(tmp_path, figures(0.8, 1.1), figures(0.76, 1.14)).returncode == 0
    for found in (figures(0.74, 1.1), figures(0.8, 1.2)):
        done = compare(tmp_path, figures(0.8, 1.1), found)
        assert done.returncode == 1
        assert done.stdout.count("WORSE") == 1


def test_one_language_may_be_off_by_half_as_much_again(tmp_path: Path) -> None:
    for found, code in ((0.74, 0), (0.72, 1)):
        shipped, here = ({"written": {"zh": {"node_f1": value}}} for value in (0.8, found))
        assert compare(tmp_path, shipped, here).returncode == code


def test_results_without_common_figures_do_not_pass(tmp_path: Path) -> None:
    assert compare(tmp_path, figures(0.8, 1.1), {"generated": {}}).returncode == 1
    (tmp_path / "found").write_text("nothing")
    command = [sys.executable, str(SCRIPT), str(tmp_path / "shipped"), str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "holds no result" in done.stderr
