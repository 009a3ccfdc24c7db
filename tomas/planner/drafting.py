"""Which planner drafts: the configured one, or the retrieval planner where that is missing, failing or slow."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from tomas.config import Settings, get_settings
from tomas.errors import (
    ConfigError,
    ModelUnavailable,
    NoToolMatches,
    TaskError,
    ToolUnavailable,
    UnboundInput,
    UnknownToolError,
)
from tomas.planner.base import ContextPlanner, Draft, Planner
from tomas.planner.outlook import Outlook
from tomas.planner.retrieval import RetrievalPlanner
from tomas.schema import PlannerInfo, PlanRequest
from tomas.tools.registry import Registry

__all__ = ["Breaker", "draft"]

_log = logging.getLogger(__name__)

GROUP = "tomas.planners"
_FAILURES = 3
_OPEN_S = 60.0
_SLOW_S = 30.0
_MODEL_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors")
"""What the shipped planners with a model cannot do without."""


@dataclass
class Breaker:
    """Stops asking a planner for a while after it failed (or was slow) several times in a row."""

    failures_allowed: int = _FAILURES
    open_s: float = _OPEN_S
    _failures: int = 0
    _opened_at: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def closed(self, now: float | None = None) -> bool:
        """Whether the planner may be asked; after ``open_s`` one call tries again."""
        now = time.monotonic() if now is None else now
        with self._lock:
            return self._opened_at is None or now - self._opened_at >= self.open_s

    def record(self, *, ok: bool, now: float | None = None) -> None:
        """Count a call."""
        now = time.monotonic() if now is None else now
        with self._lock:
            self._failures = 0 if ok else self._failures + 1
            self._opened_at = now if self._failures >= self.failures_allowed else None


_Key = tuple[str, Hashable]
"""Kind of a planner, and its own section of the settings."""

_breakers: dict[_Key, Breaker] = {}
_planners: dict[_Key, Planner] = {}
_retrieval: dict[float, RetrievalPlanner] = {}


def draft(
    kind: str, request: PlanRequest, registry: Registry, *, threshold: float, outlook: Outlook | None = None
) -> tuple[Draft, PlannerInfo]:
    """Draft with the planner called ``kind``, else with the retrieval planner.

    A planner that finds no tool for the task, or needs one that is not installed, has answered: its refusal stands.
    One whose weights are missing or altered is asked again each time: it answers soon, and recovers with its files.

    :param threshold: least retrieval score of a match.
    :param outlook: history and forecasts, for planners that look at them; its settings are those of the planner.
    :raises ConfigError: no planner has that name.
    :raises PlanError: the retrieval planner found no plan.
    """
    fallback = _retrieval.setdefault(threshold, RetrievalPlanner(threshold))
    if kind == fallback.kind:
        return fallback.draft(request, registry), PlannerInfo(kind=fallback.kind, version=fallback.version)
    key = _key(kind, outlook.settings if outlook is not None else get_settings())
    breaker = _breakers.setdefault(key, Breaker())
    reason = f"it failed {breaker.failures_allowed} times in a row"
    if breaker.closed():
        started = time.monotonic()
        try:
            planner = _load(key)
            if outlook is not None and isinstance(planner, ContextPlanner):
                result = planner.draft_in_context(request, registry, outlook)
            else:
                result = planner.draft(request, registry)
            breaker.record(ok=time.monotonic() - started < _SLOW_S)
            return result, PlannerInfo(kind=planner.kind, version=result.version or planner.version)
        except (ConfigError, TaskError, UnknownToolError):
            raise
        except (NoToolMatches, ToolUnavailable):
            breaker.record(ok=True)
            raise
        except Exception as error:  # noqa: BLE001  (whatever a model side raises, the fallback must plan)
            # A draft whose inputs cannot be bound is a poor one, and no sign of a broken planner.
            breaker.record(ok=isinstance(error, (UnboundInput, ModelUnavailable)))
            reason = f"{type(error).__name__}: {error}"[:500]
            _log.warning("Planner %s failed (%s); the retrieval planner takes over", kind, reason)
    info = PlannerInfo(kind=fallback.kind, version=fallback.version, fallback_from=kind, fallback_reason=reason)
    return fallback.draft(request, registry), info


def _key(kind: str, settings: Settings) -> _Key:
    return kind, getattr(settings, kind, None) if kind in Settings.model_fields else None


def _load(key: _Key) -> Planner:
    """The planner of an entry point, kept; where the settings have a section of its name it is given that."""
    if key not in _planners:
        kind, section = key
        points = importlib.metadata.entry_points(group=GROUP)
        found = next((point for point in points if point.name == kind), None)
        if found is None:
            names = ", ".join(sorted({point.name for point in points})) or "none"
            raise ConfigError(
                f"Setting TOMAS__PLANNER__KIND: there is no planner called {kind!r}; installed: {names}.",
                remedy="Name an installed planner, or install the package that provides it.",
            )
        make: Any = _import(found)
        _planners[key] = make() if section is None else make(section)
    return _planners[key]


def _import(point: importlib.metadata.EntryPoint) -> Any:
    missing = [name for name in _MODEL_PACKAGES if importlib.util.find_spec(name) is None]
    if missing and point.module.startswith("tomas.neural"):
        raise ModelUnavailable(
            f"The {point.name} planner needs {', '.join(missing)}, which is not installed.",
            remedy="Install it: pip install 'airflow-provider-tomas[model]'.",
        )
    return point.load()
