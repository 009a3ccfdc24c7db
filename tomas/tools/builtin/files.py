"""What the built-in tools share: reading inputs with clear errors, writing records."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Inputs", "Outputs", "artifact", "cores", "read_text", "read_with_pillow", "write_jsonl"]

Inputs = Mapping[str, Sequence[Path]]
Outputs = list[dict[str, str]]

JSONL = "application/jsonl"


def artifact(name: str, media_type: str, path: Path) -> dict[str, str]:
    """An entry of a runner's result."""
    return {"name": name, "type": media_type, "uri": str(path)}


def write_jsonl(name: str, records: Iterable[Mapping[str, Any]], output_dir: Path) -> dict[str, str]:
    """Write ``NAME.jsonl`` and return its entry for the output port ``name``."""
    path = output_dir / f"{name}.jsonl"
    with path.open("w", encoding="utf-8") as handle:
        for record in records:
            handle.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
    return artifact(name, JSONL, path)


def read_text(path: Path) -> str:
    """The text of a document; ValueError names the file if it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text (byte {error.start})") from None


def read_with_pillow(path: Path) -> Image:
    """An image, upright and in RGB; ValueError names the file if it cannot be decoded."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path.name} is not a readable image: {error}") from None


def cores() -> int:
    """Whole cores allotted to this run."""
    return max(1, int(os.environ.get("TOMAS_CORES", "1")))
