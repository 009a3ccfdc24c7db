"""One serial pass over allowed modes: feasible whatever is allowed, and no search behind it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.schedule_instances import own_kind
from tests.unit.schedule.test_schedule import flat, mode, problem, violations
from tomas.errors import PlanError
from tomas.schedule import Activity, OnePass, schedule

FAST, THRIFTY = 0, 1


def test_each_activity_takes_the_allowed_mode_in_which_it_ends_first() -> None:
    both = (mode(4, 1, 100), mode(2, 1, 150))
    once = OnePass(problem(Activity("a", both), Activity("b", both)))
    free, fixed = once.place(), once.place([[THRIFTY], [THRIFTY]])
    assert free is not None
    assert fixed is not None
    assert [item.mode_index for item in free.assignments] == [FAST, FAST]
    assert (free.makespan_ms, fixed.makespan_ms) == (200, 150)


def test_of_modes_that_end_at_once_the_cheapest_is_taken() -> None:
    once = OnePass(problem(Activity("a", (mode(4, 1, 100, cost=2.0), mode(2, 1, 100, cost=1.0)))))
    made = once.place()
    assert made is not None
    assert (made.assignments[0].mode_index, made.cost) == (1, 1.0)


def test_what_fits_nowhere_in_an_allowed_mode_is_none() -> None:
    once = OnePass(problem(Activity("a", (mode(8, 1, 100), mode(2, 1, 150)))))
    assert once.place([[FAST]]) is None
    assert once.place([[]]) is None
    assert once.place([[FAST, THRIFTY]]) is not None


def test_what_fits_nowhere_at_all_is_refused() -> None:
    with pytest.raises(PlanError):
        OnePass(problem(Activity("a", (mode(8, 1, 100),)), capacities={"b1": flat(cores=4)}))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(2, 12), data=st.data())
def test_a_pass_keeps_to_what_is_free_and_never_beats_the_exact_schedule(seed: int, steps: int, data) -> None:
    task = own_kind(steps, seed=seed)
    allowed = [
        data.draw(st.sets(st.integers(0, len(activity.modes) - 1), min_size=1)) for activity in task.activities
    ]
    made = OnePass(task).place(allowed)
    if made is None:
        return
    assert violations(task, made) == []
    assert all(item.mode_index in some for item, some in zip(made.assignments, allowed, strict=True))
    assert made.makespan_ms >= schedule(task, limit_s=0.2).bound_ms - 1e-6
