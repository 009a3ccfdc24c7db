"""The processes of a Postgres server on a data folder: which of them live, and how what a dead server left ends."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil

__all__ = ["end_orphans", "is_ready", "running", "server_pids"]


def running(data_dir: Path) -> tuple[int, int] | None:
    """(pid, port) of a live server on a folder, read from its lock file."""
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
        pid, port = int(lines[0]), int(lines[3])
    except (OSError, ValueError, IndexError):
        return None
    # A process id is used again after a crash: only a postgres that works in this folder counts.
    return (pid, port) if pid in server_pids(data_dir) else None


def server_pids(data_dir: Path) -> list[int]:
    """The server and its children, zombies left out."""
    found = []
    for process in psutil.process_iter(["name"]):
        if not str(process.info["name"]).startswith("postgres"):
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == data_dir.resolve():
                found.append(process.pid)
    return found


def end_orphans(data_dir: Path, timeout_s: float) -> None:
    """Wait for the children of a dead server (they notice and leave); then kill them."""
    deadline = time.monotonic() + timeout_s
    while orphans := server_pids(data_dir):
        if time.monotonic() > deadline:
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def is_ready(data_dir: Path, port: int) -> bool:
    """Whether the server on a folder takes connections at a port."""
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[3].strip() == str(port) and lines[7].strip() == "ready"
