"""List scheduling: feasible, deterministic, near known optima, fast, and clear when there is no schedule."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.errors import FitsNoBin, Infeasible, PlanError
from tomas.schedule import Activity, Capacity, Mode, Problem, capacity_of, list_schedule, mode_need
from tomas.schema import CapacityCurve, Resources, pool_slots

CAPACITY = Resources(cpu_cores=4, cpu_mem_gb=8)
START = datetime(2026, 1, 1, tzinfo=UTC)


def mode(cores: float, gb: float, ms: float, bin_name: str = "b1") -> Mode:
    need = Resources(cpu_cores=cores, cpu_mem_gb=gb)
    return Mode(bin_name, mode_need(need, pool_slots(need, CAPACITY)), ms * 0.8, ms)


def flat(cores: float = 4, gb: float = 8) -> Capacity:
    return Capacity(np.array([0.0]), np.array([[cores, gb, 0.0, 0.0, 100.0]]))


def problem(*activities: Activity, capacity: Capacity | None = None, deadline_ms: float | None = None) -> Problem:
    return Problem(activities, {"b1": capacity or flat()}, deadline_ms)


def times(solved) -> dict[str, tuple[float, float]]:
    return {item.activity: (item.start_ms, item.end_ms) for item in solved.assignments}


def test_a_chain_runs_one_after_the_other() -> None:
    solved = list_schedule(problem(Activity("a", (mode(1, 1, 100),)), Activity("b", (mode(1, 1, 50),), ("a",))))
    assert times(solved) == {"a": (0.0, 100.0), "b": (100.0, 150.0)}
    assert solved.makespan_ms == 150.0


def test_a_fan_out_runs_side_by_side_as_far_as_the_bin_allows() -> None:
    solved = list_schedule(problem(*(Activity(f"a{i}", (mode(2, 1, 100),)) for i in range(4))))
    assert solved.makespan_ms == 200.0
    assert sorted(start for start, _ in times(solved).values()) == [0.0, 0.0, 100.0, 100.0]


def test_fewer_cores_per_step_win_where_many_steps_wait() -> None:
    # Each of 4 steps: 100 ms on one core, 60 ms on four; taking four each would end at 240 ms, not 100 ms.
    modes = (mode(1, 1, 100), mode(4, 1, 60))
    assert list_schedule(problem(*(Activity(f"a{i}", modes) for i in range(4)))).makespan_ms == 100.0


def test_a_single_step_takes_the_fastest_mode() -> None:
    assert list_schedule(problem(Activity("a", (mode(1, 1, 100), mode(4, 1, 60))))).makespan_ms == 60.0


def test_a_step_waits_for_capacity_that_comes_later() -> None:
    curve = CapacityCurve(
        bin="b1", start_at=START, step_ms=100, source="samples",
        cpu_cores=[1, 1, 4], cpu_mem_gb=[8, 8, 8], gpu_sm=[0, 0, 0], gpu_mem_gb=[0, 0, 0],
    )  # fmt: skip
    solved = list_schedule(problem(Activity("a", (mode(2, 1, 50),)), capacity=capacity_of(curve)))
    assert times(solved)["a"] == (200.0, 250.0)


def test_slots_taken_by_other_plans_are_a_fifth_resource() -> None:
    curve = CapacityCurve(
        bin="b1", start_at=START, step_ms=1000, source="declared",
        cpu_cores=[4], cpu_mem_gb=[8], gpu_sm=[0], gpu_mem_gb=[0],
    )  # fmt: skip
    capacity = capacity_of(curve, [(-500.0, 300.0, 80)])
    solved = list_schedule(problem(Activity("a", (mode(1, 1, 50),)), capacity=capacity))
    assert times(solved)["a"] == (300.0, 350.0)


def test_the_longest_chain_goes_first() -> None:
    long = [Activity("l0", (mode(4, 1, 10),)), Activity("l1", (mode(1, 1, 100),), ("l0",))]
    solved = list_schedule(problem(Activity("short", (mode(3, 1, 10),)), *long))
    assert solved.makespan_ms == 110.0


def test_no_mode_fits_no_bin() -> None:
    with pytest.raises(FitsNoBin, match="Step a fits no bin"):
        list_schedule(problem(Activity("a", ())))


def test_a_step_that_never_fits_names_what_is_lacking() -> None:
    with pytest.raises(
        Infeasible, match=r"Step a never fits.*3 cpu_cores more on b1 \(cpu_cores: 4 needed, 1 free at most\)"
    ):
        list_schedule(problem(Activity("a", (mode(4, 1, 10),)), capacity=flat(cores=1)))


def test_a_deadline_that_no_number_of_workers_could_meet_says_so() -> None:
    chain = (Activity("a", (mode(1, 1, 100),)), Activity("b", (mode(1, 1, 100),), ("a",)))
    with pytest.raises(
        Infeasible,
        match=r"deadline of 150 ms: even with unlimited workers.*\(a → b\) takes 200 ms.*Allow 50 ms more",
    ):
        list_schedule(problem(*chain, deadline_ms=150))


def test_a_deadline_missed_for_lack_of_workers_says_that() -> None:
    steps = tuple(Activity(f"a{i}", (mode(4, 1, 100),)) for i in range(3))
    with pytest.raises(
        Infeasible, match=r"no schedule is shorter than 300 ms.*Allow 50 ms more, or add one more worker like b1"
    ):
        list_schedule(problem(*steps, deadline_ms=250))


def test_cycles_and_unknown_predecessors_are_refused() -> None:
    with pytest.raises(PlanError, match="a, b depend on each other in a cycle"):
        list_schedule(problem(Activity("a", (mode(1, 1, 1),), ("b",)), Activity("b", (mode(1, 1, 1),), ("a",))))
    with pytest.raises(PlanError, match="depends on ghost"):
        list_schedule(problem(Activity("a", (mode(1, 1, 1),), ("ghost",))))
    with pytest.raises(PlanError, match="same id"):
        list_schedule(problem(Activity("a", (mode(1, 1, 1),)), Activity("a", (mode(1, 1, 1),))))


def test_nothing_to_do_takes_no_time() -> None:
    assert list_schedule(problem()).makespan_ms == 0.0


def layered(count: int, width: int) -> tuple[Activity, ...]:
    modes = tuple(mode(c, 0.5, 1000 / c**0.8, name) for name in ("b1", "b2") for c in (1, 2, 4))
    return tuple(
        Activity(
            f"s{i}", modes, tuple(f"s{j}" for j in range(max(0, i - width), i - width // 2)) if i >= width else ()
        )
        for i in range(count)
    )


def test_a_thousand_steps_take_at_most_two_seconds() -> None:
    started = time.process_time()
    solved = list_schedule(Problem(layered(1000, 6), {"b1": flat(), "b2": flat()}))
    assert len(solved.assignments) == 1000
    assert time.process_time() - started < 2.0


activities = st.integers(2, 14).flatmap(
    lambda count: st.tuples(
        *(
            st.tuples(
                st.lists(
                    st.tuples(st.sampled_from([0.5, 1, 2, 3, 4]), st.integers(1, 8), st.integers(1, 500)),
                    min_size=1,
                    max_size=3,
                ),
                st.sets(st.integers(0, max(0, i - 1)), max_size=3) if i else st.just(set()),
            )
            for i in range(count)
        )
    )
)
capacities = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=6)


def built(raw, cells) -> Problem:
    rows = [[float(c), float(g), 0.0, 0.0, 100.0] for c, g in cells] + [[4.0, 8.0, 0.0, 0.0, 100.0]]
    capacity = Capacity(np.arange(len(rows)) * 70.0, np.array(rows))
    return problem(
        *(
            Activity(f"s{i}", tuple(mode(*item) for item in modes), tuple(f"s{j}" for j in sorted(before)))
            for i, (modes, before) in enumerate(raw)
        ),
        capacity=capacity,
    )


@given(activities, capacities)
@settings(max_examples=150, deadline=None)
def test_every_schedule_keeps_order_and_capacity_at_every_instant(raw, cells) -> None:
    task = built(raw, cells)
    solved = list_schedule(task)
    placed = {item.activity: item for item in solved.assignments}
    assert set(placed) == {activity.id for activity in task.activities}
    for activity in task.activities:
        item = placed[activity.id]
        assert item.mode in activity.modes
        assert item.end_ms == pytest.approx(item.start_ms + item.mode.p90_ms)
        assert all(placed[before].end_ms <= item.start_ms for before in activity.predecessors)
    capacity = task.capacities["b1"]
    instants = sorted({*capacity.starts_ms, *(item.start_ms for item in solved.assignments)})
    for instant in instants:
        load = np.zeros(5)
        for item in solved.assignments:
            if item.start_ms <= instant < item.end_ms:
                load += item.mode.need
        free = capacity.free[np.searchsorted(capacity.starts_ms, instant, side="right") - 1]
        assert (load[load > 0] <= free[load > 0] + 1e-6).all()


@given(activities, capacities)
@settings(max_examples=30, deadline=None)
def test_the_same_problem_gives_the_same_schedule(raw, cells) -> None:
    assert list_schedule(built(raw, cells)) == list_schedule(built(raw, cells))
