"""Tells TOMAS's store which queues this Celery worker consumes.

Loaded by the policy in the main process of ``airflow celery worker`` alone.
"""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["install"]

log = logging.getLogger(__name__)


def install() -> None:
    """Announce the worker's queues as soon as it is ready, withdraw when it shuts down."""
    try:
        from celery.signals import worker_ready, worker_shutdown  # type: ignore[import-untyped]
    except ImportError:
        return
    worker_ready.connect(_announce, weak=False)
    worker_shutdown.connect(_withdraw, weak=False)


_current: list[Any] = []


def _announce(sender: Any = None, **_: Any) -> None:
    from tomas.airflow.hook import TomasHook
    from tomas.store.presence import Announcement

    try:
        settings = TomasHook().settings()
    except Exception as error:  # noqa: BLE001  a worker without TOMAS's connection still serves other tasks
        log.info("This worker does not announce its queues to TOMAS: %s", error)
        return
    if settings.store.dsn is None:
        return
    announcement = Announcement(
        settings.store.dsn.get_secret_value(),
        [str(name) for name in sender.app.amqp.queues.consume_from],
        connect_timeout_s=settings.store.connect_timeout_s,
    )
    announcement.start()
    _current.append(announcement)


def _withdraw(**_: Any) -> None:
    while _current:
        _current.pop().stop()
