"""Airflow's side of what TOMAS relies on: each fails loudly when Airflow changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import pytest
from jsonschema.validators import validator_for

from tomas.airflow.hook import TomasHook, connection_dsn
from tomas.airflow.preflight import check_pools
from tomas.airflow.provider import get_provider_info
from tomas.airflow.sync import wanted_pools
from tomas.errors import ConfigError, RoutingError
from tomas.schema import Bin, Resources

OBJECT_STORAGE = """
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetXCom, SetXCom, XComResult
from airflow.sdk.execution_time.xcom import XCom
rows = {}
class Comms:
    def send(self, message):
        if isinstance(message, SetXCom):
            rows[message.key] = message.value
        if isinstance(message, GetXCom):
            return XComResult(key=message.key, value=rows.get(message.key))
task_runner.SUPERVISOR_COMMS = Comms()
where = dict(dag_id="d", run_id="r", task_id="t")
XCom.set("ordinary", {"queue": "q"}, **where)
from tomas.airflow.xcom import read_row, write_row
write_row("tomas_routing", {"tool": [{"queue": "q"}]}, **where)
print(XCom.__name__)
print(str(rows["ordinary"]).startswith("file://"), rows["tomas_routing"], read_row("tomas_routing", **where))
"""


def test_routing_stays_in_the_row_with_an_object_storage_backend(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "AIRFLOW__CORE__XCOM_BACKEND": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_PATH": f"file://{tmp_path}",
        "AIRFLOW__COMMON_IO__XCOM_OBJECTSTORAGE_THRESHOLD": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", OBJECT_STORAGE],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    name, seen = done.stdout.splitlines()[-2:]
    assert name == "XComObjectStorageBackend"
    routing = {"tool": [{"queue": "q"}]}
    assert seen == f"True {routing} {routing}", "an ordinary XCom goes to the object store, the routing does not"


def test_provider_metadata_is_what_airflow_validates() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    validator_for(schema)(schema).validate(get_provider_info())


def test_everything_the_metadata_names_can_be_imported() -> None:
    from importlib import import_module

    info = get_provider_info()
    for kind in ("operators", "hooks", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                import_module(module)
    paths = [*info["extra-links"], *(item["hook-class-name"] for item in info["connection-types"])]
    for path in paths:
        module, _, name = path.rpartition(".")
        assert getattr(import_module(module), name).__name__ == name


@pytest.mark.parametrize(
    ("group", "name"),
    [("apache_airflow_provider", "provider_info"), ("airflow.policy", "tomas"), ("airflow.plugins", "tomas")],
)
def test_the_installed_package_is_found_by_its_entry_points(group: str, name: str) -> None:
    assert [point.load() for point in entry_points(group=group) if point.name == name]


def test_the_shim_in_the_plugins_folder_yields_to_the_installed_package() -> None:
    import runpy

    shim = Path(__file__).parents[3] / "plugins" / "tomas_plugin.py"
    assert "TomasPlugin" not in runpy.run_path(str(shim))


EXPANDED_POOL = """
from airflow.sdk import DAG
from tomas.airflow import TomasPlanOperator, TomasToolOperator
with DAG("wrong", schedule=None):
    plan = TomasPlanOperator(task_id="plan", task="Summarise the documents")
    TomasToolOperator.partial(task_id="tool").expand(step=plan.output, pool=["a", "b"])
"""


def test_an_expanded_pool_is_an_import_error_of_the_dag_file(tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "wrong.py").write_text(EXPANDED_POOL)
    bag = DagBag(tmp_path)
    assert bag.dags == {}
    (message,) = bag.import_errors.values()
    assert "expand(pool=…)" in message
    assert "Leave out pool" in message


def test_the_example_dags_are_imported_without_error() -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(Path(__file__).parents[3] / "dags")
    assert bag.import_errors == {}
    assert set(bag.dags) >= {"tomas_quickstart", "tomas_retrain"}


def test_a_connection_becomes_a_dsn_whatever_its_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    from psycopg2.extensions import parse_dsn

    parts = {
        "conn_type": "tomas",
        "host": "db",
        "port": 5433,
        "login": "to mas",
        "password": "p'\\ %@:/",
        "schema": "t",
    }
    monkeypatch.setenv("AIRFLOW_CONN_TOMAS_HERE", json.dumps({**parts, "extra": {"sslmode": "require"}}))
    settings = TomasHook("tomas_here").settings()
    assert settings.store.dsn is not None
    assert parse_dsn(settings.store.dsn.get_secret_value()) == {
        "host": "db",
        "port": "5433",
        "user": "to mas",
        "password": "p'\\ %@:/",
        "dbname": "t",
        "sslmode": "require",
    }
    assert "p'" not in repr(settings)


def test_a_connection_without_a_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_TOMAS_HERE", json.dumps({"conn_type": "tomas", "host": "db"}))
    with pytest.raises(ConfigError, match="names no database"):
        connection_dsn(TomasHook.get_connection("tomas_here"))


def test_testing_a_connection_that_does_not_answer_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"conn_type": "tomas", "host": "127.0.0.1", "port": 9, "schema": "tomas", "password": "sesame"}
    monkeypatch.setenv("AIRFLOW_CONN_TOMAS_HERE", json.dumps(there))
    good, message = TomasHook("tomas_here").test_connection()
    assert good is False
    assert "sesame" not in message


def bin_(name: str, pool: str) -> Bin:
    return Bin(name=name, worker_class="c", queue=f"q_{name}", pool=pool, capacity=Resources(cpu_cores=1))


def test_every_bin_has_a_pool_of_a_hundred_slots_and_the_unrouted_have_one() -> None:
    wanted = wanted_pools([bin_("a", "pa"), bin_("b", "pb")])
    assert {name: slots for name, (slots, _) in wanted.items()} == {"tomas_unrouted": 1, "pa": 100, "pb": 100}


def test_two_bins_in_one_pool_are_refused() -> None:
    with pytest.raises(RoutingError, match="already taken"):
        wanted_pools([bin_("a", "p"), bin_("b", "p")])


def test_all_that_is_wrong_with_the_pools_is_said_at_once() -> None:
    bins = [bin_("a", "pa"), bin_("b", "pb"), bin_("c", "pc")]
    pools = {
        "tomas_unrouted": {"slots": 1, "include_deferred": False},
        "pa": {"slots": 50, "include_deferred": False},
        "pc": {"slots": 100, "include_deferred": True},
    }
    with pytest.raises(RoutingError) as caught:
        check_pools(bins, pools)
    message = str(caught.value)
    assert "pool pa has 50 slots instead of 100" in message
    assert "pool pb does not exist" in message
    assert "pool pc counts deferred tasks" in message
    assert "tomas airflow sync" in message
