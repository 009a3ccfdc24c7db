"""Time the cluster policy on real task instances; run by ``benchmarks.airflow`` inside a stack's environment."""

from __future__ import annotations

import json
import statistics
import sys
import time

from tomas.airflow.policy import routing_of_run, task_instance_mutation_hook
from tomas.airflow.routing import ROUTING_KEY, Route

_REPEATS = 5


def main() -> None:
    """Give a finished run a longer plan inside a transaction, route its instances, roll everything back."""
    dag_id, run_id, task_id, steps = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    from airflow.models.dagrun import DagRun
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select, update

    routes = [
        Route(
            queue=f"queue_{i % 4}",
            pool=f"pool_{i % 4}",
            slots=1 + i % 100,
            priority=1,
            after=[i - 1] if i else [],
            step=f"s{i}",
        )
        for i in range(steps)
    ]
    reads: list[float] = []
    per_instance: list[float] = []
    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        serialized = SerializedDagModel.get(dag_id, session=session)
        if run is None or serialized is None:
            raise SystemExit(f"no run {run_id} of {dag_id}")
        task = serialized.dag.get_task(task_id)
        changed = session.execute(
            update(XComModel)
            .where(XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key == ROUTING_KEY)
            .values(value={task_id: routes})
        ).rowcount
        if changed != 1:
            raise SystemExit(f"{changed} routings of {run_id}, where one was expected")
        for _ in range(_REPEATS):
            run.__dict__.pop("_tomas_routing", None)
            begin = time.perf_counter()
            if routing_of_run(run) is None:
                raise SystemExit("the routing was not found")
            reads.append((time.perf_counter() - begin) * 1e3)
            instances = [
                TaskInstance(task=task, run_id=run_id, dag_version_id=serialized.dag_version_id, map_index=i)
                for i in range(steps)
            ]
            begin = time.perf_counter()
            for instance in instances:
                task_instance_mutation_hook(instance, run)
            per_instance.append((time.perf_counter() - begin) * 1e6 / steps)
            wrong = [i for i, item in enumerate(instances) if item.queue != routes[i]["queue"]]
            if wrong:
                raise SystemExit(f"instances {wrong[:5]} were not routed")
        session.rollback()
    print(
        json.dumps(
            {
                "steps": steps,
                "read_ms": round(statistics.median(reads), 3),
                "per_instance_us": round(statistics.median(per_instance), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
