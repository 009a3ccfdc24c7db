"""What a user names becomes a typed input; what cannot is one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tomas.errors import DataError
from tomas.planner.inputs import media_type_of, request_input


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.md", ".hidden", "README.md"):
        (tmp_path / name).write_text("1234")
    return tmp_path


def test_a_folder_is_its_files_in_order_without_what_describes_them(folder: Path) -> None:
    found = request_input("documents", str(folder))
    assert [Path(uri).name for uri in found.uris] == ["a.md", "b.txt"]
    assert (found.type, found.bytes) == ("text/plain", 8)


def test_globs_lists_relative_paths_and_file_uris_name_the_same_file(folder: Path) -> None:
    wanted = [str(folder / "b.txt")]
    assert request_input("d", "*.txt", base_dir=folder).uris == wanted
    assert request_input("d", ["b.txt"], base_dir=folder).uris == wanted
    assert request_input("d", (folder / "b.txt").as_uri()).uris == wanted
    assert request_input("d", {"uris": ["b.txt"], "type": "text/plain"}, base_dir=folder).uris == wanted


def test_an_address_elsewhere_is_taken_as_it_is_and_has_no_size() -> None:
    found = request_input("images", "s3://bucket/day/cat.PNG")
    assert (found.type, found.uris, found.bytes) == ("image/png", ["s3://bucket/day/cat.PNG"], None)


def test_kinds_of_one_family_get_its_wildcard() -> None:
    assert request_input("images", ["s3://b/a.png", "s3://b/c.jpg"]).type == "image/*"


@pytest.mark.parametrize("value", ["no/such/file", 7, [1, 2], {"type": "text/plain"}, {"uris": ["x"], "typo": 1}])
def test_what_names_nothing_is_refused_with_the_name_of_the_input(value: object) -> None:
    with pytest.raises(DataError, match="'documents'"):
        request_input("documents", value)


def test_mixed_kinds_are_refused(folder: Path) -> None:
    (folder / "c.png").write_bytes(b"")
    with pytest.raises(DataError, match="mixes image/png, text/plain"):
        request_input("documents", folder)


def test_types_do_not_depend_on_case_or_on_this_python() -> None:
    assert media_type_of("SPEECH.WAV") == "audio/wav"
    assert media_type_of("x.unknown") == "application/octet-stream"
