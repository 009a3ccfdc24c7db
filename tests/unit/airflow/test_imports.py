"""What an import may load, each proven in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CORE = (
    "tomas.schema, tomas.config, tomas.errors, tomas.store, tomas.tools, tomas.planner, tomas.sizing, "
    "tomas.forecast, tomas.schedule, tomas.verify, tomas.training, tomas.telemetry, tomas.runtime, tomas.cli"
)


def loaded_by(imports: str, suspects: list[str]) -> list[str]:
    code = f"import {imports}\nimport sys\nprint(*[name for name in {suspects!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_core_imports_no_airflow() -> None:
    assert loaded_by(CORE, ["airflow", "torch", "celery"]) == []


def test_the_airflow_side_imports_no_torch() -> None:
    modules = (
        "tomas.airflow.operators, tomas.airflow.taskgroup, tomas.airflow.hook, tomas.airflow.trigger, "
        "tomas.airflow.policy, tomas.airflow.plugin, tomas.airflow.sync"
    )
    assert loaded_by(modules, ["torch", "transformers", "peft"]) == []


def test_a_dag_file_loads_neither_planner_nor_store_nor_data_libraries() -> None:
    modules = "tomas.airflow.operators, tomas.airflow.taskgroup"
    suspects = ["tomas.planner", "tomas.store", "tomas.runtime", "tomas.tools", "pandas", "numpy", "sklearn", "cv2"]
    heavy_of_airflow = set(loaded_by("airflow.sdk", suspects))
    assert set(loaded_by(modules, suspects)) <= heavy_of_airflow


@pytest.mark.parametrize("module", ["tomas.airflow", "tomas.airflow.provider", "tomas.airflow.routing"])
def test_these_load_no_airflow(module: str) -> None:
    assert loaded_by(module, ["airflow", "tomas.planner", "tomas.store"]) == []


def test_the_policy_loads_no_model_classes_before_it_needs_them() -> None:
    before = set(loaded_by("airflow.settings", ["airflow.models.xcom", "airflow.models.taskinstance"]))
    after = set(loaded_by("tomas.airflow.policy", ["airflow.models.xcom", "airflow.models.taskinstance"]))
    assert after <= before


def test_lazy_names_are_the_real_ones() -> None:
    import tomas.airflow
    from tomas.airflow.operators import TomasPlanOperator

    assert tomas.airflow.TomasPlanOperator is TomasPlanOperator
    for name in tomas.airflow.__all__:
        assert getattr(tomas.airflow, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = tomas.airflow.nothing_such
