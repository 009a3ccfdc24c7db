"""The registry file: what ships, and how bad rows are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tomas.errors import DataError, UnknownToolError
from tomas.schema import CommandRunner
from tomas.tools.availability import availability, find_command
from tomas.tools.registry import Registry

FOUNDING = {
    "image_classification",
    "text_summarization",
    "image_captioning",
    "object_detection",
    "machine_translation",
    "super_resolution",
    "visual_question_answering",
}
MODEL_TOOLS = {"image_captioning", "machine_translation", "visual_question_answering"}


def row(**fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "name": "count_lines",
        "family": "text",
        "description": "Count lines.",
        "inputs": [{"name": "documents", "type": "text/plain"}],
        "outputs": [{"name": "counts", "type": "text/plain"}],
        "input_size": {"small_max_bytes": 10, "medium_max_bytes": 20},
        "runner": {"kind": "command", "argv": ["wc", "-l", "{input}", "{output}"], "output_suffix": ".txt"},
    }
    return base | fields


def written(tmp_path: Path, rows: Any) -> Path:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_shipped_registry_holds_the_founding_tools_in_two_languages(registry: Registry) -> None:
    assert set(registry.names) >= FOUNDING
    for tool in registry:
        assert tool.description_zh, tool.name
        text = "".join(tool.aliases)
        assert any("\u4e00" <= char <= "\u9fff" for char in text), tool.name
        assert any(char.isascii() and char.isalpha() for char in text), tool.name


def test_every_tool_runs_here_except_those_whose_model_is_absent(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TOMAS_CAPTIONING_MODEL", "TOMAS_TRANSLATION_MODEL", "TOMAS_VQA_MODEL"):
        monkeypatch.delenv(name, raising=False)
    assert {tool.name for tool in registry if not availability(tool).ok} == MODEL_TOOLS
    state = availability(registry.get("machine_translation"))
    assert "TOMAS_TRANSLATION_MODEL is not set" in state.reason
    assert "set TOMAS_TRANSLATION_MODEL" in state.remedy


def test_unknown_tool_offers_near_names(registry: Registry) -> None:
    with pytest.raises(UnknownToolError, match="Did you mean object_detection"):
        registry.get("object_detections")


def test_fingerprint_ignores_order_and_sees_changes(registry: Registry) -> None:
    turned = Registry(reversed(list(registry)))
    assert turned.fingerprint() == registry.fingerprint()
    changed = registry.get("object_detection").model_copy(update={"max_cores": 7})
    assert registry.with_tools([changed]).fingerprint() != registry.fingerprint()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(), row(name="b", family="")], ["row 2", "tool b", "field family"]),
        ([row(), row()], ["row 2", "field name", "already in row 1"]),
        ([row(input_size={"small_max_bytes": 5, "medium_max_bytes": 5})], ["row 1", "field input_size", "greater"]),
        ([row(colour="red")], ["row 1", "field colour"]),
        ([row(inputs=[])], ["row 1", "field inputs"]),
        ([row(arguments={"type": "object", "properties": {"a": {"type": "nonsense"}}})], ["row 1", "arguments"]),
        ([row(arguments={"type": "array"})], ["row 1", "field arguments", "type object"]),
        (["text"], ["row 1"]),
        ({"tools": []}, ["holds a dict"]),
    ],
)
def test_bad_rows_name_file_row_and_field(tmp_path: Path, rows: Any, expected: list[str]) -> None:
    path = written(tmp_path, rows)
    with pytest.raises(DataError) as caught:
        Registry.load(path)
    for part in [str(path), *expected]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["wc", "{input}"], "{output} is missing"),
        (["wc", "{input}", "{output}", "{shell}"], "unknown placeholder"),
        (["wc", "{input}", "{output}", "{arguments.size}"], "no value in every run"),
        (["{input}", "{output}"], "executable"),
    ],
)
def test_command_templates_are_checked_at_load(tmp_path: Path, argv: list[str], expected: str) -> None:
    runner = {"kind": "command", "argv": argv, "output_suffix": ".txt"}
    with pytest.raises(DataError, match=expected):
        Registry.load(written(tmp_path, [row(runner=runner)]))


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        Registry.load(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("[{]", encoding="utf-8")
    with pytest.raises(DataError, match="line 1, column 3"):
        Registry.load(tmp_path / "bad.json")


def test_commands_are_found_by_variable_path_and_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    bundled = find_command("ffmpeg")
    assert bundled is not None
    assert "imageio_ffmpeg" in str(bundled)
    assert find_command("no-such-command") is None
    own = tmp_path / "ffmpeg"
    own.write_text("#!/bin/sh\n", encoding="utf-8")
    own.chmod(0o755)
    assert find_command("ffmpeg") == own
    monkeypatch.setenv("TOMAS_COMMAND_FFMPEG", str(bundled))
    assert find_command("ffmpeg") == bundled


def test_command_tools_write_what_they_declare(registry: Registry) -> None:
    commands = [tool for tool in registry if isinstance(tool.runner, CommandRunner)]
    assert {tool.name for tool in commands} == {"video_transcoding", "audio_extraction"}
