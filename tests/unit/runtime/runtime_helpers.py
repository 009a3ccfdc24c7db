"""Tools of the runtime tests; they run in child processes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Inputs = Mapping[str, Sequence[Path]]


def note(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    """Wait a little and leave one record."""
    time.sleep(float(arguments.get("seconds", 0)))
    path = output_dir / "result.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    return [{"name": "result", "type": "application/jsonl", "uri": str(path)}]


def break_down(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    """Leave half an output and fail."""
    (output_dir / "half.jsonl").write_text("{", encoding="utf-8")
    raise RuntimeError("no luck")


def sleep_long(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    """Tell the pid and sleep."""
    Path(arguments["note"]).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(120)
    return []


def grow(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    """Fill so many megabytes, 8 at a time."""
    heap = []
    for _ in range(int(arguments["mb"]) // 8):
        heap.append(b"x" * 2**23)
        time.sleep(0.01)
    return note(inputs, {}, output_dir)
