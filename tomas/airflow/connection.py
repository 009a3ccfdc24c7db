"""The store as the API server opens it: through the connection, once per process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tomas.config import Settings, get_settings
from tomas.errors import ConfigError

if TYPE_CHECKING:
    from tomas.store import Store

__all__ = ["close_store", "open_store"]

CONN_ID = "tomas_default"

_LOOK_AGAIN_S = 30.0
"""A page asks every few seconds, and a secrets backend may charge for each answer."""

_lock = threading.Lock()
_store: Store | None = None
_dsn = ""
_looked_at = -_LOOK_AGAIN_S


def open_store() -> Store:
    """The store of this process; follows the connection ``tomas_default`` when that changes.

    :raises ConfigError: there is neither the connection nor ``TOMAS__STORE__DSN``.
    """
    global _store, _dsn, _looked_at
    from tomas.store import Store

    with _lock:
        if _store is not None and time.monotonic() - _looked_at < _LOOK_AGAIN_S:
            return _store
        settings = _settings()
        dsn = settings.store.dsn.get_secret_value() if settings.store.dsn else ""
        if _store is None or dsn != _dsn:
            if _store is not None:
                _store.close()
            _store, _dsn = Store.from_settings(settings), dsn
        _looked_at = time.monotonic()
        return _store


def close_store() -> None:
    """Close the store of this process; the next :func:`open_store` opens it anew."""
    global _store, _dsn
    with _lock:
        if _store is not None:
            _store.close()
        _store, _dsn = None, ""


def _settings() -> Settings:
    from tomas.airflow.hook import connection_dsn

    base = get_settings()
    connection = _connection()
    if connection is None:
        if base.store.dsn is not None:
            return base
        raise ConfigError(
            f"Airflow has no connection {CONN_ID!r}.",
            remedy=f"Create it with type 'tomas', or set AIRFLOW_CONN_{CONN_ID.upper()} where the API server runs.",
        )
    changes = {"dsn": SecretStr(connection_dsn(connection))}
    return base.model_copy(update={"store": base.store.model_copy(update=changes)})


def _connection() -> Any:
    """Not through the Task SDK: that asks the API server over the task's channel, and this is that server."""
    from airflow.exceptions import AirflowNotFoundException
    from airflow.models import Connection

    try:
        return Connection.get_connection_from_secrets(CONN_ID)
    except AirflowNotFoundException:
        return None
