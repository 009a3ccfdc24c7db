"""The payload that policy, trigger and operators agree on."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tests.unit.airflow.plans import plan
from tomas.airflow.operators.plan import idempotency_key
from tomas.airflow.routing import decode_routing, route_of, routing_payload, step_arguments
from tomas.airflow.trigger import judge
from tomas.errors import RoutingError


def test_routes_follow_the_steps_and_name_predecessors_by_map_index() -> None:
    payload = routing_payload(plan(), ["run.tool"])
    routes = payload["run.tool"]
    assert [route["step"] for route in routes] == ["s1", "s2", "s3", "s4"]
    assert [route["after"] for route in routes] == [[], [], [0, 1], [2]]
    assert [route["slots"] for route in routes] == [40, 60, 100, 10]
    assert json.loads(json.dumps(payload)) == payload


def test_what_more_work_waits_for_goes_first() -> None:
    priorities = [route["priority"] for route in routing_payload(plan(priority=5), ["t"])["t"]]
    assert priorities == [15, 15, 10, 5]


def test_arguments_hold_ids_and_no_text_of_the_user() -> None:
    arguments = step_arguments(plan())
    assert [item["step_id"] for item in arguments] == ["s1", "s2", "s3", "s4"]
    assert "do it" not in json.dumps(arguments)
    assert arguments[2]["queue"] == "tomas_large_1"


@pytest.mark.parametrize("index", [-1, 4])
def test_a_missing_route_is_an_error_with_a_remedy(index: int) -> None:
    with pytest.raises(RoutingError, match="Clear the plan task"):
        route_of(routing_payload(plan(), ["t"]), "t", index)


def test_rows_are_read_as_text_or_decoded_and_nothing_else() -> None:
    payload = routing_payload(plan(), ["t"])
    assert decode_routing(json.dumps(payload)) == payload
    assert decode_routing(payload) == payload
    assert decode_routing("/object/storage/path") is None
    assert decode_routing(None) is None


@pytest.mark.parametrize(
    ("states", "kind", "causes"),
    [
        ({0: "success", 1: "success"}, "go", []),
        ({0: "success", 1: "running"}, "wait", []),
        ({0: "success"}, "wait", []),
        ({0: "success", 1: "up_for_retry"}, "wait", []),
        ({0: "failed", 1: "running"}, "failed", [0]),
        ({0: "upstream_failed", 1: "skipped"}, "failed", [0]),
        ({0: "removed", 1: "success"}, "failed", [0]),
        ({0: "skipped", 1: "running"}, "skipped", [0]),
    ],
)
def test_states_of_predecessors_decide(states: dict[int, str | None], kind: str, causes: list[int]) -> None:
    verdict = judge([0, 1], states)
    assert (verdict.kind, verdict.causes) == (kind, causes)


def test_only_the_named_predecessors_count() -> None:
    assert judge([0], {0: "success", 1: "failed"}).kind == "go"
    assert judge([], {1: "failed"}).kind == "go"


def context(max_tries: int, clear_number: int, try_number: int) -> dict[str, object]:
    ti = SimpleNamespace(
        dag_id="d", run_id="r", task_id="t", map_index=-1, max_tries=max_tries, try_number=try_number
    )
    return {"ti": ti, "dag_run": SimpleNamespace(clear_number=clear_number)}


def test_a_retry_keeps_the_key_and_either_trace_of_a_clear_changes_it() -> None:
    first = idempotency_key(context(2, 0, 1))
    assert idempotency_key(context(2, 0, 2)) == first
    assert idempotency_key(context(4, 1, 3)) != first
    assert idempotency_key(context(2, 1, 2)) != first
    assert idempotency_key(context(3, 0, 2)) != first
