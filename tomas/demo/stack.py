"""The whole installation on one machine: Postgres, Airflow, one Celery worker per bin, the sampler."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from tomas.config import shared_file
from tomas.demo import environment as env
from tomas.demo.airflow_api import AirflowApi
from tomas.demo.home import HOST, Home, Secrets, choose_port, write_private
from tomas.demo.interrupts import Interrupts
from tomas.demo.metadata import Metadata, TaskInstanceRow
from tomas.demo.postgres import EmbeddedPostgres
from tomas.demo.processes import Supervisor
from tomas.demo.progress import Progress
from tomas.demo.seed import close_interrupted, declare_queues, seed_store
from tomas.demo.services import (
    AIRFLOW,
    MIGRATION,
    SAMPLER,
    StackError,
    finish_migration,
    instant,
    queues,
    service_commands,
    wait_ready,
)
from tomas.demo.warm_up import warm_up, write_warm_up_dag
from tomas.schema import Bin

if TYPE_CHECKING:
    from tomas.store import Store

__all__ = ["Stack", "StackError"]

_IMPORT_ERROR_S = 30.0
"""How long a DAG may be missing while some file cannot be imported."""


class Stack:
    """Start everything on entering, end everything on leaving; state stays in ``home`` for the next time.

    Two stacks on one home refuse each other. What a killed run left behind is ended first.

    :param home: folder for databases, logs, secrets, results.
    :param progress: told what is being waited for; None is silent.
    :param extra_dags: further DAG folders, each a bundle of its own.
    :param interrupts: handler of signals in effect, so that Postgres is not left half started.
    :param api_port: wished port of the web server; another is taken where it is in use.
    :param planner: kind of planner of the plan tasks.
    """

    def __init__(
        self,
        home: Path | str,
        *,
        progress: Progress | None = None,
        extra_dags: Sequence[Path] = (),
        interrupts: Interrupts | None = None,
        api_port: int = 8080,
        planner: str = "retrieval",
    ) -> None:
        self.home = Home(Path(home))
        self.progress = progress or Progress()
        self._extra_dags = list(extra_dags)
        self._interrupts = interrupts or Interrupts()
        self._wanted_port = api_port
        self._planner = planner
        self._api_port = 0
        self._secrets: Secrets | None = None
        self._postgres = EmbeddedPostgres(self.home.postgres)
        self._supervisor: Supervisor | None = None
        self._clients: dict[str, AirflowApi] = {}
        self._store: Store | None = None
        self.bins: list[Bin] = []
        self.started_at = datetime.now(UTC)

    # -- life ---------------------------------------------------------------------------------------------

    def __enter__(self) -> Stack:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Stack:
        """Bring everything up; returns when tasks can run.

        :raises ConfigError: another stack runs in this home.
        :raises ServiceDied: a process ended while starting; the message has its last log lines.
        :raises StackError: something was not ready in time.
        """
        self.home.lock()
        self.home.create()
        self.started_at = datetime.now(UTC)
        self._secrets = Secrets.load(self.home.secrets_file)
        passwords = {env.ADMIN: self._secrets.admin_password, env.VIEWER: self._secrets.viewer_password}
        write_private(self.home.passwords_file, json.dumps(passwords))
        write_warm_up_dag(self.home.warm_up)
        self._supervisor = Supervisor(self.home.run, self.home.logs, self._secrets.stack_id)
        if left := self._supervisor.recover():
            self.progress.line(f"Ended {left} processes that an earlier run had left behind.")
        self._api_port = choose_port(int(self.home.read_state().get("api_port", self._wanted_port)))
        if self._api_port != self._wanted_port:
            self.progress.line(f"Port {self._wanted_port} is taken; Airflow listens on {self._api_port}.")
        with self.progress.phase("Postgres started"):
            self._start_postgres()
        with self.progress.phase("Databases ready"):
            self._prepare_databases()
        with self.progress.phase("Airflow and workers started"):
            self._start_services()
            wait_ready(self._running(), self.airflow_api, self.progress, since=self.started_at)
        with self.progress.phase("Pools created, Airflow warmed up"):
            self._create_pools()
            warm_up(self.airflow_api, self.progress)
        # Only now: what a start burns says nothing about the load that plans will meet.
        self._spawn(SAMPLER)
        self.home.update_state(api_port=self._api_port)
        return self

    @classmethod
    def attached(cls, home: Path | str) -> Stack:
        """A handle on a stack that another process runs; it neither starts nor stops anything."""
        stack = cls(home)
        state = stack.home.read_state()
        if "api_port" not in state:
            raise StackError(f"No stack has run in {stack.home.root}.", remedy="Start one with `tomas demo`.")
        stack._secrets = Secrets.load(stack.home.secrets_file)
        stack._api_port = int(state["api_port"])
        stack.started_at = datetime.min.replace(tzinfo=UTC)
        stack._postgres.start()  # takes over the server that runs there
        stack.bins = stack.store.bins()
        return stack

    def stop(self) -> None:
        """End every process and free every port; safe to call twice. A second Ctrl-C ends it harder."""
        with self._interrupts.deferred(drop=True):
            for client in self._clients.values():
                client.close()
            self._clients.clear()
            if self._store is not None:
                self._store.close()
                self._store = None
            if self._supervisor is not None:
                before = self._interrupts.count
                with self.progress.phase("Everything stopped"):
                    self.progress.waiting("the processes to end; Ctrl-C again ends them at once")
                    self._supervisor.stop(hurry=lambda: self._interrupts.count > before)
                    self._postgres.stop()
                self._supervisor = None
            self.home.unlock()

    # -- what tests and the demo ask ------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Address of Airflow's web server."""
        return f"http://{HOST}:{self._api_port}"

    @property
    def secrets(self) -> Secrets:
        """The secrets of this home; StackError before the start."""
        if self._secrets is None:
            raise StackError(
                "The stack has not been started.", remedy="Enter it with `with Stack(home) as stack:`."
            )
        return self._secrets

    @property
    def login(self) -> tuple[str, str]:
        """Name and password of the administrator."""
        return env.ADMIN, self.secrets.admin_password

    @property
    def viewer_login(self) -> tuple[str, str]:
        """Name and password of a user who may only look."""
        return env.VIEWER, self.secrets.viewer_password

    @property
    def airflow_api(self) -> AirflowApi:
        """Airflow's REST API as the administrator."""
        return self._client(*self.login)

    @property
    def api(self) -> httpx.Client:
        """Authenticated HTTP client of the web server, as the administrator; paths begin with ``/api/v2``."""
        return self.airflow_api.http

    @property
    def viewer(self) -> httpx.Client:
        """The same as the user who may only look."""
        return self._client(*self.viewer_login).http

    @property
    def store_dsn(self) -> str:
        """Connection URL of TOMAS's base, with its password."""
        return env.TOMAS_DB.url(self._postgres.port, self.secrets.tomas_db)

    @property
    def store(self) -> Store:
        """TOMAS's store."""
        if self._store is None:
            from tomas.store import Store

            self._store = Store(self.store_dsn)
        return self._store

    @property
    def metadata(self) -> Metadata:
        """A reading view of Airflow's metadata base."""
        return Metadata(env.AIRFLOW_DB.url(self._postgres.port, self.secrets.airflow_db))

    def environment(self) -> dict[str, str]:
        """The variables that every process of the stack runs with."""
        extra = [(f"extra_{number}", path.resolve()) for number, path in enumerate(self._extra_dags)]
        dags = [("tomas", shared_file("dags")), ("tomas_demo", self.home.warm_up), *extra]
        return env.build_environment(
            self.home,
            self.secrets,
            postgres_port=self._postgres.port,
            api_port=self._api_port,
            dags=dags,
            planner=self._planner,
        )

    def airflow(self, *arguments: str, timeout_s: float = 180.0) -> subprocess.CompletedProcess[str]:
        """Run ``airflow ARGUMENTS`` inside this stack's environment."""
        return subprocess.run(
            [*AIRFLOW, *arguments],
            env=self.environment(),
            text=True,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, *, timeout_s: float = 120.0) -> str:
        """Wait until the DAG is parsed, let it run, and start a run; returns the run id."""
        self.wait_dag(dag_id, timeout_s=timeout_s)
        self.airflow_api.unpause(dag_id)
        return self.airflow_api.trigger(dag_id, conf)

    def wait_run(self, dag_id: str, run_id: str, timeout_s: float = 300.0) -> str:
        """Wait until a run has ended; returns its state."""
        return self.airflow_api.wait_run(dag_id, run_id, timeout_s)

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstanceRow]:
        """The run's task instances, read from Airflow's metadata base."""
        return self.metadata.task_instances(dag_id, run_id)

    def logs(self, name: str) -> str:
        """All that a process of the stack has said: ``scheduler``, ``api-server``, ``worker-small_1``, …"""
        path = self.home.logs / f"{name}.log"
        if not path.exists():
            known = sorted(item.stem for item in self.home.logs.glob("*.log"))
            raise StackError(f"There is no log {name!r}.", remedy=f"Take one of: {', '.join(known)}.")
        return path.read_text(errors="replace")

    def restart(self, name: str, **variables: str) -> None:
        """End one process of the stack and start it anew; does not wait until it is ready.

        :param variables: of its environment, in addition to the stack's.
        """
        self._running().stop_one(name)
        self._spawn(name, **variables)

    def pid(self, name: str) -> int:
        """Process id of one process of the stack, for tests that end it."""
        return self._running().services[name].process.pid

    def check(self) -> None:
        """:class:`~tomas.demo.processes.ServiceDied` if a process of the stack has ended by itself."""
        if self._supervisor is not None:
            self._supervisor.check()

    def wait_dag(self, dag_id: str, *, timeout_s: float = 120.0) -> None:
        """Wait until this run of the DAG processor has parsed ``dag_id``.

        :raises StackError: its file cannot be imported (with the traceback), or it does not appear in time.
        """
        began = time.monotonic()
        while True:
            row = self.airflow_api.dag(dag_id)
            if row is not None and not row["is_stale"] and instant(row["last_parsed_time"]) >= self.started_at:
                return
            waited_s = time.monotonic() - began
            errors = [
                one for one in self.airflow_api.import_errors() if instant(one["timestamp"]) >= self.started_at
            ]
            # Another file's error says nothing about this DAG, so it gets a while to appear all the same.
            if waited_s > timeout_s or (errors and waited_s > min(_IMPORT_ERROR_S, timeout_s)):
                causes = "\n".join(f"{one['filename']}:\n{one['stack_trace']}" for one in errors)
                raise StackError(
                    f"Airflow has not parsed a DAG {dag_id} within {waited_s:.0f} s. {causes}".rstrip(),
                    remedy=f"Correct the DAG file, or read {self.home.logs / 'dag-processor.log'}.",
                )
            self.progress.waiting(f"the DAG processor to parse {dag_id}")
            self.check()
            time.sleep(0.5)

    # -- steps of the start ---------------------------------------------------------------------------------

    def _client(self, name: str, password: str) -> AirflowApi:
        if name not in self._clients:
            self._clients[name] = AirflowApi(self.url, name, password)
        return self._clients[name]

    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise StackError("The stack is not running.", remedy="Start it first.")
        return self._supervisor

    def _start_postgres(self) -> None:
        self.progress.waiting("Postgres")
        # An interrupt between fork and the server's pid file would leave a server that nobody knows.
        with self._interrupts.deferred():
            self._postgres.start()
        if "airflow_schema" not in self.home.read_state():
            # A first migration that was cut short leaves a base that no migration accepts.
            self._postgres.drop_database(env.AIRFLOW_DB.name)
        for database, password in (
            (env.AIRFLOW_DB, self.secrets.airflow_db),
            (env.TOMAS_DB, self.secrets.tomas_db),
            (env.BROKER_DB, self.secrets.broker_db),
        ):
            self._postgres.create_database(database.name, database.name, password)

    def _prepare_databases(self) -> None:
        """Airflow's migration in a child, TOMAS's meanwhile here."""
        schema = self.home.read_state().get("airflow_schema")
        wanted = [version("apache-airflow"), self.metadata.schema_revision()]
        migrating = schema != wanted or wanted[1] is None
        if migrating:
            self._running().spawn(MIGRATION, [*AIRFLOW, "db", "migrate"], self.environment())
        self.progress.waiting("TOMAS's schema and data")
        self.bins = seed_store(self.store)
        if tries := close_interrupted(self.store):
            self.progress.line(f"Marked {tries} steps as killed that an earlier run had left unfinished.")
        declare_queues(
            self.environment()["AIRFLOW__CELERY__BROKER_URL"],
            queues(self.bins),
        )
        if migrating:
            finish_migration(self._running(), self.progress)
            self.home.update_state(airflow_schema=[version("apache-airflow"), self.metadata.schema_revision()])

    def _start_services(self) -> None:
        for name in service_commands(self.bins):
            if name != SAMPLER:
                self._spawn(name)

    def _spawn(self, name: str, **more: str) -> None:
        variables = {**self.environment(), **more}
        if name == SAMPLER:
            variables["TOMAS__STORE__DSN"] = self.store_dsn
        self._running().spawn(name, service_commands(self.bins)[name], variables)

    def _create_pools(self) -> None:
        from tomas.airflow.sync import wanted_pools

        for name, (slots, description) in wanted_pools(self.bins).items():
            self.airflow_api.set_pool(name, slots, description)
