"""Why a plan task released no plan, put where the Plan tab can read it.

Airflow's metadata base holds no error texts, only logs do; so the plan task pushes its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tomas.airflow.xcom import write_row
from tomas.errors import TomasError

__all__ = ["ERROR_KEY", "shown_in_plan_tab"]

ERROR_KEY = "tomas_error"
"""XCom key of ``{"error", "message", "remedy"}``; Airflow removes it when the task starts its next try."""

log = logging.getLogger(__name__)


@contextmanager
def shown_in_plan_tab(ti: Any) -> Iterator[None]:
    """Push a TOMAS error that leaves this block, then let it go on."""
    try:
        yield
    except TomasError as error:
        value = {"error": type(error).__name__, "message": error.what, "remedy": error.remedy}
        place = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
        try:
            write_row(ERROR_KEY, value, **place)
        except Exception:  # the error at hand matters more than its display
            log.warning("The error could not be put into the Plan tab", exc_info=True)
        raise
