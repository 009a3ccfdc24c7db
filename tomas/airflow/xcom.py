"""XCom values that other Airflow components must be able to read from the row itself.

With an XCom backend in object storage the row holds only a path. ``_set_xcom_in_db`` of the Task SDK writes
the value itself; Airflow uses it for the links of operators. It is private, so all of TOMAS's use of it, and
of the messages that read a row back, is here, and a contract test runs it with that backend at threshold 0.
"""

from __future__ import annotations

from typing import Any

__all__ = ["read_row", "write_row"]


def write_row(key: str, value: Any, *, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> None:
    """Write JSON ``value`` into the XCom row itself, whatever the XCom backend is."""
    from airflow.sdk.execution_time.xcom import XCom

    XCom._set_xcom_in_db(  # noqa: SLF001  the only way past the backend
        key=key, value=value, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index
    )


def read_row(key: str, *, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
    """The value in the XCom row itself, or None; works in task processes and in the triggerer."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetXCom

    answer = task_runner.SUPERVISOR_COMMS.send(
        GetXCom(key=key, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
    )
    return getattr(answer, "value", None)
