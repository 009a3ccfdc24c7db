"""Executions of workflow tasks, read from CSV files: what was asked, what was used, and when it was known."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from tomas.errors import DataError

__all__ = ["GB", "Task", "read_traces"]

GB = 1e9
"""Bytes of a GB in this benchmark: that of the published figures, not that of TOMAS."""

_NEEDED = ("process", "memory", "peak_rss", "realtime", "rchar", "submit", "complete")


@dataclass(frozen=True)
class Task:
    """One execution that ended well.

    :ivar input_bytes: bytes read, which stand for the size of the input; known only where inputs exist.
    :ivar submit_ms: when its memory had to be chosen; ``complete_ms``: when its peak became known.
    """

    process: str
    request_gb: float
    peak_gb: float
    runtime_ms: float
    input_bytes: float
    cores: float
    submit_ms: float
    complete_ms: float

    @property
    def family(self) -> str:
        """The software that a process runs: the last part of its qualified name."""
        return self.process.rsplit(":", 1)[-1]


def read_traces(folder: Path) -> dict[str, list[Task]]:
    """All workflows of a folder, in the order of their files; failed and unmeasured executions are left out.

    :raises DataError: there is no CSV file, or one lacks a column.
    """
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise DataError(f"{folder} holds no CSV file.", remedy="Name the folder of the traces.")
    return {path.stem: _read(path) for path in paths}


def _read(path: Path) -> list[Task]:
    tasks: list[Task] = []
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
        if missing:
            raise DataError(f"{path} lacks the columns {', '.join(missing)}.", remedy="Check the file's header.")
        for row in reader:
            try:
                peak = float(row["peak_rss"])
                read = float(row["rchar"])
            except ValueError:
                continue
            if peak <= 0 or row.get("status", "COMPLETED") != "COMPLETED":
                continue
            tasks.append(
                Task(
                    process=row["process"],
                    request_gb=float(row["memory"]) / GB,
                    peak_gb=peak / GB,
                    runtime_ms=float(row["realtime"]),
                    input_bytes=read,
                    cores=float(row.get("cpus") or 1.0),
                    submit_ms=float(row["submit"]),
                    complete_ms=float(row["complete"]),
                )
            )
    if not tasks:
        raise DataError(f"{path} holds no measured execution.", remedy="Check the columns peak_rss and rchar.")
    return tasks
