"""The whole scheduler: optimal where that can be enumerated, never infeasible, repeatable, clear when it fails."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.schedule_instances import own_kind
from benchmarks.schedule_rules import check
from tomas.errors import Infeasible, PlanError
from tomas.schedule import Activity, Capacity, Mode, Problem, Schedule, list_schedule, schedule

NAMES = ("cores", "GB")


def flat(cores: float = 4, gb: float = 8, spread: float = 0.0) -> Capacity:
    return Capacity(np.array([0.0]), np.array([[cores, gb]]), spread)


def mode(cores: float, gb: float, ms: float, place: str = "b1", cost: float = 0.0, **uses: float) -> Mode:
    return Mode(place, (cores, gb), ms, ms, uses, cost)


def problem(*activities: Activity, deadline_ms: float | None = None, **more) -> Problem:
    capacities = more.pop("capacities", {"b1": flat()})
    return Problem(activities, capacities, deadline_ms, NAMES, more.pop("budgets", {}))


def violations(task: Problem, made: Schedule) -> list[str]:
    return check(task, {item.activity: (item.start_ms, item.mode) for item in made.assignments})


def best_by_enumeration(task: Problem) -> tuple[float, float] | None:
    """Least makespan and, at it, least cost, over all orders and all choices of modes.

    Every schedule can be moved to the left into one that some order generates, its modes unchanged.
    """
    best: tuple[float, float] | None = None
    capacity = task.capacities
    for chosen in itertools.product(*(a.modes for a in task.activities)):
        if any(sum(m.uses.get(n, 0.0) for m in chosen) > limit + 1e-9 for n, limit in task.budgets.items()):
            continue
        modes = {a.id: m for a, m in zip(task.activities, chosen, strict=True)}
        for order in itertools.permutations(task.activities):
            times: dict[str, tuple[float, Mode]] = {}
            for activity in order:
                if any(p not in times for p in activity.predecessors):
                    break
                picked = modes[activity.id]
                ready = max([0.0, *(times[p][0] + times[p][1].p90_ms for p in activity.predecessors)])
                marks = {ready, *(s + m.p90_ms for s, m in times.values()), *capacity[picked.bin].starts_ms}
                for start in sorted(mark for mark in marks if mark >= ready):
                    trial = {**times, activity.id: (float(start), picked)}
                    part = Problem(tuple(a for a in task.activities if a.id in trial), capacity, None, NAMES)
                    if not check(part, trial):
                        times = trial
                        break
            if len(times) == len(task.activities):
                found = max(s + m.p90_ms for s, m in times.values()), sum(m.cost for m in chosen)
                best = found if best is None or found < best else best
    return best


small = st.integers(1, 4).flatmap(
    lambda count: st.tuples(
        *(
            st.tuples(
                st.lists(
                    st.tuples(
                        st.integers(1, 4), st.integers(1, 8), st.integers(1, 9), st.sampled_from(["b1", "b2"]),
                        st.integers(0, 5),
                    ),
                    min_size=1, max_size=2,
                ),
                st.sets(st.integers(0, i - 1), max_size=2) if i else st.just(set()),
            )
            for i in range(count)
        )
    )
)  # fmt: skip
cells = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=3)


@given(small, cells, st.none() | st.integers(3, 12))
@settings(max_examples=60, deadline=None)
def test_small_problems_are_solved_to_the_optimum_and_then_to_the_least_cost(raw, rows, budget) -> None:
    table = np.array([[float(c), float(g)] for c, g in rows] + [[4.0, 8.0]])
    capacities = {"b1": Capacity(np.arange(len(table)) * 4.0, table), "b2": flat(2, 8)}
    task = problem(
        *(
            Activity(
                f"s{i}",
                tuple(
                    mode(min(c, 2) if b == "b2" else c, g, ms, b, cost, hours=c * 1.0)
                    for c, g, ms, b, cost in modes
                ),
                tuple(f"s{j}" for j in sorted(before)),
            )
            for i, (modes, before) in enumerate(raw)
        ),
        capacities=capacities,
        budgets={} if budget is None else {"hours": float(budget)},
    )
    expected = best_by_enumeration(task)
    if expected is None:
        with pytest.raises(Infeasible, match="hours"):
            schedule(task)
        return
    made = schedule(task)
    assert violations(task, made) == []
    assert made.makespan_ms == pytest.approx(expected[0])
    assert made.bound_ms == pytest.approx(expected[0])
    assert made.cost == pytest.approx(expected[1])


@pytest.mark.parametrize("seed", range(6))
def test_plans_are_feasible_and_never_worse_than_the_list_schedule(seed: int) -> None:
    task = own_kind(40, width=(0.1, 0.5, 1.0)[seed % 3], seed=seed)
    listed, made = list_schedule(task), schedule(task, limit_s=0.3)
    assert violations(task, made) == violations(task, listed) == []
    assert made.makespan_ms <= listed.makespan_ms
    assert made.bound_ms <= made.makespan_ms + 1e-6
    assert made.gap_pct == pytest.approx(100 * (made.makespan_ms - made.bound_ms) / made.makespan_ms)


def test_the_same_problem_gives_the_same_schedule() -> None:
    task = own_kind(40, width=1.0, seed=5)
    first, second = schedule(task, limit_s=0.2), schedule(task, limit_s=0.2)
    assert first == second
    assert first.method == "cp-sat"
    assert not first.interrupted


def test_a_limit_in_processor_time_is_kept_and_told() -> None:
    made = schedule(own_kind(100, width=1.0, seed=3), limit_s=0.3, cpu_limit_s=0.3)
    assert made.interrupted
    assert made.gap_pct > 0


def test_list_scheduling_that_meets_the_bound_never_loads_the_solver() -> None:
    made = schedule(problem(Activity("a", (mode(1, 1, 100),)), Activity("b", (mode(1, 1, 50),), ("a",))))
    assert (made.makespan_ms, made.bound_ms, made.method) == (150.0, 150.0, "list")


def test_the_solver_fills_a_gap_that_greedy_scheduling_leaves() -> None:
    # The most urgent first leaves a core idle; the best order packs 3 + 1 and 2 + 2 cores.
    steps = [(3, 40), (1, 40), (2, 30), (2, 30), (3, 30), (1, 30), (2, 20), (2, 20)]
    made = schedule(problem(*(Activity(f"s{i}", (mode(c, 1, ms),)) for i, (c, ms) in enumerate(steps))))
    assert made.makespan_ms == made.bound_ms == 120.0


def test_equal_times_go_to_the_cheaper_and_then_to_the_surer_bin() -> None:
    capacities = {"b1": flat(spread=0.5), "b2": flat(spread=0.1), "b3": flat()}
    dear = mode(1, 1, 100, "b3", cost=2.0)
    step = Activity("a", (mode(1, 1, 100, "b1", cost=1.0), mode(1, 1, 100, "b2", cost=1.0), dear))
    assert schedule(problem(step, capacities=capacities)).assignments[0].mode.bin == "b2"


def test_a_slower_mode_is_taken_where_it_costs_less_and_ends_in_time() -> None:
    long = Activity("long", (mode(1, 1, 100),))
    short = Activity("short", (mode(2, 1, 50, cost=3.0), mode(1, 1, 90, cost=1.0)))
    made = schedule(problem(long, short))
    assert made.makespan_ms == 100.0
    assert made.cost == 1.0


def test_budgets_are_kept_and_named_where_they_cannot_be() -> None:
    modes = (mode(4, 1, 50, core_hours=4.0), mode(1, 1, 100, core_hours=2.0))
    steps = (Activity("a", modes), Activity("b", modes, ("a",)))
    assert schedule(problem(*steps, budgets={"core_hours": 6.0})).makespan_ms == 150.0
    assert schedule(problem(*steps, budgets={"core_hours": 4.0})).makespan_ms == 200.0
    with pytest.raises(Infeasible, match=r"at least 4 core_hours, but its budget is 3"):
        schedule(problem(*steps, budgets={"core_hours": 3.0}))


def test_two_budgets_that_contradict_each_other() -> None:
    modes = (mode(1, 1, 50, x=1.0, y=3.0), mode(1, 1, 50, x=3.0, y=1.0))
    with pytest.raises(Infeasible, match=r"No choice of allocations keeps to the budgets of 1 x and 1 y"):
        schedule(problem(Activity("a", modes), budgets={"x": 1.0, "y": 1.0}))


def test_a_deadline_is_met_where_only_the_solver_finds_the_way() -> None:
    steps = [(3, 40), (1, 40), (2, 30), (2, 30), (3, 30), (1, 30), (2, 20), (2, 20)]
    activities = tuple(Activity(f"s{i}", (mode(c, 1, ms),)) for i, (c, ms) in enumerate(steps))
    assert schedule(problem(*activities, deadline_ms=120)).makespan_ms == 120.0
    with pytest.raises(Infeasible, match="no schedule is shorter than 120 ms"):
        schedule(problem(*activities, deadline_ms=119))


def test_a_missed_deadline_says_what_to_free() -> None:
    # Six steps of 3 GB in 8 GB run two by two; a third beside them needs one GB more.
    steps = tuple(Activity(f"s{i}", (mode(1, 3, 100),)) for i in range(6))
    with pytest.raises(Infeasible) as caught:
        schedule(problem(*steps, deadline_ms=200))
    assert "no schedule is shorter than 300 ms" in caught.value.what
    assert caught.value.remedy == "Allow 100 ms more, or free 1 GB more on b1."


def test_an_allocation_that_is_short_of_memory_says_how_much() -> None:
    with pytest.raises(Infeasible, match=r"needs 6 GB more on b1 \(GB: 14 needed, 8 free at most\)"):
        schedule(problem(Activity("a", (mode(1, 14, 100),))))


def test_room_that_is_never_long_enough() -> None:
    capacity = Capacity(np.array([0.0, 50.0, 60.0]), np.array([[4.0, 8.0], [0.0, 8.0], [4.0, 8.0]]))
    assert schedule(problem(Activity("a", (mode(1, 1, 80),)), capacities={"b1": capacity})).makespan_ms == 140.0
    ends = Capacity(np.array([0.0, 50.0]), np.array([[4.0, 8.0], [0.0, 8.0]]))
    with pytest.raises(Infeasible, match="never free for that long"):
        schedule(problem(Activity("a", (mode(1, 1, 80),)), capacities={"b1": ends}))


def test_an_activity_waits_for_its_earliest_start() -> None:
    made = schedule(problem(Activity("a", (mode(1, 1, 10),), earliest_ms=500.0)))
    assert made.assignments[0].start_ms == 500.0


def test_a_higher_priority_goes_first_where_both_do_not_fit() -> None:
    low = Activity("low", (mode(4, 1, 10),), priority=1)
    high = Activity("high", (mode(4, 1, 10),), priority=9)
    made = {item.activity: item.start_ms for item in schedule(problem(low, high)).assignments}
    assert made == {"high": 0.0, "low": 10.0}


def test_a_mode_on_an_unknown_bin_is_refused() -> None:
    with pytest.raises(PlanError, match="may run on ghost"):
        schedule(problem(Activity("a", (mode(1, 1, 10, "ghost"),))))


def test_times_that_are_no_whole_milliseconds() -> None:
    steps = tuple(Activity(f"s{i}", (mode(4, 1, 10.25),), (f"s{i - 1}",) if i else ()) for i in range(5))
    made = schedule(problem(*steps, Activity("x", (mode(3, 1, 20.5),)), Activity("y", (mode(1, 1, 20.5),))))
    assert violations(problem(*steps), made) == []
    assert made.makespan_ms == pytest.approx(71.75)


def test_list_scheduling_takes_the_better_of_the_serial_and_the_parallel_scheme() -> None:
    from tomas.schedule.compiled import compile_problem
    from tomas.schedule.listing import place
    from tomas.schedule.parallel import place_in_parallel

    task = own_kind(80, width=1.0, seed=7)
    compiled = compile_problem(task)
    prices = [0.0] * len(task.capacities)
    placed, asked = place_in_parallel(compiled, compiled.tails, prices)
    assert placed is not None
    assert asked >= len(compiled)
    starts, chosen = placed
    times = {a.id: (s, a.modes[o.index]) for a, s, o in zip(task.activities, starts, chosen, strict=True)}
    assert check(task, times) == []
    serial = place(compiled, compiled.tails, prices)
    assert serial is not None
    parallel = max(s + o.duration for s, o in zip(starts, chosen, strict=True))
    assert list_schedule(task).makespan_ms <= min(parallel, serial.makespan)


def test_the_parallel_scheme_gives_up_where_room_has_gone_for_good() -> None:
    from tomas.schedule.compiled import compile_problem
    from tomas.schedule.parallel import place_in_parallel

    capacity = Capacity(np.array([0.0, 100.0]), np.array([[4.0, 8.0], [0.0, 8.0]]))
    task = problem(*(Activity(f"s{i}", (mode(4, 1, 80),)) for i in range(2)), capacities={"b1": capacity})
    assert place_in_parallel(compile_problem(task), [1.0, 1.0], [0.0])[0] is None
