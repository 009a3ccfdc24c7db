"""A small client of Airflow's REST API v2, with a token that renews itself."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import httpx

from tomas.errors import TomasError

__all__ = ["AirflowApi", "AirflowApiError", "TokenAuth"]

API = "/api/v2"


class AirflowApiError(TomasError):
    """Airflow's API refused a request."""


class TokenAuth(httpx.Auth):
    """Log in with name and password at the first request, and again when the token has expired."""

    requires_response_body = True

    def __init__(self, base_url: str, username: str, password: str) -> None:
        self._login = httpx.Request(
            "POST", f"{base_url}/auth/token", json={"username": username, "password": password}
        )
        self._token: str | None = None

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """httpx calls this around every request."""
        for _ in range(2):
            if self._token is None:
                answer = yield self._login
                if answer.status_code != httpx.codes.CREATED:
                    raise AirflowApiError(
                        f"Airflow refused the login (HTTP {answer.status_code}).",
                        remedy="Check that the api-server uses the passwords file of this home.",
                    )
                self._token = str(answer.json()["access_token"])
            request.headers["Authorization"] = f"Bearer {self._token}"
            response = yield request
            if response.status_code != httpx.codes.UNAUTHORIZED:
                return
            self._token = None


class AirflowApi:
    """What the demo and the system tests ask Airflow. Times are UTC ISO strings, as Airflow gives them."""

    def __init__(self, base_url: str, username: str, password: str, *, timeout_s: float = 60.0) -> None:
        self.base_url = base_url
        self.http = httpx.Client(
            base_url=base_url, auth=TokenAuth(base_url, username, password), timeout=timeout_s, trust_env=False
        )

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def request(self, method: str, path: str, *, accept: tuple[int, ...] = (), **keywords: Any) -> httpx.Response:
        """One request below ``/api/v2``; :class:`AirflowApiError` unless 2xx or a code in ``accept``."""
        try:
            response = self.http.request(method, API + path, **keywords)
        except httpx.TransportError as error:
            raise AirflowApiError(
                f"Airflow's API at {self.base_url} did not answer {method} {path}: {type(error).__name__}.",
                remedy="Read the api-server's log.",
            ) from error
        if response.is_success or response.status_code in accept:
            return response
        raise AirflowApiError(
            f"Airflow answered {method} {path} with {response.status_code}: {response.text[:600]}",
            remedy="Read the api-server's log if the message does not say enough.",
        )

    def health(self) -> dict[str, Any]:
        """The monitor's answer; empty while the server does not answer."""
        try:
            response = self.http.get(f"{API}/monitor/health", auth=None, timeout=10.0)
        except httpx.TransportError:
            return {}
        return dict(response.json()) if response.is_success else {}

    def warm_execution_api(self) -> None:
        """Make the execution API build its routes now: the first call of a worker would wait for it."""
        for path in ("/execution/health", "/execution/variables/warm"):
            self.http.get(path, auth=None, timeout=120.0)

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """The DAG's row, or None while it has not been parsed."""
        response = self.request("GET", f"/dags/{dag_id}", accept=(404,))
        return dict(response.json()) if response.is_success else None

    def import_errors(self) -> list[dict[str, Any]]:
        """Files that the DAG processor could not import: ``filename`` and ``stack_trace``."""
        return list(self.request("GET", "/importErrors").json()["import_errors"])

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run the DAG."""
        self.request("PATCH", f"/dags/{dag_id}", json={"is_paused": False}, params={"update_mask": "is_paused"})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, **fields: Any) -> str:
        """Start a run of an unpaused DAG; returns its run id."""
        body = {"logical_date": None, "conf": conf or {}, **fields}
        return str(self.request("POST", f"/dags/{dag_id}/dagRuns", json=body).json()["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """The run's row."""
        return dict(self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}").json())

    def running(self, dag_id: str) -> list[str]:
        """Ids of the runs that are queued or running."""
        query = {"state": ["queued", "running"], "limit": 100}
        runs = self.request("GET", f"/dags/{dag_id}/dagRuns", params=query).json()["dag_runs"]
        return [str(run["dag_run_id"]) for run in runs]

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed; its running tasks are ended."""
        self.request("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """The value of an XCom, decoded; None if there is none."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        response = self.request("GET", path, params={"map_index": map_index, "deserialize": False}, accept=(404,))
        return response.json()["value"] if response.is_success else None

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int, map_index: int = -1) -> list[Any]:
        """The log of one try: structured lines (dicts with ``event``, ``level``) or plain strings."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{max(1, try_number)}"
        query = {"map_index": map_index, "full_content": True}
        response = self.request("GET", path, params=query, headers={"Accept": "application/json"}, accept=(404,))
        return list(response.json()["content"]) if response.is_success else []

    def set_pool(self, name: str, slots: int, description: str, *, include_deferred: bool = False) -> None:
        """Create a pool, or bring it to these values."""
        body = {"name": name, "slots": slots, "description": description, "include_deferred": include_deferred}
        if self.request("POST", "/pools", json=body, accept=(409,)).status_code == httpx.codes.CONFLICT:
            patch = {"pool": name, **{key: value for key, value in body.items() if key != "name"}}
            self.request("PATCH", f"/pools/{name}", json=patch)

    def wait_run(self, dag_id: str, run_id: str, timeout_s: float = 300.0, poll_s: float = 1.0) -> str:
        """Wait until a run has ended; returns its state, or raises AirflowApiError after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while (state := str(self.run(dag_id, run_id)["state"])) not in ("success", "failed"):
            if time.monotonic() > deadline:
                raise AirflowApiError(
                    f"The run {run_id} of {dag_id} is still {state} after {timeout_s:g} s.",
                    remedy="Look at its page, and at the logs of scheduler and workers.",
                )
            time.sleep(poll_s)
        return state
