"""Tools, profiles, bins and samples go in and come out unchanged; what is not a finite amount is refused."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tomas.errors import StoreError
from tomas.schema import (
    Bin,
    InputSizeThresholds,
    Port,
    ProfileRow,
    ProfileSource,
    PythonRunner,
    Resources,
    Sample,
    Tool,
    WorkerClass,
)
from tomas.store import Store

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
AMOUNT = st.floats(min_value=0, max_value=1e6, allow_nan=False, allow_infinity=False)
RESOURCES = st.builds(Resources, cpu_cores=AMOUNT, cpu_mem_gb=AMOUNT, gpu_sm=AMOUNT, gpu_mem_gb=AMOUNT)


def tool(name: str, description: str = '缩略图, "quoted"; it\'s 100 %s') -> Tool:
    return Tool(
        name=name,
        family="image",
        description=description,
        inputs=[Port(name="images", type="image/*")],
        outputs=[Port(name="images", type="image/png")],
        input_size=InputSizeThresholds(small_max_bytes=10, medium_max_bytes=100),
        runner=PythonRunner(callable="a.b:run"),
    )


def worker_class(name: str, *bins: str, cores: float = 2.0, gpu: bool = False) -> WorkerClass:
    capacity = Resources(cpu_cores=cores, cpu_mem_gb=4, gpu_sm=100 if gpu else 0, gpu_mem_gb=80 if gpu else 0)
    return WorkerClass(
        name=name,
        description="a class",
        capacity=capacity,
        bins=[
            Bin(
                name=item,
                worker_class=name,
                queue=f"q_{item}",
                pool=f"p_{item}",
                capacity=capacity,
                gpu_index=i if gpu else None,
            )
            for i, item in enumerate(bins)
        ],
    )


def test_tools_keep_their_order_and_are_replaced_by_name(store: Store) -> None:
    store.upsert_tools([tool("zoom"), tool("crop")])
    store.upsert_tools([tool("zoom", "new words"), tool("add")])
    assert [(item.name, item.description[:3]) for item in store.tools()] == [
        ("zoom", "new"),
        ("crop", "缩略图"),
        ("add", "缩略图"),
    ]
    store.upsert_tools([])
    assert store.tools()[1] == tool("crop")


def test_profiles_are_replaced_or_added(store: Store) -> None:
    row = ProfileRow(
        tool="zoom",
        input_size="small",
        input_bytes=1000,
        cpu_core=1,
        cpu_mem_gb=0.5,
        latency_ms=12.5,
        peak_mem_gb=0.1,
        source="measured",
        measured_at=NOW,
    )
    given_row = row.model_copy(update={"source": ProfileSource.GIVEN, "measured_at": None, "latency_ms": 1e-7})
    assert store.add_profiles([row, given_row]) == 2
    assert store.add_profiles([row]) == 1
    assert [item.model_dump(mode="json") for item in store.profiles()] == [
        item.model_dump(mode="json") for item in (row, given_row, row)
    ]
    assert store.replace_profiles([row]) == 1
    assert len(store.profiles()) == 1


def test_classes_are_replaced_with_their_bins_and_pruned_when_asked(store: Store) -> None:
    small, gpu = worker_class("small", "s_1", "s_2"), worker_class("gpu", "g_1", "g_2", gpu=True)
    store.upsert_worker_classes([small, gpu])
    assert store.worker_classes() == [gpu, small]
    assert [item.name for item in store.bins()] == ["g_1", "g_2", "s_1", "s_2"]
    smaller = worker_class("small", "s_2", cores=1)
    store.upsert_worker_classes([smaller])
    assert store.worker_classes() == [gpu, smaller]
    store.upsert_worker_classes([smaller], prune=True)
    assert store.worker_classes() == [smaller]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(free=RESOURCES, background=RESOURCES, reserved=RESOURCES)
def test_samples_round_trip_exactly(
    store: Store, free: Resources, background: Resources, reserved: Resources
) -> None:
    since = NOW + timedelta(seconds=len(store.recent_samples(NOW)))
    sample = Sample(bin="s_1", at=since, free=free, background=background, reserved=reserved)
    assert store.add_samples([sample]) == 1
    assert store.recent_samples(since) == [sample]


def test_duplicate_samples_are_ignored_and_old_ones_deleted(store: Store) -> None:
    def sample(second: int) -> Sample:
        one = Resources(cpu_cores=1)
        return Sample(bin="s_1", at=NOW + timedelta(seconds=second), free=one, background=one, reserved=one)

    assert store.add_samples([sample(0), sample(1)]) == 2
    assert store.add_samples([sample(1), sample(2), sample(2)]) == 1
    assert [item.at.second for item in store.recent_samples(NOW + timedelta(seconds=1))] == [1, 2]
    assert store.delete_samples(NOW + timedelta(seconds=2)) == 2
    assert store.add_samples([]) == 0


def test_database_itself_refuses_what_is_not_a_finite_amount(store: Store, dsn: str) -> None:
    # Pydantic refuses these too; model_construct stands for a program that goes around it.
    for value in (math.nan, math.inf, -math.inf, -0.001):
        bad = Resources.model_construct(cpu_cores=value, cpu_mem_gb=0.0, gpu_sm=0.0, gpu_mem_gb=0.0)
        sample = Sample.model_construct(bin="s_1", at=NOW, free=bad, background=Resources(), reserved=Resources())
        with pytest.raises(StoreError, match="amount"):
            store.add_samples([sample])
        link = psycopg2.connect(dsn)
        with link.cursor() as cur, pytest.raises(psycopg2.errors.CheckViolation):
            cur.execute("INSERT INTO tomas.worker_class VALUES ('x', '', %s, 1, 0, 0)", (value,))
        link.close()
    assert store.recent_samples(NOW) == []
