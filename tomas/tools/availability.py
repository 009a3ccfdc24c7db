"""Whether a tool can run here, found cheaply: nothing of the tool is imported."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tomas.schema import CommandRunner, Requirement, Tool

__all__ = ["Availability", "availability", "find_command"]


@dataclass(frozen=True)
class Availability:
    """Whether a tool can run on this machine; if not, why, and what helps."""

    ok: bool
    reason: str = ""
    remedy: str = ""


def availability(tool: Tool) -> Availability:
    """Check the runner and every requirement; the first that fails is reported."""
    if tool.runner is None:
        return Availability(
            False,
            f"Tool {tool.name} has no runner.",
            "Give it a runner in the registry, or plan it with allow_unavailable only.",
        )
    if isinstance(tool.runner, CommandRunner) and find_command(tool.runner.argv[0]) is None:
        needed = next(
            (r.remedy for r in tool.requires if r.kind == "command" and r.name == tool.runner.argv[0]), ""
        )
        return Availability(
            False,
            f"Tool {tool.name} needs the command {tool.runner.argv[0]}, which is not found.",
            needed or f"Put {tool.runner.argv[0]} on PATH.",
        )
    for requirement in tool.requires:
        missing = _missing(requirement)
        if missing:
            return Availability(False, f"Tool {tool.name} {missing}.", requirement.remedy)
    return Availability(True)


def find_command(name: str) -> Path | None:
    """The executable behind a command's first word, as an absolute path.

    Looked for in this order: the environment variable ``TOMAS_COMMAND_<NAME>`` (upper case, other
    characters as ``_``), an absolute path, ``PATH``, and for ``ffmpeg`` the binary in the wheel of
    imageio-ffmpeg. None where there is none.
    """
    variable = "TOMAS_COMMAND_" + "".join(c if c.isalnum() else "_" for c in name.upper())
    given = os.environ.get(variable)
    if given:
        path = Path(given)
        return path.absolute() if path.is_file() and os.access(path, os.X_OK) else None
    found = shutil.which(name)
    if found:
        return Path(found).absolute()
    return _bundled_ffmpeg() if name == "ffmpeg" else None


def _bundled_ffmpeg() -> Path | None:
    spec = importlib.util.find_spec("imageio_ffmpeg")
    if spec is None or spec.origin is None:
        return None
    binaries = sorted((Path(spec.origin).parent / "binaries").glob("ffmpeg-*"))
    return next((path for path in binaries if os.access(path, os.X_OK)), None)


def _missing(requirement: Requirement) -> str:
    if requirement.kind == "module":
        if importlib.util.find_spec(requirement.name.partition(".")[0]) is None:
            return f"needs the Python module {requirement.name}, which is not installed"
    elif requirement.kind == "command":
        if find_command(requirement.name) is None:
            return f"needs the command {requirement.name}, which is not found"
    else:
        value = os.environ.get(requirement.name, "")
        if not value:
            return f"needs a model, and the environment variable {requirement.name} is not set"
        if not Path(value).exists():
            return f"needs the path in {requirement.name}, and {value} does not exist"
    return ""
