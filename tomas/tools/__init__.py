"""Tools: the registry, the tables around it, and measured runs in limited child processes.

Names are resolved on first use: the child process that runs a tool imports this package, and what it
imports counts as the tool's memory.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomas.tools.arguments import validate_arguments
    from tomas.tools.availability import Availability, availability, find_command
    from tomas.tools.data import load_profiles, load_timeline, load_worker_classes, save_profiles
    from tomas.tools.profile import profile_tool
    from tomas.tools.registry import Registry
    from tomas.tools.run import ToolRun, run_tool

__all__ = [
    "Availability",
    "Registry",
    "ToolRun",
    "availability",
    "find_command",
    "load_profiles",
    "load_timeline",
    "load_worker_classes",
    "profile_tool",
    "run_tool",
    "save_profiles",
    "validate_arguments",
]

_HOMES = {
    "Availability": "availability",
    "Registry": "registry",
    "ToolRun": "run",
    "availability": "availability",
    "find_command": "availability",
    "load_profiles": "data",
    "load_timeline": "data",
    "load_worker_classes": "data",
    "profile_tool": "profile",
    "run_tool": "run",
    "save_profiles": "data",
    "validate_arguments": "arguments",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
