"""``tomas sizes`` as a user meets it."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from tomas.cli.app import app


def test_a_tool_is_shown_with_what_its_next_run_gets_and_how_far_to_trust_it(tmp_path: Path) -> None:
    target = tmp_path / "sizes.png"
    done = CliRunner().invoke(app, ["sizes", "image_classification", "--picture", str(target)])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "Runs of image_classification" in text
    assert "each run sized from those before it: enough in" in text
    assert "It rests on its own runs" in text
    assert target.stat().st_size > 10_000


def test_an_input_size_is_asked_for_and_an_unknown_tool_refused() -> None:
    done = CliRunner().invoke(app, ["sizes", "image_classification", "--input-bytes", "5e8"])
    assert "500 MB" in done.output
    refused = CliRunner().invoke(app, ["sizes", "nosuch"])
    assert refused.exit_code != 0
    assert "There is no tool nosuch" in str(refused.exception)
