"""The environment of every process of a stack: Airflow's settings, TOMAS's settings, nothing in argv."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tomas.config import shared_file
from tomas.demo.home import HOST, Home, Secrets

__all__ = [
    "ADMIN",
    "AIRFLOW_DB",
    "BROKER_DB",
    "PLANNER_QUEUE",
    "TOMAS_DB",
    "VIEWER",
    "Database",
    "build_environment",
]

ADMIN = "admin"
VIEWER = "viewer"
PLANNER_QUEUE = "tomas_planner"
"""Queue of plan tasks and of all ordinary tasks: Airflow's default queue in a stack."""


@dataclass(frozen=True)
class Database:
    """A database and the role of the same name that owns it."""

    name: str

    def url(self, port: int, password: str, driver: str = "") -> str:
        """``postgresql[+driver]://`` URL on the loopback interface."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{self.name}:{quote(password, safe='')}@{HOST}:{port}/{self.name}"


AIRFLOW_DB = Database("airflow")
TOMAS_DB = Database("tomas")
BROKER_DB = Database("broker")


def build_environment(
    home: Home,
    secrets: Secrets,
    *,
    postgres_port: int,
    api_port: int,
    dags: Sequence[tuple[str, Path]],
    planner: str,
) -> dict[str, str]:
    """All variables of the stack over those of this process.

    Settings of another Airflow or TOMAS that happen to be exported here are left out.

    :param dags: (bundle name, folder) pairs that the DAG processor parses; the first is the main one.
    :param planner: kind of planner of the plan tasks.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW_", "AIRFLOW__", "TOMAS__", "_AIRFLOW", "PYTEST_"))
    }
    url = f"http://{HOST}:{api_port}"
    airflow_settings = {
        "core": {
            "executor": "CeleryExecutor",
            "load_examples": "False",
            "dags_folder": str(dags[0][1]),
            "plugins_folder": str(_plugins_folder(home)),
            "execution_api_server_url": f"{url}/execution/",
            "fernet_key": secrets.fernet_key,
            "simple_auth_manager_users": f"{ADMIN}:admin,{VIEWER}:viewer",
            "simple_auth_manager_passwords_file": str(home.passwords_file),
            "simple_auth_manager_all_admins": "False",
            "parallelism": "16",
            "max_active_tasks_per_dag": "16",
            # A look-up of the fully qualified name can take seconds where there is no DNS.
            "hostname_callable": "socket.gethostname",
        },
        "database": {"sql_alchemy_conn": AIRFLOW_DB.url(postgres_port, secrets.airflow_db, "psycopg2")},
        "api": {
            "host": HOST,
            "port": str(api_port),
            "base_url": url,
            "secret_key": secrets.api_secret,
            "workers": "1",
        },
        "operators": {"default_queue": PLANNER_QUEUE},
        "api_auth": {"jwt_secret": secrets.jwt_secret},
        "celery": {
            "broker_url": "sqla+" + BROKER_DB.url(postgres_port, secrets.broker_db, "psycopg2"),
            "result_backend": "db+" + BROKER_DB.url(postgres_port, secrets.broker_db, "psycopg2"),
            # This broker has no broadcast, so remote control could not answer and would only poll.
            "worker_enable_remote_control": "False",
            "sync_parallelism": "1",
            "operation_timeout": "15",
        },
        "scheduler": {
            "enable_health_check": "False",
            "scheduler_idle_sleep_time": "0.5",
            "task_instance_heartbeat_timeout": "120",
            "parsing_cleanup_interval": "60",
        },
        # A worker that misses the moment its task's process ends looks again at the next heartbeat.
        "workers": {"min_heartbeat_interval": "2"},
        "dag_processor": {
            "dag_bundle_config_list": json.dumps(
                [
                    {
                        "name": name,
                        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                        "kwargs": {"path": str(folder), "refresh_interval": 10},
                    }
                    for name, folder in dags
                ]
            ),
            "dag_bundle_storage_path": str(home.root / "bundles"),
            "stale_bundle_cleanup_interval": "0",
            "min_file_process_interval": "15",
            "refresh_interval": "10",
            "parsing_processes": "1",
        },
        "logging": {
            "base_log_folder": str(home.task_logs),
            "dag_processor_child_process_log_directory": str(home.logs / "dag_processing"),
            "colored_console_log": "False",
        },
    }
    variables = {
        f"AIRFLOW__{section.upper()}__{key.upper()}": value
        for section, values in airflow_settings.items()
        for key, value in values.items()
    }
    connection = {
        "conn_type": "tomas",
        "host": HOST,
        "port": postgres_port,
        "login": TOMAS_DB.name,
        "password": secrets.tomas_db,
        "schema": TOMAS_DB.name,
    }
    local = f"{HOST},localhost"
    no_proxy = ",".join(filter(None, [inherited.get("NO_PROXY") or inherited.get("no_proxy"), local]))
    return {
        **inherited,
        **variables,
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW_CONN_TOMAS_DEFAULT": json.dumps(connection),
        "TOMAS__PLANNER__KIND": planner,
        "TOMAS__RUNTIME__ARTIFACTS_DIR": str(home.artifacts),
        "TOMAS_SAMPLES_DIR": str(shared_file("data/samples")),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C.UTF-8",
        "LANG": "C.UTF-8",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
        # Renaming a process must not overwrite its environment: strays are found by it.
        "SPT_NOENV": "1",
    }


def _plugins_folder(home: Home) -> Path:
    """The checkout's ``plugins/``; from a wheel the entry point alone brings the plugin."""
    folder = shared_file("dags").parent / "plugins"
    return folder if folder.is_dir() else home.airflow / "plugins"
