"""A model's own words about its plan, written after the release: no step waits for them, no T_inf counts them."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable

from tomas.schema import Plan
from tomas.store import Store

__all__ = ["hold", "narrate", "tidy"]

_log = logging.getLogger(__name__)

_MOST = 64
_MOST_CHARS = 4000
_pending: OrderedDict[str, Callable[[], str]] = OrderedDict()
_lock = threading.Lock()


def hold(plan_id: str, tell: Callable[[], str]) -> None:
    """Keep what will write the words about a plan; of many plans that nobody asks about, the newest."""
    with _lock:
        _pending[plan_id] = tell
        while len(_pending) > _MOST:
            _pending.popitem(last=False)


def narrate(plan: Plan, store: Store | None = None) -> Plan:
    """The plan with its planner's own words, if it was made in this process and its planner has any.

    Call it when the plan has been handed on: writing takes about as long as planning. A failure costs the words and
    is logged, never raised: the plan is released and runs.

    :param store: where the plan is stored; it gets the words once.
    """
    with _lock:
        tell = _pending.pop(plan.id, None)
    if tell is None:
        return plan
    try:
        words = tidy(tell())
        if not words:
            return plan
        if store is not None:
            store.set_plan_narrative(plan.id, words)
    except Exception as error:  # noqa: BLE001  (whatever a model or the store raises, the plan stands)
        _log.warning("Plan %s has no words of its planner: %s", plan.id, error)
        return plan
    return plan.model_copy(update={"narrative": words})


def tidy(words: str) -> str:
    """Text of a model as it may be stored and shown: no control characters, and bounded."""
    kept = "".join(char for char in words if char == "\n" or char.isprintable())
    return kept.strip()[:_MOST_CHARS]
