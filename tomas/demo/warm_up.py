"""Makes the parts that load at their first use load before the first plan runs.

The API server builds the execution API, and the triggerer a copy of it, when the first task asks: seconds of
work on a small machine, which a plan made right after the start would see as dispatch lag. In an installation
that runs for days nobody notices.
"""

from __future__ import annotations

import time
from pathlib import Path

from tomas.demo.airflow_api import AirflowApi
from tomas.demo.progress import Progress

__all__ = ["WARM_UP_DAG", "warm_up", "write_warm_up_dag"]

WARM_UP_DAG = "tomas_warm_up"
_TIMEOUT_S = 90.0

_DAG_FILE = '''"""Run once by `tomas demo` at its start, so that the triggerer has loaded before the first plan."""

from airflow.sdk import DAG, BaseOperator
from airflow.triggers.base import StartTriggerArgs


class AskTheTriggerer(BaseOperator):
    """Starts in the triggerer, which asks the execution API how many runs an absent DAG has: none."""

    start_from_trigger = True
    start_trigger_args = StartTriggerArgs(
        trigger_cls="airflow.providers.standard.triggers.external_task.WorkflowTrigger",
        trigger_kwargs={"external_dag_id": "tomas_warm_up_absent", "allowed_states": ["success"]},
        next_method="execute",
    )

    def execute(self, context, event=None):
        return None


with DAG("tomas_warm_up", schedule=None, tags=["tomas", "demo"], doc_md=__doc__):
    AskTheTriggerer(task_id="ask_the_triggerer")
'''


def write_warm_up_dag(folder: Path) -> None:
    """Put the DAG's file into ``folder``, a bundle of the stack."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{WARM_UP_DAG}.py").write_text(_DAG_FILE)


def warm_up(api: AirflowApi, progress: Progress) -> None:
    """Use the execution API once from outside and once from the triggerer; never an error, only a delay.

    Returns when the triggerer has answered, or after a while without.
    """
    api.warm_execution_api()
    deadline = time.monotonic() + _TIMEOUT_S
    while (row := api.dag(WARM_UP_DAG)) is None or row["is_stale"]:
        progress.waiting("the DAG processor")
        if time.monotonic() > deadline:
            return
        time.sleep(0.5)
    api.unpause(WARM_UP_DAG)
    run_id = api.trigger(WARM_UP_DAG)
    while api.run(WARM_UP_DAG, run_id)["state"] not in ("success", "failed"):
        progress.waiting("the triggerer and a worker to do their first task")
        if time.monotonic() > deadline:
            progress.line(f"The warm-up run is not done after {_TIMEOUT_S:g} s; the first plan may start late.")
            return
        time.sleep(0.5)
