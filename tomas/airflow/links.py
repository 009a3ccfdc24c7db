"""The button on a task's page that leads to the plan of its run."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from tomas.airflow.ui import PLAN_ROUTE

__all__ = ["PLAN_LINK_KEY", "PlanLink", "plan_page"]

PLAN_LINK_KEY = "tomas_plan_link"


def plan_page(dag_id: str, run_id: str) -> str:
    """The Plan tab of a run, relative to Airflow's base URL so that it survives a reverse proxy."""
    return f"dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}/plugin/{PLAN_ROUTE}"


class PlanLink(BaseOperatorLink):
    """Leads to the Plan tab; the operators push the address as soon as they start."""

    name = "TOMAS plan"

    @property
    def xcom_key(self) -> str:
        """Where the operators push the address."""
        return PLAN_LINK_KEY

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The address for ``ti_key``; ``operator`` does not matter."""
        del operator
        return plan_page(ti_key.dag_id, ti_key.run_id)
