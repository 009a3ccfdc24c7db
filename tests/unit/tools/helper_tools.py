"""Tools that misbehave on purpose; they run in child processes of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Inputs = Mapping[str, Sequence[Path]]
MB = 2**20


def write_result(output_dir: Path, text: str = "{}\n") -> list[dict[str, str]]:
    path = output_dir / "result.jsonl"
    path.write_text(text, encoding="utf-8")
    return [{"name": "result", "type": "application/jsonl", "uri": str(path)}]


def allocate(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    """Touch ``megabytes``, ``chunk`` at a time, and hold them for ``hold_s``."""
    blocks = []
    left = int(arguments["megabytes"])
    while left > 0:
        blocks.append(os.urandom(1) * (min(left, int(arguments.get("chunk", 10))) * MB))
        left -= int(arguments.get("chunk", 10))
        time.sleep(float(arguments.get("pause_s", 0.0)))
    time.sleep(float(arguments.get("hold_s", 0.2)))
    return write_result(output_dir)


def burn(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    """Use ``seconds`` of CPU time here, and as much in a grandchild that ends before the tool does."""
    code = f"import time\nwhile time.process_time() < {arguments['seconds']}: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    while time.process_time() < float(arguments["seconds"]):
        pass
    return write_result(output_dir)


def sleep_with_family(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    """Start a grandchild and one in a session of its own, note their pids, and sleep."""
    first = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    second = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)
    note = Path(arguments["note"])
    note.with_suffix(".partial").write_text(f"{os.getpid()} {first.pid} {second.pid}", encoding="utf-8")
    note.with_suffix(".partial").replace(note)
    time.sleep(120)
    return write_result(output_dir)


def fail(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    (output_dir / "partial.txt").write_text("half", encoding="utf-8")
    print("working on it")
    raise ValueError("scan.png is not a readable image")


def kill_self(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def say(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    """Return whatever the test asks for as outputs."""
    for name in arguments.get("write", []):
        (output_dir / name).write_text("x", encoding="utf-8")
    if "link" in arguments:
        (output_dir / "link.txt").symlink_to(arguments["link"])
    return list(arguments["outputs"])


def environment(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    """Record environment, affinity and thread settings."""
    import json

    facts = {"environ": dict(os.environ), "cores": sorted(os.sched_getaffinity(0)), "cwd": str(Path.cwd())}
    return write_result(output_dir, json.dumps(facts))


def copy(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> list[dict[str, str]]:
    """Join all inputs into one file after ``seconds``."""
    time.sleep(float(arguments.get("seconds", 0)))
    return write_result(output_dir, "".join(path.read_text() for paths in inputs.values() for path in paths))
