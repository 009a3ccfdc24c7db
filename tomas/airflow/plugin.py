"""The Airflow plugin: pages, API, links, and the listeners of the server components."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from tomas.airflow.links import PlanLink
from tomas.airflow.ui import FASTAPI_APPS, REACT_APPS

__all__ = ["TomasPlugin"]

_SERVERS = frozenset({"api-server", "scheduler", "triggerer", "standalone"})

if _SERVERS.intersection(sys.argv):
    from tomas.airflow import listeners

    listeners.install()


class TomasPlugin(AirflowPlugin):
    """Found through the entry point ``airflow.plugins``, or through the shim in the plugins folder."""

    name = "tomas"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = FASTAPI_APPS
    react_apps: ClassVar[list[dict[str, Any]]] = REACT_APPS
    operator_extra_links: ClassVar[list[Any]] = [PlanLink()]
