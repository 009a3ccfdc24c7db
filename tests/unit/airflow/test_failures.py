"""Which errors Airflow may retry."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tomas.airflow.failures import airflow_failures
from tomas.errors import (
    BinTooSmall,
    ConfigError,
    FitsNoBin,
    RoutingError,
    StoreUnavailable,
    TomasError,
    ToolContractError,
    ToolError,
    ToolOutOfMemory,
    UnknownToolError,
)


@pytest.mark.parametrize("kind", [StoreUnavailable, ToolError, ToolOutOfMemory])
def test_what_may_do_better_next_time_is_left_to_the_retries(kind: type[TomasError]) -> None:
    with pytest.raises(kind), airflow_failures():
        raise kind("it broke.", remedy="wait.")


@pytest.mark.parametrize(
    "kind", [BinTooSmall, ConfigError, FitsNoBin, RoutingError, UnknownToolError, ToolContractError]
)
def test_what_would_come_out_the_same_ends_at_once_with_cause_and_remedy(kind: type[TomasError]) -> None:
    with pytest.raises(AirflowFailException, match=r"it broke\. Remedy: do this\."), airflow_failures():
        raise kind("it broke.", remedy="do this.")


def test_other_errors_are_not_touched() -> None:
    with pytest.raises(KeyError), airflow_failures():
        raise KeyError("x")
