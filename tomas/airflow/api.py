"""HTTP routes behind the Plan tab and the step tab, mounted by Airflow's API server under ``/tomas``.

Airflow does not authenticate the apps of plugins: every route here asks for a login, and every route
that shows a DAG's data for the right to read its runs, task instances and XComs. All routes only read.
"""

from __future__ import annotations

import hashlib
import logging
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import requires_access_dag, requires_authenticated
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tomas.airflow.connection import open_store
from tomas.airflow.redact import public
from tomas.airflow.run_view import RunFacts, plan_entry, read_run, step_of_task
from tomas.errors import ConfigError, StoreError, StoreUnavailable, TomasError
from tomas.schema import utc_now
from tomas.store import Store

__all__ = ["app"]

log = logging.getLogger(__name__)

STATIC_DIR = Path(__file__).resolve().parent / "static"
_MEDIA_TYPES = {".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

_REMEDIES = {
    401: "Log in to Airflow and reload the page.",
    403: "Ask an administrator for the right to read this DAG's runs, task instances and XComs.",
    404: "Check the address.",
    405: "These routes answer GET only.",
}

app = FastAPI(
    title="TOMAS",
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    dependencies=[Depends(requires_authenticated())],
)

_READS_THE_DAG = [
    Depends(requires_access_dag("GET", DagAccessEntity.RUN)),
    Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE)),
    Depends(requires_access_dag("GET", DagAccessEntity.XCOM)),
]


class _Problem(HTTPException):
    """An HTTP error with a code that the page tells apart, a message and a remedy."""

    def __init__(self, status: int, error: str, message: str, remedy: str) -> None:
        super().__init__(status, message)
        self.error = error
        self.remedy = remedy


@app.exception_handler(HTTPException)
def _http_error(request: Request, error: HTTPException) -> JSONResponse:  # noqa: ARG001
    status = error.status_code
    code = error.error if isinstance(error, _Problem) else f"http_{status}"
    remedy = error.remedy if isinstance(error, _Problem) else _REMEDIES.get(status, "")
    return _problem(status, code, str(error.detail), remedy, error.headers)


@app.exception_handler(RequestValidationError)
def _bad_request(request: Request, error: RequestValidationError) -> JSONResponse:  # noqa: ARG001
    where = ".".join(str(part) for part in error.errors()[0]["loc"])
    return _problem(422, "bad_request", f"Parameter {where}: {error.errors()[0]['msg']}.", "Correct the address.")


@app.exception_handler(TomasError)
def _tomas_error(request: Request, error: TomasError) -> JSONResponse:  # noqa: ARG001
    if isinstance(error, StoreUnavailable | ConfigError):
        log.warning("The TOMAS store cannot be read: %s", error)
        return _problem(503, "store_unavailable", error.what, error.remedy)
    if isinstance(error, StoreError):
        log.warning("The TOMAS store refused: %s", error)
        return _problem(503, "store_refused", error.what, error.remedy)
    log.error("TOMAS failed to answer: %s", error)
    return _problem(500, "failed", error.what, error.remedy)


def _problem(status: int, error: str, message: str, remedy: str, headers: Any = None) -> JSONResponse:
    content = {"error": error, "message": message, "remedy": remedy}
    return JSONResponse(content, status, headers={**(headers or {}), "Cache-Control": "no-store"})


@app.get("/api/plans/{dag_id}/{run_id}", dependencies=_READS_THE_DAG)
def read_plans(dag_id: str, run_id: str, session: SessionDep, response: Response) -> dict[str, Any]:
    """The latest plan of every plan task of a run, with records and task instances.

    ``plans`` is empty while no plan task has released one. 404 if the run does not exist or holds no plan
    task, 503 if the store cannot be read.
    """
    response.headers["Cache-Control"] = "no-store"
    facts = _run(session, dag_id, run_id)
    entries = _entries(facts, open_store())
    if not facts.plan_tasks and not entries:
        raise _Problem(
            404,
            "no_plan",
            "This run holds no TOMAS plan.",
            "Plans are made by TomasPlanOperator; this DAG version has no such task.",
        )
    return {**_header(facts), "plans": entries}


@app.get("/api/steps/{dag_id}/{run_id}/{task_id}", dependencies=_READS_THE_DAG)
def read_step(
    dag_id: str,
    run_id: str,
    task_id: str,
    session: SessionDep,
    response: Response,
    map_index: Annotated[int, Query(ge=-1)] = -1,
) -> dict[str, Any]:
    """The plan and the step that a task instance runs. 404 with a reason if it runs none."""
    response.headers["Cache-Control"] = "no-store"
    facts = _run(session, dag_id, run_id)
    if any(task.task_id == task_id for task in facts.plan_tasks):
        raise _Problem(404, "plan_task", "This task makes the plan.", "See the TOMAS Plan tab of the run.")
    for entry in _entries(facts, open_store()):
        step_id = step_of_task(entry, task_id, map_index)
        if step_id is not None:
            return {**_header(facts), "plan": entry, "step_id": step_id}
    raise _Problem(
        404,
        "not_a_step",
        "This task instance runs no step of a TOMAS plan.",
        "Open a mapped instance of a TomasToolOperator in this run.",
    )


@app.get("/static/{name}")
def read_static(name: str, request: Request) -> Response:
    """A module or icon of the pages, out of the fixed list of files that ship with TOMAS."""
    found = _static_files().get(name)
    if found is None:
        raise _Problem(404, "no_such_file", "TOMAS ships no such file.", "Reload the page.")
    content, media_type, etag = found
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    wanted = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if etag in wanted:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


@lru_cache(maxsize=1)
def _static_files() -> dict[str, tuple[bytes, str, str]]:
    """Name → content, media type, entity tag. Names are looked up here, never joined to a path."""
    files = {}
    for path in sorted(STATIC_DIR.iterdir()):
        if path.suffix in _MEDIA_TYPES:
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            files[path.name] = (content, _MEDIA_TYPES[path.suffix], etag)
    return files


def _run(session: SessionDep, dag_id: str, run_id: str) -> RunFacts:
    facts = read_run(session, dag_id, run_id)
    if facts is None:
        raise _Problem(404, "no_run", "There is no such run of this DAG.", "It may have been deleted.")
    return facts


def _entries(facts: RunFacts, store: Store) -> list[dict[str, Any]]:
    task_ids = dict.fromkeys(task.task_id for task in facts.plan_tasks)
    plans = {task_id: store.latest_plan(facts.dag_id, facts.run_id, task_id) for task_id in task_ids}
    return [plan_entry(facts, task_id, plan, store) for task_id, plan in plans.items() if plan is not None]


def _header(facts: RunFacts) -> dict[str, Any]:
    return {
        "dag_id": facts.dag_id,
        "run_id": facts.run_id,
        "server_time": utc_now().isoformat(),
        "run": {
            "state": facts.state,
            "start": facts.start and facts.start.isoformat(),
            "end": facts.end and facts.end.isoformat(),
        },
        "plan_tasks": [
            {**task.public(), "error": _error_text(facts.errors.get(task.task_id))} for task in facts.plan_tasks
        ],
    }


def _error_text(pushed: Any) -> dict[str, str] | None:
    if not isinstance(pushed, dict):
        return None
    return {key: str(public(str(pushed.get(key, "")))) for key in ("message", "remedy")}
