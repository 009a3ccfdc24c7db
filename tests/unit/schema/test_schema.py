"""The contract that flows between rooms: strict, finite, canonical."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tomas.errors import FitsNoBin, TomasError
from tomas.schema import (
    POOL_SIZE,
    Bin,
    CapacityCurve,
    InputSizeThresholds,
    Plan,
    Resources,
    Tool,
    WorkerClass,
    canonical_json,
    media_type_matches,
    plan_json_schema,
    pool_slots,
)

amounts = st.floats(min_value=0, max_value=1e6, allow_nan=False)
resources = st.builds(Resources, cpu_cores=amounts, cpu_mem_gb=amounts, gpu_sm=amounts, gpu_mem_gb=amounts)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.001, "many"])
def test_resources_refuse_what_is_no_amount(bad: object) -> None:
    with pytest.raises(ValidationError):
        Resources(cpu_cores=bad)  # type: ignore[arg-type]


@given(resources, resources)
def test_subtracting_never_goes_below_zero_and_adding_back_never_shrinks(a: Resources, b: Resources) -> None:
    rest = a.minus(b)
    assert all(value >= 0 for value in rest)
    assert rest.fits(a)
    assert a.fits(rest + b)


@given(
    st.lists(
        st.tuples(st.floats(0.01, 4, allow_nan=False), st.floats(0.01, 8, allow_nan=False)), min_size=1, max_size=30
    )
)
def test_steps_within_the_pool_never_exceed_the_bin(needs: list[tuple[float, float]]) -> None:
    """The promise behind pool_slots: whatever set of steps the pool admits, no resource is exceeded."""
    capacity = Resources(cpu_cores=4, cpu_mem_gb=8)
    admitted, used = Resources(), 0
    for cores, memory in needs:
        need = Resources(cpu_cores=cores, cpu_mem_gb=memory)
        slots = pool_slots(need, capacity)
        if used + slots <= POOL_SIZE:
            used += slots
            admitted = admitted + need
    assert admitted.cpu_cores <= capacity.cpu_cores + 1e-6
    assert admitted.cpu_mem_gb <= capacity.cpu_mem_gb + 1e-6


def test_pool_slots_are_the_dominant_share_rounded_up() -> None:
    capacity = Resources(cpu_cores=4, cpu_mem_gb=8)
    assert pool_slots(Resources(cpu_cores=1, cpu_mem_gb=1), capacity) == 25
    assert pool_slots(Resources(cpu_cores=1, cpu_mem_gb=4.01), capacity) == 51
    assert pool_slots(Resources(), capacity) == 1
    assert pool_slots(Resources(cpu_cores=5), capacity) > POOL_SIZE
    with pytest.raises(ValueError, match="gpu_mem_gb"):
        pool_slots(Resources(gpu_mem_gb=1), capacity)


def test_equal_models_have_equal_json_and_nan_has_none() -> None:
    assert (
        Resources(cpu_cores=1, cpu_mem_gb=2).canonical_json()
        == Resources(cpu_mem_gb=2, cpu_cores=1).canonical_json()
    )
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"x": float("nan")})


@pytest.mark.parametrize(
    ("offered", "wanted", "matches"),
    [
        ("image/png", "image/*", True),
        ("image/*", "image/*", True),
        ("text/plain", "image/*", False),
        ("image/*", "image/png", False),
        ("text/plain", "*/*", True),
    ],
)
def test_media_types(offered: str, wanted: str, matches: bool) -> None:
    assert media_type_matches(offered, wanted) is matches


def test_input_size_classes_have_ordered_bounds() -> None:
    bounds = InputSizeThresholds(small_max_bytes=10, medium_max_bytes=100)
    assert [bounds.classify(n).value for n in (0, 10, 11, 100, 101)] == [
        "small",
        "small",
        "medium",
        "medium",
        "large",
    ]
    with pytest.raises(ValidationError, match="medium_max_bytes"):
        InputSizeThresholds(small_max_bytes=100, medium_max_bytes=100)


def test_a_curve_holds_its_last_value_and_refuses_uneven_lists() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    lists = {"cpu_cores": [1.0, 2.0], "cpu_mem_gb": [4.0, 4.0], "gpu_sm": [0.0, 0.0], "gpu_mem_gb": [0.0, 0.0]}
    curve = CapacityCurve(bin="b", start_at=start, step_ms=1000, source="naive", **lists)
    assert curve.at(start + timedelta(seconds=0.99)).cpu_cores == 1.0
    assert curve.at(start + timedelta(hours=1)).cpu_cores == 2.0
    assert curve.at(start - timedelta(hours=1)).cpu_cores == 1.0
    with pytest.raises(ValidationError, match="one common length"):
        CapacityCurve(bin="b", start_at=start, step_ms=1000, source="naive", **{**lists, "gpu_sm": []})


def test_instants_are_utc_and_naive_ones_are_refused() -> None:
    lists = {name: [1.0] for name in ("cpu_cores", "cpu_mem_gb", "gpu_sm", "gpu_mem_gb")}
    shanghai = timezone(timedelta(hours=8))
    curve = CapacityCurve(
        bin="b", start_at=datetime(2026, 1, 1, 8, tzinfo=shanghai), step_ms=1, source="naive", **lists
    )
    assert curve.start_at.isoformat() == "2026-01-01T00:00:00+00:00"
    with pytest.raises(ValidationError, match="timezone"):
        CapacityCurve(bin="b", start_at=datetime(2026, 1, 1), step_ms=1, source="naive", **lists)  # noqa: DTZ001


def test_bins_of_a_class_are_equal() -> None:
    small, big = Resources(cpu_cores=1, cpu_mem_gb=1), Resources(cpu_cores=2, cpu_mem_gb=1)
    item = Bin(name="b1", worker_class="c", queue="q", pool="p", capacity=big)
    with pytest.raises(ValidationError, match="differs from its class"):
        WorkerClass(name="c", capacity=small, bins=[item])


def test_a_command_tool_has_one_port_on_each_side() -> None:
    row = {
        "name": "t",
        "family": "f",
        "description": "d",
        "inputs": [{"name": "a", "type": "text/plain"}, {"name": "b", "type": "text/plain"}],
        "outputs": [{"name": "o", "type": "text/plain"}],
        "input_size": {"small_max_bytes": 1, "medium_max_bytes": 2},
        "runner": {"kind": "command", "argv": ["true"], "output_suffix": ".txt"},
    }
    with pytest.raises(ValidationError, match="exactly one input port"):
        Tool.model_validate(row)
    with pytest.raises(ValidationError, match="not distinct"):
        Tool.model_validate({**row, "runner": None, "outputs": [row["outputs"][0]] * 2})  # type: ignore[index]


def test_the_plan_has_a_published_json_schema() -> None:
    schema = plan_json_schema()
    json.dumps(schema)
    assert schema["additionalProperties"] is False
    assert set(Plan.model_fields) == set(schema["properties"])


def test_errors_say_what_and_remedy_and_survive_a_process_boundary() -> None:
    error = FitsNoBin("Step s1 needs 9 cores; the largest bin has 4.", remedy="Add a bigger worker.")
    assert str(error) == "Step s1 needs 9 cores; the largest bin has 4. Remedy: Add a bigger worker."
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert isinstance(copy, FitsNoBin)
    assert isinstance(copy, TomasError)
    assert (copy.what, copy.remedy) == (error.what, error.remedy)
