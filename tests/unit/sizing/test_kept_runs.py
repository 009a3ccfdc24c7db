"""Which runs are kept: bounded in number, unlike each other, no tenant's above all, what broke until it ends."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sizing.histories import AMDAHL
from tomas.sizing.kept import KeptRuns
from tomas.sizing.run import Run, rounds


def run(number: int, *, size: float = 1e4, cores: float = 1, tenant: str | None = None) -> Run:
    return Run(size, cores, 0.5, float(number + 1), tenant=tenant)


def broken(step: str, gb: float) -> Run:
    return Run(1e4, 1, gb, None, broken_step=step)


def numbers(kept: KeptRuns) -> list[int]:
    return [int(item.latency_ms or 0) - 1 for item in kept]


def test_the_latest_stay_and_of_older_ones_those_of_other_inputs() -> None:
    kept = KeptRuns()
    for number in range(6):
        kept.add(run(number, size=1e9, cores=8))
    for number in range(6, 400):
        kept.add(run(number))
    assert len(kept) <= 64
    assert numbers(kept)[:3] == [3, 4, 5], "three of the large inputs, the latest of them"
    assert numbers(kept)[-32:] == list(range(368, 400))


def test_a_run_at_the_end_leaves_the_epoch_and_everything_else_changes_it() -> None:
    kept = KeptRuns()
    kept.add(run(0))
    kept.add(run(1))
    assert kept.epoch == 0
    kept.add(broken("s1", 1.0))
    assert kept.epoch == 0
    kept.add(run(2), step="s1")
    assert kept.epoch == 1
    assert numbers(kept) == [0, 1, 2]


def test_of_the_tries_of_a_broken_step_the_highest_limit_stays() -> None:
    kept = KeptRuns()
    for gb in (1.0, 4.0, 2.0):
        kept.add(broken("s1", gb))
    assert [item.peak_gb for item in kept] == [4.0]
    for number in range(20):
        kept.add(broken(f"x{number}", 1.0))
    assert len(kept) == 8
    assert kept.ended == 0


def test_what_broke_long_ago_and_never_ended_is_forgotten() -> None:
    kept = KeptRuns()
    kept.add(broken("s1", 1.0))
    for number in range(60):
        kept.add(run(number))
    assert any(item.broken_step for item in kept)
    for number in range(60, 130):
        kept.add(run(number))
    assert not any(item.broken_step for item in kept)


def test_a_loud_tenant_replaces_its_own_runs() -> None:
    kept = KeptRuns()
    for number in range(4):
        kept.add(run(number, tenant="quiet"))
    for number in range(4, 300):
        kept.add(run(number, tenant="loud"))
    assert numbers(kept) == [0, 1, 2, 3, *range(288, 300)], "eight more than all others, and its latest"
    for number in range(300, 330):
        kept.add(run(number, tenant="other"))
    assert Counter(item.tenant for item in kept) == {"quiet": 4, "loud": 12, "other": 24}


def test_tenants_are_learned_in_turn() -> None:
    kept = KeptRuns([run(i, tenant=tenant) for i, tenant in enumerate("aaaabb")])
    assert [item.tenant for item in kept.fair()] == ["a", "b", "a", "a", "b", "a"]
    assert numbers(KeptRuns(item for item in kept.fair() if item.tenant == "a")) == [0, 1, 2, 3]
    nobody = KeptRuns([run(0, tenant="a"), run(1), run(2, tenant="b")])
    assert [item.tenant for item in nobody.fair()] == [None, "a", "b"]


def test_profile_rows_are_learned_round_by_round() -> None:
    sizes = [row.input_bytes for row in rounds(AMDAHL)]
    assert sizes[:6] == [10_000, 100_000, 1_000_000] * 2
    assert sorted(sizes) == sorted(row.input_bytes for row in AMDAHL)


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([None, "a", "b", "c"]), st.booleans()), max_size=300))
@settings(max_examples=50, deadline=None)
def test_any_history_is_bounded_and_keeps_its_order(raw: list[tuple[int, str | None, bool]]) -> None:
    kept = KeptRuns()
    for number, (decade, tenant, broke) in enumerate(raw):
        kept.add(
            broken(f"s{number}", 1.0) if broke else run(number, size=10.0**decade, tenant=tenant), step=f"s{number}"
        )
        assert len(kept) <= 64 + 8
    told = [number for number in numbers(kept) if number >= 0]
    assert told == sorted(set(told))
    assert Counter(kept.fair()) == Counter(kept)
