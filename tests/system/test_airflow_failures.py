"""What goes wrong ends the run with a reason; nothing hangs, nothing is half written."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import psycopg2
import pytest

from tests.system.airflow_checks import TOOL, errors_in_log, instance, plan_of, plans_of, tools_of
from tomas.demo.stack import Stack
from tomas.schema import Bin, Outcome, PlanStatus, WorkerClass


def run_until_failed(stack: Stack, dag_id: str, conf: dict[str, object] | None = None) -> str:
    run_id = stack.trigger(dag_id, conf)
    assert stack.wait_run(dag_id, run_id) == "failed"
    return run_id


def test_a_failing_branch_leaves_the_others_running(stack: Stack) -> None:
    dag_id = "probe_branches"
    run_id = run_until_failed(stack, dag_id)
    plan = plan_of(stack, dag_id, run_id)
    rows = {step.tool: row for step, row in zip(plan.steps, tools_of(stack, dag_id, run_id), strict=True)}
    assert {tool: row.state for tool, row in rows.items()} == {
        "shatter": "failed",
        "keyword_extraction": "success",
        "language_detection": "success",
        "report_generation": "failed",
    }
    assert rows["shatter"].try_number == 3
    assert rows["report_generation"].try_number == 1, "a step that could not run uses up no retry"
    reason = errors_in_log(stack, rows["report_generation"], dag_id, run_id)
    assert "predecessor" in reason
    assert "failed" in reason
    assert plan.status is PlanStatus.FAILED
    summary = errors_in_log(stack, instance(stack, dag_id, run_id, "plan_run.results"), dag_id, run_id)
    assert "2 of 4 steps failed" in summary


def test_a_killed_tool_is_recorded_as_killed_and_tried_again(stack: Stack) -> None:
    dag_id = "probe_killed"
    run_id = stack.trigger(dag_id)
    assert stack.wait_run(dag_id, run_id) == "success"
    first, second = sorted(
        stack.store.records(plan_of(stack, dag_id, run_id).id), key=lambda record: record.try_number
    )
    assert first.usage.outcome is not Outcome.SUCCESS
    assert first.outputs == []
    assert first.usage.evidence or first.error
    assert second.usage.outcome is Outcome.SUCCESS


def test_stopping_a_task_ends_the_whole_tree_of_its_tool(stack: Stack) -> None:
    dag_id = "probe_stopped"
    run_id = stack.trigger(dag_id)
    deadline = time.monotonic() + 120
    shell: psutil.Process | None = None
    while shell is None:
        assert time.monotonic() < deadline, "the tool did not start"
        time.sleep(0.5)
        for process in psutil.process_iter(["cmdline"]):
            if "sleep 300 & wait" in " ".join(process.info["cmdline"] or []):
                shell = process
    tree = [shell, *shell.children(recursive=True)]
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{TOOL}/0"
    stack.airflow_api.request("PATCH", path, json={"new_state": "failed"})
    assert stack.wait_run(dag_id, run_id) == "failed"
    _, alive = psutil.wait_procs(tree, timeout=60)
    assert alive == []
    plan = plan_of(stack, dag_id, run_id)
    deadline = time.monotonic() + 30
    while (record := stack.store.records(plan.id)[0]).usage.outcome is Outcome.RUNNING:
        assert time.monotonic() < deadline, "the record was never ended"
        time.sleep(0.5)
    assert record.usage.outcome is Outcome.KILLED


def test_a_plan_task_killed_after_its_commit_finds_its_plan_again(stack: Stack) -> None:
    dag_id = "probe_interrupted"
    run_id = stack.trigger(dag_id)
    assert stack.wait_run(dag_id, run_id) == "success"
    assert instance(stack, dag_id, run_id, "plan").try_number == 2
    plans = plans_of(stack, run_id)
    assert len(plans) == 1
    assert len(stack.store.records(plans[0].id)) == len(plans[0].steps)


def test_a_step_that_no_policy_routed_refuses_to_work(stack: Stack) -> None:
    dag_id = "probe_unrouted"
    run_id = run_until_failed(stack, dag_id)
    plan = plan_of(stack, dag_id, run_id)
    row = tools_of(stack, dag_id, run_id, "tool")[0]
    assert (row.state, row.pool, row.try_number) == ("failed", "tomas_unrouted", 1)
    assert row.queue != plan.steps[0].queue
    assert "the routing policy did not act" in errors_in_log(stack, row, dag_id, run_id)
    assert stack.store.records(plan.id) == []


def test_a_missing_pool_stops_the_plan_before_its_release_and_sync_repairs_it(stack: Stack) -> None:
    pool = stack.bins[0].pool
    stack.airflow_api.request("DELETE", f"/pools/{pool}")
    try:
        run_id = run_until_failed(stack, "probe_simple")
        message = errors_in_log(stack, instance(stack, "probe_simple", run_id, "plan"), "probe_simple", run_id)
        assert f"pool {pool} does not exist" in message
        assert "tomas airflow sync" in message
        assert plans_of(stack, run_id) == []
    finally:
        lines = sync(stack)
    assert f"pool {pool}: created with 100 slots" in lines
    assert sync(stack).splitlines()[-1] == "Every pool is as the bins need it."


def test_queues_without_a_worker_are_not_planned_on(stack: Stack) -> None:
    classes = stack.store.worker_classes()
    lost = Bin(
        name="lost_1", worker_class="lost", queue="tomas_lost_1", pool="tomas_lost_1", capacity=classes[0].capacity
    )
    stack.store.upsert_worker_classes([WorkerClass(name="lost", capacity=lost.capacity, bins=[lost])], prune=True)
    stack.airflow_api.set_pool(lost.pool, 100, "TOMAS bin lost_1")
    try:
        run_id = run_until_failed(stack, "probe_simple")
    finally:
        stack.store.upsert_worker_classes(classes, prune=True)
        stack.airflow_api.request("DELETE", f"/pools/{lost.pool}")
    message = errors_in_log(stack, instance(stack, "probe_simple", run_id, "plan"), "probe_simple", run_id)
    assert "No live worker consumes any of the queues tomas_lost_1" in message
    assert "airflow celery worker --queues tomas_lost_1" in message
    assert plans_of(stack, run_id) == []


def sync(stack: Stack) -> str:
    """Run ``tomas airflow sync`` as an operator of the installation would."""
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", "from tomas.cli import main; main()", "airflow", "sync"],
        env={**stack.environment(), "TOMAS__STORE__DSN": stack.store_dsn},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("task", "message"),
    [("", "TaskError"), ("x" * 100_000, "TaskError"), ("Knit a woollen scarf for the winter", "NoToolMatches")],
)
def test_a_task_nobody_can_plan_fails_once_with_the_reason(stack: Stack, task: str, message: str) -> None:
    run_id = run_until_failed(stack, "probe_simple", {"task": task})
    row = instance(stack, "probe_simple", run_id, "plan")
    assert row.try_number == 1
    text = errors_in_log(stack, row, "probe_simple", run_id)
    assert message in text
    assert "Remedy:" in text
    assert plans_of(stack, run_id) == []


def test_a_store_too_slow_to_answer_fails_the_plan_and_leaves_nothing(stack: Stack) -> None:
    dag_id = "probe_simple"
    blocker = psycopg2.connect(stack.store_dsn)
    try:
        with blocker.cursor() as cursor:
            cursor.execute("LOCK TABLE tomas.plan IN ACCESS EXCLUSIVE MODE")
        run_id = run_until_failed(stack, dag_id)
    finally:
        blocker.close()
    reason = errors_in_log(stack, instance(stack, dag_id, run_id, "plan"), dag_id, run_id)
    assert "StoreUnavailable" in reason
    assert plans_of(stack, run_id) == []
    assert {row.state for row in tools_of(stack, dag_id, run_id)} <= {"upstream_failed"}
