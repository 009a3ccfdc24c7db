"""Whatever object of type Plan it gets, the verifier raises PlanRejected or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.verify.specimens import plain
from tomas.errors import PlanRejected
from tomas.schema import Bin, CapacityCurve, Plan, PlanRequest, PlanStep, Reservation, Tool
from tomas.verify import verify_plan


class Hostile:
    """Equal to everything, and not to be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 1


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(st.characters(), max_size=5),
    st.binary(max_size=3),
    st.sampled_from([-0.0, 5e-324, 1e300, "\ud800", "\0", (), {}, [], [None], {"a": float("nan")}, {1: 2}, object]),
    st.builds(Hostile),
    st.builds(nested, st.sampled_from([10, 500, 100_000])),
    st.builds(endless),
    st.builds(plain),
)
GOOD = plain(2)


def passes(verify: Callable[[], None]) -> bool:
    """Whether it passes; a refusal is short, and any other error is the test's."""
    try:
        verify()
    except PlanRejected as error:
        refusal = error.what
    else:
        return True
    assert "rule(s): " in refusal
    assert len(refusal) < 20_000
    return False


@given(st.sampled_from(sorted(Plan.model_fields)), JUNK)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_junk_in_a_plan(name: str, value: Any) -> None:
    if passes(GOOD.of_plan(**{name: value}).verify):
        Plan.model_validate_json(GOOD.plan.model_copy(update={name: value}).model_dump_json(), strict=True)


@given(st.sampled_from(sorted(PlanStep.model_fields)), JUNK)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_junk_in_a_step(name: str, value: Any) -> None:
    case = GOOD.of_step(1, **{name: value})
    if passes(case.verify):
        Plan.model_validate_json(case.plan.model_dump_json(), strict=True)


@given(st.sampled_from(sorted(PlanRequest.model_fields)), JUNK)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_junk_in_a_request(name: str, value: Any) -> None:
    case = GOOD.of_request(**{name: value})
    if passes(case.verify):
        Plan.model_validate_json(case.plan.model_dump_json(), strict=True)


@given(st.sampled_from(sorted(CapacityCurve.model_fields)), JUNK)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_junk_in_a_forecast(name: str, value: Any) -> None:
    passes(GOOD.of_curve(0, **{name: value}).verify)


@given(st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_junk_beside_the_plan(data: st.DataObject) -> None:
    bins, tools = list(GOOD.bins), dict(GOOD.tools)
    held = Reservation(
        plan_id="other", step_id="x", bin=bins[0].name, need=bins[0].capacity, slots=1,
        start_at=GOOD.plan.created_at, end_at=GOOD.plan.release_at,
    )  # fmt: skip
    junk = data.draw(JUNK)
    of = data.draw(st.sampled_from([Bin, Tool, Reservation]))
    name = data.draw(st.sampled_from(sorted(of.model_fields)))
    if of is Bin:
        bins[0] = bins[0].model_copy(update={name: junk})
    elif of is Tool:
        tools["label"] = tools["label"].model_copy(update={name: junk})
    else:
        held = held.model_copy(update={name: junk})
    passes(lambda: verify_plan(GOOD.plan, tools, bins, [held]))


@pytest.mark.parametrize("junk", [None, 5, "x", [], {}, Hostile(), float("nan"), object])
@pytest.mark.parametrize("place", range(6))
def test_junk_as_an_argument(junk: Any, place: int) -> None:
    given: list[Any] = [GOOD.plan, GOOD.tools, GOOD.bins, GOOD.reservations, GOOD.prices, GOOD.routes]
    given[place] = junk
    passed = passes(lambda: verify_plan(*given[:4], prices=given[4], routes=given[5]))
    assert not passed or place > 2


@pytest.mark.timeout(120)
def test_a_chain_of_ten_thousand_steps_is_checked_in_seconds() -> None:
    case = plain(10_000)
    steps = [
        step.model_copy(update={"depends_on": [f"s{i - 1}"] if i else []}) for i, step in enumerate(case.plan.steps)
    ]
    chain = case.of_plan(steps=steps)
    begin = time.process_time()
    chain.verify()
    assert time.process_time() - begin < 10.0
    ring = chain.of_step(0, depends_on=["s9999"])
    with pytest.raises(PlanRejected, match="in a cycle"):
        ring.verify()


def test_what_can_be_read_only_once_is_not_lost() -> None:
    held = Reservation(
        plan_id="other", step_id="x", bin=GOOD.bins[0].name, need=GOOD.bins[0].capacity, slots=100,
        start_at=GOOD.plan.created_at, end_at=GOOD.plan.release_at + timedelta(seconds=9),
    )  # fmt: skip
    once: Any = iter([held])
    with pytest.raises(PlanRejected, match="100 reserved by others"):
        verify_plan(GOOD.plan, GOOD.tools, GOOD.bins, once)
    bins: Any = iter(GOOD.bins)
    verify_plan(GOOD.plan, GOOD.tools, bins, [])
