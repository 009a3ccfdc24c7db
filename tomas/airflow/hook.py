"""The connection type ``tomas``: a Postgres that holds TOMAS's store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from pydantic import SecretStr

from tomas.config import Settings, get_settings
from tomas.errors import ConfigError, TomasError

if TYPE_CHECKING:
    from tomas.store import Store

__all__ = ["TomasHook", "connection_dsn"]

_PARTS = (("host", "host"), ("port", "port"), ("schema", "dbname"), ("login", "user"), ("password", "password"))


def connection_dsn(connection: Any) -> str:
    """The libpq connection string of an Airflow connection.

    :raises ConfigError: the connection names no database.
    """
    from psycopg2.extensions import make_dsn

    parts = {libpq: getattr(connection, name) for name, libpq in _PARTS if getattr(connection, name)}
    if "dbname" not in parts:
        raise ConfigError(
            f"Connection {connection.conn_id!r} names no database.",
            remedy="Put the name of TOMAS's database into its field 'Database' (schema).",
        )
    sslmode = connection.extra_dejson.get("sslmode")
    if sslmode:
        parts["sslmode"] = sslmode
    return str(make_dsn(**parts))


class TomasHook(BaseHook):
    """Gives the store that a connection of type ``tomas`` names.

    :param tomas_conn_id: id of the connection. ``TOMAS__STORE__DSN``, where it is set and the connection
        does not exist, takes its place.
    """

    conn_name_attr = "tomas_conn_id"
    default_conn_name = "tomas_default"
    conn_type = "tomas"
    hook_name = "TOMAS store"

    def __init__(self, tomas_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tomas_conn_id = tomas_conn_id

    def settings(self) -> Settings:
        """The settings of this process with the store of the connection.

        :raises ConfigError: neither the connection nor ``TOMAS__STORE__DSN`` is there.
        """
        from airflow.sdk.exceptions import AirflowNotFoundException

        base = get_settings()
        try:
            connection = self.get_connection(self.tomas_conn_id)
        except AirflowNotFoundException:
            if base.store.dsn is not None:
                return base
            raise ConfigError(
                f"Airflow has no connection {self.tomas_conn_id!r}.",
                remedy=f"Create it with type 'tomas' (Postgres in parts), or set "
                f"AIRFLOW_CONN_{self.tomas_conn_id.upper()} on workers and API server.",
            ) from None
        changes: dict[str, Any] = {"dsn": SecretStr(connection_dsn(connection))}
        timeout = connection.extra_dejson.get("statement_timeout_ms")
        if timeout:
            changes["statement_timeout_ms"] = int(timeout)
        return base.model_copy(update={"store": base.store.model_copy(update=changes)})

    def get_store(self) -> Store:
        """An open store; close it, or use it as a context manager.

        :raises StoreUnavailable: Postgres does not answer.
        """
        from tomas.store import Store

        return Store.from_settings(self.settings())

    def get_conn(self) -> Store:
        """The same as :meth:`get_store`."""
        return self.get_store()

    def test_connection(self) -> tuple[bool, str]:
        """Whether the store answers and its schema is the one this version needs."""
        try:
            with self.get_store() as store:
                store.check_schema()
                bins = len(store.bins())
        except TomasError as error:
            return False, str(error)
        return True, f"The store answers; it knows {bins} bins."
