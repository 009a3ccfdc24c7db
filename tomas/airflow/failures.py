"""Which errors of TOMAS are worth a retry by Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowFailException

from tomas.errors import BinTooSmall, StoreUnavailable, TomasError, ToolContractError, ToolError

__all__ = ["airflow_failures"]


@contextmanager
def airflow_failures() -> Iterator[None]:
    """End a task at once where another try cannot help.

    A store that does not answer, and a tool run that failed, may do better next time: these pass through and
    Airflow retries them as the author said; one that ran out of memory gets more of it then, as long as its bin
    has more. Everything else that TOMAS raises would come out the same.
    """
    try:
        yield
    except StoreUnavailable:
        raise
    except (ToolContractError, BinTooSmall) as error:
        raise AirflowFailException(str(error)) from error
    except ToolError:
        raise
    except TomasError as error:
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error
