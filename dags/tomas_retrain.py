"""Every day the models learn from the runs of that day, and from nothing later.

Each run sees the records and planner calls that ended in its own data interval. They first judge the sizing model
that was fitted the day before against the promoted one, which is replaced only where the other foretold them better
beyond chance; then a new model is fitted and registered, to be judged the day after. ``airflow backfill create``
repeats days of the past in order; each sees only its past.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG, CronDataIntervalTimetable, get_current_context, task

with DAG(
    "tomas_retrain",
    description="Refit sizing and planner latency from the runs of the data interval.",
    schedule=CronDataIntervalTimetable("0 3 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    tags=["tomas"],
    doc_md=__doc__,
):

    @task(retries=2)
    def retrain_models() -> dict[str, Any]:
        """Judge, fit and register; returns what was registered, and which sizing model plans use from now on."""
        from tomas.airflow.failures import airflow_failures
        from tomas.airflow.hook import TomasHook
        from tomas.training.retrain import retrain

        context = get_current_context()
        start, end = context["data_interval_start"], context["data_interval_end"]
        with airflow_failures(), TomasHook().get_store() as store:
            model = retrain(store, start, end)
            champion = store.current_model("sizing")
        return {
            "version": model.version,
            "kind": model.kind,
            "metrics": model.metrics,
            "champion": None if champion is None else champion.version,
            "interval_start": start.isoformat(),
            "interval_end": end.isoformat(),
        }

    retrain_models()
