"""Tools: the registry, the tables around it, and measured runs in limited child processes."""

from tomas.tools.availability import Availability, availability, find_command
from tomas.tools.data import load_profiles, load_timeline, load_worker_classes, save_profiles
from tomas.tools.registry import Registry

__all__ = [
    "Availability",
    "Registry",
    "availability",
    "find_command",
    "load_profiles",
    "load_timeline",
    "load_worker_classes",
    "save_profiles",
]
