"""Turning what a user names (a file, a folder, a glob, a list) into a typed request input."""

from __future__ import annotations

import glob
import mimetypes
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from tomas.errors import DataError
from tomas.schema import RequestInput

__all__ = ["local_files", "media_type_of", "request_input"]

_OWN_TYPES = {
    ".jsonl": "application/jsonl",
    ".wav": "audio/wav",  # the mimetypes module of some Pythons says audio/x-wav
    ".ndjson": "application/jsonl",
    # Text by another name: what takes plain text takes these.
    ".md": "text/plain",
    ".rst": "text/plain",
    ".log": "text/plain",
    ".webp": "image/webp",
    ".parquet": "application/vnd.apache.parquet",
}
_FALLBACK_TYPE = "application/octet-stream"


def media_type_of(name: str) -> str:
    """The media type of a file name, by its suffix; ``application/octet-stream`` if it says nothing."""
    suffix = Path(urlsplit(name).path if "://" in name else name).suffix.lower()
    return _OWN_TYPES.get(suffix) or mimetypes.types_map.get(suffix, _FALLBACK_TYPE)


def request_input(name: str, value: Any, *, base_dir: Path | None = None) -> RequestInput:
    """Describe one input.

    :param name: name of the input, for messages.
    :param value: a path, ``file://`` URI, folder or glob; a list of them; another URI, taken as it is;
        a mapping with ``type`` and ``uris``; or a :class:`~tomas.schema.RequestInput`.
    :param base_dir: what relative paths refer to; default the current folder.
    :raises DataError: if nothing is found, or the files are of different kinds.
    """
    if isinstance(value, RequestInput):
        return value
    declared: str | None = None
    if isinstance(value, Mapping):
        unknown = set(value) - {"type", "uris", "bytes"}
        if unknown or "uris" not in value:
            raise DataError(
                f"Input {name!r} is a mapping with {sorted(value)}.",
                remedy="Give 'uris' (a list) and, if you like, 'type' and 'bytes'.",
            )
        if value.get("bytes") is not None:
            return _validated(name, dict(value))
        declared, value = value.get("type"), value["uris"]
    entries: list[str]
    if isinstance(value, str | Path):
        entries = [str(value)]
    elif isinstance(value, Sequence) and all(isinstance(item, str | Path) for item in value):
        entries = [str(item) for item in value]
    else:
        raise DataError(
            f"Input {name!r} is a {type(value).__name__}.",
            remedy="Give a path, folder, glob, URI, or a list of them.",
        )
    uris: list[str] = []
    total: int | None = 0
    for entry in entries:
        files = local_files(name, entry, base_dir=base_dir)
        if files is None:
            uris.append(entry)
            total = None
            continue
        uris.extend(str(path) for path in files)
        total = None if total is None else total + sum(path.stat().st_size for path in files)
    return _validated(name, {"type": declared or _common_type(name, uris), "uris": uris, "bytes": total})


def local_files(name: str, entry: str, *, base_dir: Path | None = None) -> list[Path] | None:
    """The local files that ``entry`` names, sorted; None if it is a URI of another kind.

    Hidden files and ``README*`` in a folder are left out: they describe the data.

    :raises DataError: if the entry names no file.
    """
    scheme = urlsplit(entry).scheme
    if scheme == "file":
        entry = unquote(urlsplit(entry).path)
    elif "://" in entry:
        return None
    path = (base_dir or Path.cwd()) / entry
    if path.is_file():
        return [path.resolve()]
    if path.is_dir():
        found = [item for item in path.iterdir() if item.is_file()]
        found = [
            item for item in found if not item.name.startswith(".") and not item.name.upper().startswith("README")
        ]
    else:
        found = [Path(item) for item in glob.glob(str(path)) if Path(item).is_file()]  # noqa: PTH207 - absolute pattern
    if not found:
        raise DataError(
            f"Input {name!r}: {entry!r} names no file in {base_dir or Path.cwd()}.",
            remedy="Correct the path, or use an absolute one.",
        )
    return sorted(item.resolve() for item in found)


def _common_type(name: str, uris: Sequence[str]) -> str:
    types = Counter(media_type_of(uri) for uri in uris)
    if len(types) == 1:
        return next(iter(types))
    kinds = {media.partition("/")[0] for media in types}
    if len(kinds) == 1:
        return f"{kinds.pop()}/*"
    raise DataError(
        f"Input {name!r} mixes {', '.join(sorted(types)) or 'no files'}.",
        remedy="Give one input per kind of file, or name the 'type'.",
    )


def _validated(name: str, fields: dict[str, Any]) -> RequestInput:
    try:
        return RequestInput.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise DataError(f"Input {name!r}, field {first['loc']}: {first['msg']}.", remedy="Correct it.") from None
