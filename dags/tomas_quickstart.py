"""A task in plain language over files: planned, sized, routed and run step by step.

Trigger it as it is, or with a task of your own: ``{"task": "…"}``. The files come from ``TOMAS_SAMPLES_DIR``,
else from the samples shipped with TOMAS.
"""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import DAG, Param, task

from tomas.airflow import TomasPlanOperator, run_plan
from tomas.config import shared_file

SAMPLES = os.environ.get("TOMAS_SAMPLES_DIR") or str(shared_file("data/samples"))
DEFAULT_TASK = (
    "Resize the images to 640 pixels, then classify them and detect the objects in them; "
    "extract the keywords of the documents, judge their sentiment and summarise them; "
    "join all results into one HTML report."
)

with DAG(
    "tomas_quickstart",
    description="A task in plain language, planned and run by TOMAS.",
    schedule=None,
    catchup=False,
    tags=["tomas"],
    params={
        "task": Param(DEFAULT_TASK, type="string", title="Task", description="English or Chinese."),
    },
    user_defined_macros={"default_task": DEFAULT_TASK},
    doc_md=__doc__,
):
    plan = TomasPlanOperator(
        task_id="plan",
        task="{{ params.task }}",
        inputs={"images": f"{SAMPLES}/images", "documents": f"{SAMPLES}/documents"},
        # A task of the user's own need not end in a report.
        outputs={"report": "{{ 'text/html' if params.task == default_task else '' }}"},
    )
    steps = run_plan(plan, retries=1)

    @task
    def publish(report: list[str], results: dict[str, list[str]]) -> dict[str, Any]:
        """Stands for whatever consumes the results: here it names them."""
        for name, uris in results.items():
            print(f"{name}: {', '.join(uris)}")
        return {"report": report, "results": results}

    publish(steps.outputs["report"], steps.results)
