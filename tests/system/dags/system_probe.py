"""Three plain tasks, one on each queue of the stack: shows that its workers consume."""

from airflow.sdk import DAG, task

with DAG("system_probe", schedule=None):

    @task(queue="tomas_planner")
    def on_planner() -> int:
        return 1

    @task(queue="tomas_small_1", pool="tomas_small_1", pool_slots=30)
    def on_small(value: int) -> int:
        return value + 1

    @task(queue="tomas_large_1", pool="tomas_large_1", pool_slots=70)
    def on_large(value: int) -> int:
        return value + 1

    on_large(on_small(on_planner()))
