"""Pictures are really rendered, and read back."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.simulate.small import a_bin, from_then, step, work
from tomas.errors import DataError
from tomas.simulate import Job, SimulationResult, simulate
from tomas.simulate.picture import check_picture, draw


def a_result(jobs: int = 3, bins: int = 2) -> SimulationResult:
    flow = work(
        *(replace(step(f"s{i}", 50 + i, 2, place=f"b{1 + i % bins}"), tool="图像 $分类$ _x^") for i in range(6)),
        name="计划 $a_1$",
    )
    places = [a_bin("b1", 4, 8, from_then(60, cores=1), from_then(90, lost=True), from_then(120))]
    places += [a_bin(f"b{2 + i}") for i in range(bins - 1)]
    return simulate([Job(flow, 30.0 * i) for i in range(jobs)], places, retries=3)


@pytest.mark.parametrize(("name", "magic"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.PDF", b"%PDF")])
def test_every_format_is_written_even_with_chinese_names_and_signs_of_formulas(
    name: str, magic: bytes, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(a_result(), tmp_path / name, title="对图片进行分类 $x_1$ <b>&")
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_the_picture_shows_bars_use_and_what_is_needed_beyond_it(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image", reason="matplotlib draws the pictures").imread
    draw(a_result(), tmp_path / "a.png")
    pixels = (image(str(tmp_path / "a.png"))[:, :, :3] * 255).round().astype(int)
    assert pixels.shape[1] > 1200

    def share(colour: tuple[int, int, int]) -> float:
        return float((abs(pixels - colour).sum(axis=2) < 12).mean())

    assert share((255, 255, 255)) > 0.4, "light"
    for colour in ((0x4C, 0x78, 0xA8), (0xF5, 0x85, 0x18), (0x54, 0xA2, 0x4B)):
        assert share(colour) > 0.005, "a bar of each job"
    assert share((0x9E, 0xCA, 0xE9)) > 0.01, "use"
    red = (pixels[:, :, 0] > 160) & (pixels[:, :, 1] < 130) & (pixels[:, :, 2] < 140)
    assert red.mean() > 0.001, "needed beyond what is free"


def test_many_bins_and_jobs_still_fit_a_page(tmp_path: Path) -> None:
    draw(a_result(jobs=40, bins=12), tmp_path / "a.png")
    image = pytest.importorskip("matplotlib.image", reason="matplotlib draws the pictures").imread
    assert image(str(tmp_path / "a.png")).shape[0] < 3500


def test_a_run_in_which_nothing_ran_can_be_drawn(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(simulate([Job(work(step("a", 1, slots=101)))], [a_bin()]), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_bad_names_are_refused_before_anything_is_simulated(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ends in none of \.pdf, \.png, \.svg"):
        check_picture(tmp_path / "a.gif")
    with pytest.raises(DataError, match="does not exist"):
        check_picture(tmp_path / "no" / "a.png")


def test_without_matplotlib_the_error_names_the_extra(tmp_path: Path) -> None:
    """In a fresh interpreter that cannot find matplotlib."""
    code = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name.startswith('matplotlib') else find(name, *rest)\n"
        "from pathlib import Path\n"
        "from tomas.simulate.picture import check_picture\n"
        "assert 'matplotlib' not in sys.modules\n"
        "check_picture(Path(sys.argv[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.png")],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert done.returncode == 1
    assert "pip install 'airflow-provider-tomas[plots]'" in done.stderr
