"""The Airflow side of TOMAS.

The names below are imported on first use: importing this package loads neither Airflow nor the planner.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomas.airflow.hook import TomasHook
    from tomas.airflow.operators.plan import TomasPlanOperator
    from tomas.airflow.operators.tool import TomasToolOperator
    from tomas.airflow.taskgroup import PlanRun, run_plan

__all__ = ["PlanRun", "TomasHook", "TomasPlanOperator", "TomasToolOperator", "run_plan"]

_HOMES = {
    "PlanRun": "tomas.airflow.taskgroup",
    "TomasHook": "tomas.airflow.hook",
    "TomasPlanOperator": "tomas.airflow.operators.plan",
    "TomasToolOperator": "tomas.airflow.operators.tool",
    "run_plan": "tomas.airflow.taskgroup",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
