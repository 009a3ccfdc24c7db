"""The sampler: free = declared capacity - background - reservations, its own steps not counted twice."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.demo.postgres import free_port
from tomas.errors import ConfigError
from tomas.runtime.sampler import Sampler
from tomas.schema import (
    AllocationDecision,
    Bin,
    CapacityCurve,
    ExecutionRecord,
    Outcome,
    Plan,
    PlannerInfo,
    PlanRequest,
    PlanStep,
    Reservation,
    Resources,
    Sample,
    StepUsage,
    utc_now,
)
from tomas.store import Store
from tomas.telemetry.host import HostMeter


class FixedMeter(HostMeter):
    """A host of which the test says what it has and what is in use."""

    def __init__(self, has: Resources, uses: Resources) -> None:
        super().__init__()
        self.has, self.uses = has, uses

    def capacity(self, gpu_index: int | None = None) -> Resources:
        return self.has

    def usage(self, gpu_index: int | None = None) -> Resources:
        return self.uses

    def gpu_usage(self, gpu_index: int) -> Resources:
        return Resources(gpu_sm=30, gpu_mem_gb=10)


def place(name: str, cores: float, mem_gb: float, gpu: int | None = None) -> Bin:
    return Bin(
        name=name,
        worker_class="class",
        queue=f"tomas_{name}",
        pool=f"tomas_{name}",
        capacity=Resources(
            cpu_cores=cores,
            cpu_mem_gb=mem_gb,
            gpu_sm=0 if gpu is None else 100,
            gpu_mem_gb=0 if gpu is None else 80,
        ),
        gpu_index=gpu,
    )


SMALL, LARGE = place("small_1", 1, 2), place("large_1", 3, 6)
HOST = Resources(cpu_cores=4, cpu_mem_gb=16)
NEED = Resources(cpu_cores=1, cpu_mem_gb=1)


def release(store: Store, at: datetime, seconds: float, *, bin_name: str = "large_1") -> Plan:
    """A plan of one step with a reservation from ``at`` on."""
    step = PlanStep(
        id="s0",
        tool="thumbnail",
        inputs={},
        predicted_input_bytes=1,
        allocation=AllocationDecision(floor=NEED, final=NEED, why="test"),
        latency_p50_ms=1,
        latency_p90_ms=1000 * seconds,
        start_ms=0,
        end_ms=1000 * seconds,
        bin=bin_name,
        worker_class="class",
        queue="q",
        pool="p",
        pool_slots=34,
        confidence=1,
    )
    plan = Plan(
        request=PlanRequest(task="thumbnails"),
        language="en",
        planner=PlannerInfo(kind="retrieval", version="1"),
        created_at=at,
        release_at=at,
        t_inf_predicted_ms=0,
        dispatch_lag_predicted_ms=0,
        forecast=[
            CapacityCurve(
                bin=bin_name,
                start_at=at,
                step_ms=1000,
                source="declared",
                cpu_cores=[1.0],
                cpu_mem_gb=[1.0],
                gpu_sm=[0.0],
                gpu_mem_gb=[0.0],
            )
        ],
        steps=[step],
        makespan_ms=1000 * seconds,
    )
    held = Reservation(
        plan_id=plan.id,
        step_id="s0",
        bin=bin_name,
        need=NEED,
        slots=34,
        start_at=at,
        end_at=at + timedelta(seconds=seconds),
    )
    return store.release_plan(plan, [held], lambda _: None)


def running(plan: Plan, started_at: datetime, wall_s: float, cpu_seconds: float, mem_gb: float) -> ExecutionRecord:
    return ExecutionRecord(
        plan_id=plan.id,
        step_id="s0",
        tool="thumbnail",
        try_number=1,
        bin=plan.steps[0].bin,
        host="here",
        requested=NEED,
        input_bytes=1,
        started_at=started_at,
        usage=StepUsage(
            wall_ms=1000 * wall_s,
            peak_mem_gb=mem_gb,
            cpu_seconds=cpu_seconds,
            peak_cpu_cores=1,
            outcome=Outcome.RUNNING,
        ),
    )


def by_bin(samples: list[Sample]) -> dict[str, Sample]:
    return {item.bin: item for item in samples}


def test_background_falls_on_undeclared_capacity_first_and_once(store: Store) -> None:
    # 16 GB host, 8 declared: 9 GB in use press on the bins with 1 GB, shared 2 : 6. No core is undeclared.
    uses = Resources(cpu_cores=2, cpu_mem_gb=9)
    found = by_bin(Sampler(store, [SMALL, LARGE], meter=FixedMeter(HOST, uses)).sample_once())
    assert found["small_1"].background == Resources(cpu_cores=0.5, cpu_mem_gb=0.25)
    assert found["large_1"].background == Resources(cpu_cores=1.5, cpu_mem_gb=0.75)
    assert found["large_1"].free == Resources(cpu_cores=1.5, cpu_mem_gb=5.25)
    assert store.recent_samples(utc_now() - timedelta(minutes=1)) == [found["large_1"], found["small_1"]]


def test_own_running_step_is_reserved_and_not_background(store: Store) -> None:
    now = utc_now()
    plan = release(store, now - timedelta(seconds=5), 60)
    store.save_record(running(plan, now - timedelta(seconds=5), wall_s=5, cpu_seconds=5, mem_gb=9))
    sampler = Sampler(store, [SMALL, LARGE], meter=FixedMeter(HOST, Resources(cpu_cores=1, cpu_mem_gb=9)))
    found = by_bin(sampler.sample_once(now))
    assert found["large_1"].background == Resources()
    assert found["large_1"].reserved == NEED
    assert found["large_1"].free == Resources(cpu_cores=2, cpu_mem_gb=5)
    assert found["small_1"].free == SMALL.capacity

    # The step has gone quiet since: its CPU is what it used between the two readings, not its mean.
    store.save_record(running(plan, now - timedelta(seconds=5), wall_s=10, cpu_seconds=5, mem_gb=9))
    found = by_bin(sampler.sample_once(now + timedelta(seconds=5)))
    assert found["small_1"].background.cpu_cores == pytest.approx(0.25)
    assert found["large_1"].background.cpu_cores == pytest.approx(0.75)


def test_overrunning_step_still_holds_and_a_step_without_reservation_is_background(store: Store) -> None:
    now = utc_now()
    plan = release(store, now - timedelta(seconds=60), 10)
    store.save_record(running(plan, now - timedelta(seconds=60), wall_s=60, cpu_seconds=60, mem_gb=0))
    stranger = plan.model_copy(update={"id": "not-stored"})
    store.save_record(running(stranger, now, wall_s=1, cpu_seconds=1, mem_gb=0))
    meter = FixedMeter(Resources(cpu_cores=3, cpu_mem_gb=6), Resources(cpu_cores=2))
    (found,) = Sampler(store, [LARGE], meter=meter).sample_once(now)
    assert found.reserved == NEED
    assert found.background == Resources(cpu_cores=1)
    assert found.free == Resources(cpu_cores=1, cpu_mem_gb=5)


def test_gpu_is_a_bins_alone(store: Store) -> None:
    gpu = place("gpu_1", 2, 4, gpu=0)
    (found,) = Sampler(store, [gpu], meter=FixedMeter(HOST, Resources())).sample_once()
    assert found.background == Resources(gpu_sm=30, gpu_mem_gb=10)
    assert (found.free.gpu_sm, found.free.gpu_mem_gb) == (70, 70)


def test_restart_or_second_sampler_adds_nothing_twice(store: Store) -> None:
    at = datetime(2030, 1, 1, 12, 0, 3, tzinfo=UTC)
    for _ in range(2):
        sampler = Sampler(store, [SMALL, LARGE], 5, meter=FixedMeter(HOST, Resources()))
        sampler.sample_once(at)
        sampler.sample_once(at + timedelta(seconds=1))
        sampler.sample_once(at + timedelta(seconds=2))
    stored = store.recent_samples(datetime(2030, 1, 1, tzinfo=UTC))
    assert [item.at.second for item in stored if item.bin == "small_1"] == [0, 5]
    assert len(stored) == 4


def test_old_readings_are_removed(store: Store) -> None:
    now = utc_now()
    sampler = Sampler(store, [SMALL], meter=FixedMeter(HOST, Resources()), keep=timedelta(hours=2))
    for hours in (5, 3, 1, 0):
        sampler.sample_once(now - timedelta(hours=hours))
    assert len(store.recent_samples(now - timedelta(days=1))) == 2


@settings(max_examples=60, deadline=None)
@given(
    has=st.tuples(*[st.floats(0.1, 64)] * 2),
    uses=st.tuples(*[st.floats(0, 64)] * 2),
    held=st.tuples(*[st.floats(0, 8)] * 2),
)
def test_free_never_exceeds_what_the_host_and_the_declaration_allow(
    has: tuple[float, float], uses: tuple[float, float], held: tuple[float, float]
) -> None:
    capacity = Resources(cpu_cores=has[0], cpu_mem_gb=has[1])
    meter = FixedMeter(capacity, Resources(cpu_cores=uses[0], cpu_mem_gb=uses[1]))
    at = utc_now()
    reservation = Reservation(
        plan_id="p",
        step_id="s",
        bin="large_1",
        need=Resources(cpu_cores=held[0], cpu_mem_gb=held[1]),
        slots=1,
        start_at=at,
        end_at=at,
    )
    sampler = Sampler(Store("host=unused"), [SMALL, LARGE], meter=meter)
    samples = sampler._samples(at, [reservation], {})
    free = [sum(amounts) for amounts in zip(*(item.free for item in samples), strict=True)]
    for place_, sample in zip((SMALL, LARGE), samples, strict=True):
        assert sample.free.fits(place_.capacity)
    for i in (0, 1):
        declared = sum(tuple(item.capacity)[i] for item in (SMALL, LARGE))
        if has[i] >= declared:
            assert free[i] <= max(0.0, has[i] - uses[i]) + 1e-6


def test_runs_until_told_and_survives_killed_connections(store: Store, dsn: str) -> None:
    stop = threading.Event()
    sampler = Sampler(store, [SMALL], 0.1, meter=FixedMeter(HOST, Resources()))
    thread = threading.Thread(target=sampler.run, args=(stop,))
    thread.start()
    try:
        began = utc_now() - timedelta(seconds=1)
        wait_for(lambda: len(store.recent_samples(began)) >= 2)
        link = psycopg2.connect(dsn)
        link.autocommit = True
        with link.cursor() as cur:
            cur.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
        link.close()
        since = utc_now()
        wait_for(lambda: len(store.recent_samples(since)) >= 2)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


def test_warns_and_goes_on_while_postgres_is_away(caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    away = Store(f"postgresql://tomas:secret@127.0.0.1:{free_port()}/tomas")
    sampler = Sampler(away, [SMALL], 0.05, meter=FixedMeter(HOST, Resources()))
    thread = threading.Thread(target=sampler.run, args=(stop,))
    thread.start()
    try:
        wait_for(lambda: len(caplog.records) >= 3)
    finally:
        stop.set()
        thread.join(20)
    assert "No sample was stored" in caplog.text
    assert "secret" not in caplog.text


def test_real_load_on_this_host_is_background(store: Store) -> None:
    cores = HostMeter().capacity().cpu_cores
    whole = place("whole", cores, 1)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as load:
        try:
            sampler = Sampler(store, [whole])
            sampler.sample_once()
            time.sleep(1.0)
            (found,) = sampler.sample_once(utc_now() + timedelta(seconds=5))
        finally:
            load.kill()
    assert found.background.cpu_cores > 0.3
    assert found.free.cpu_cores < cores - 0.3


def test_no_bins_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no bins"):
        Sampler(Store("host=unused"), [])


def wait_for(condition: object, timeout_s: float = 20.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def test_a_clock_far_ahead_is_refused_and_told(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    meter = FixedMeter(HOST, Resources())
    sampler = Sampler(store, [SMALL], meter=meter)
    ahead = utc_now() + timedelta(hours=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tomas.runtime.sampler.utc_now", lambda: ahead)
        sampler.sample_once()
    assert store.recent_samples(utc_now() - timedelta(days=1)) == []
    assert "1 for future" in caplog.text
    assert "Compare this host's clock" in caplog.text
    sampler.sample_once()
    assert len(store.recent_samples(utc_now() - timedelta(days=1))) == 1


def test_readings_are_rolled_up_a_batch_at_a_time_before_anything_is_removed(store: Store) -> None:
    now = utc_now().replace(minute=30, second=0, microsecond=0) - timedelta(days=1)
    hours = 450
    store.copy_samples(("old_1", now - timedelta(hours=i), *[1.0] * 12) for i in range(hours))
    sampler = Sampler(store, [SMALL], meter=FixedMeter(HOST, Resources()), keep=timedelta(hours=100))
    for seconds, left in ((0, hours + 1), (5, 102)):
        sampler.sample_once(now + timedelta(seconds=seconds))
        assert len(store.recent_samples(now - timedelta(days=30))) == pytest.approx(left, abs=2)
    assert len(store.rollups(now - timedelta(days=30), now, bins=["old_1"])) == hours
