"""What the plugin adds to Airflow's web pages: the Plan tab, the step tab and the API behind them."""

from __future__ import annotations

from typing import Any

__all__ = ["FASTAPI_APPS", "PLAN_ROUTE", "REACT_APPS", "STEP_ROUTE", "URL_PREFIX"]

URL_PREFIX = "/tomas"
PLAN_ROUTE = "tomas-plan"
"""The Plan tab lies at ``dags/DAG/runs/RUN/plugin/tomas-plan``; ``?step=ID`` selects a step."""
STEP_ROUTE = "tomas-step"

# Addresses without a leading slash survive a reverse proxy with a path prefix. A name becomes a key on
# the page's globalThis, so it must not be that of anything a browser defines.
REACT_APPS: list[dict[str, Any]] = [
    {
        "name": "TOMAS Plan",
        "bundle_url": "tomas/static/plan_app.js",
        "destination": "dag_run",
        "url_route": PLAN_ROUTE,
        "icon": "tomas/static/icon.svg",
        "icon_dark_mode": "tomas/static/icon_dark.svg",
    },
    {
        "name": "TOMAS Step",
        "bundle_url": "tomas/static/step_app.js",
        "destination": "task_instance",
        "url_route": STEP_ROUTE,
        "icon": "tomas/static/icon.svg",
        "icon_dark_mode": "tomas/static/icon_dark.svg",
    },
]


class _LazyApp:
    """The API, imported at its first request: plugins load in every process, only the API server serves."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from tomas.airflow.api import app

        await app(scope, receive, send)


FASTAPI_APPS: list[dict[str, Any]] = [{"app": _LazyApp(), "url_prefix": URL_PREFIX, "name": "TOMAS API"}]
