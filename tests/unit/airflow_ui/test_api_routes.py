"""The mounted app without Airflow's server: who is let in, which files it serves, how errors look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow", reason="the API needs Airflow")

from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

import tomas.airflow
from tomas.airflow.ui import FASTAPI_APPS, REACT_APPS
from tomas.errors import ConfigError, StoreError, StoreUnavailable, TomasError

STATIC = Path(tomas.airflow.__path__[0]) / "static"


@pytest.fixture
def app() -> Any:
    """The app that Airflow mounts."""
    from tomas.airflow.api import app

    return app


@pytest.fixture
def anonymous(app: Any) -> TestClient:
    """A client without a login."""
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def known(app: Any) -> Iterator[TestClient]:
    """A client whose login was accepted; rights on DAGs are still asked for."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.security import get_user

    app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="someone", role=None)
    yield TestClient(app, raise_server_exceptions=False)
    app.dependency_overrides.clear()


def test_every_route_answers_401_without_login(app: Any, anonymous: TestClient) -> None:
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    assert len(routes) == len(app.routes) == 3, "a mount or a documentation page has no dependencies"
    for route in routes:
        path = route.path.format(dag_id="d", run_id="r", task_id="t", name="plan_app.js")
        for method in route.methods:
            answer = anonymous.request(method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.json()["message"]
            assert answer.json()["remedy"]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/static/", "/"])
def test_nothing_else_is_served(anonymous: TestClient, path: str) -> None:
    answer = anonymous.get(path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "message", "remedy"}


def test_routes_that_show_a_dag_ask_for_the_right_on_it(app: Any) -> None:
    for route in app.routes:
        if "{dag_id}" in route.path:
            assert len(route.dependencies) >= 3, route.path


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_all_routes_only_read(known: TestClient, method: str) -> None:
    for path in ["/api/plans/d/r", "/api/steps/d/r/t", "/static/plan_app.js"]:
        assert known.request(method, path).status_code == 405


def test_static_files_carry_type_and_tag(known: TestClient) -> None:
    for path in STATIC.glob("*.js"):
        answer = known.get(f"/static/{path.name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/javascript")
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.content == path.read_bytes()
        again = known.get(f"/static/{path.name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name",
    [
        "../api.py",
        "..%2Fapi.py",
        "%2e%2e/api.py",
        "....//api.py",
        "%2Fetc%2Fpasswd",
        "package.json",
        "",
        "%00.js",
        "plan_app.js/x",
    ],
)
def test_no_path_leads_out_of_the_shipped_files(known: TestClient, name: str) -> None:
    assert known.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreUnavailable("Postgres at db:5432 does not answer.", remedy="Start it."), 503, "store_unavailable"),
        (ConfigError("Airflow has no connection 'tomas_default'.", remedy="Create it."), 503, "store_unavailable"),
        (StoreError("The query was refused.", remedy="Run tomas db migrate."), 503, "store_refused"),
    ],
)
def test_a_store_in_trouble_is_named_with_its_remedy(app: Any, error: TomasError, status: int, code: str) -> None:
    answer = app.exception_handlers[TomasError](None, error)
    assert answer.status_code == status
    assert json.loads(answer.body) == {"error": code, "message": error.what, "remedy": error.remedy}


def test_the_tabs_are_unique_and_their_bundles_exist() -> None:
    for field in ("name", "bundle_url", "url_route"):
        assert len({item[field] for item in REACT_APPS}) == len(REACT_APPS)
    for item in REACT_APPS:
        for field in ("bundle_url", "icon", "icon_dark_mode"):
            assert not item[field].startswith("/"), "a leading slash breaks behind a proxy with a path prefix"
            assert (STATIC / item[field].removeprefix("tomas/static/")).is_file()
    assert [item["url_prefix"] for item in FASTAPI_APPS] == ["/tomas"]


def test_no_module_writes_markup() -> None:
    for path in STATIC.glob("*.js"):
        text = path.read_text()
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert way not in text, (path.name, way)
