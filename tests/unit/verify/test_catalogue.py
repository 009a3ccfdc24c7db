"""The verifier's verdict on the edges of its rules, and the benchmark that has it judge plans by the thousand."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from benchmarks.verify import check_block
from benchmarks.verify_judge import broken
from benchmarks.verify_kinds import kinds_of
from benchmarks.verify_plans import good_case
from tests.unit.verify.specimens import Specimen, catalogue, dips, edges, large, verdict, words
from tomas.schema import Plan
from tomas.verify import checker, verify_plan

ROOT = Path(__file__).resolve().parents[3]
BY_HAND = [*edges(), *dips(), *words()]


@pytest.mark.parametrize("item", BY_HAND, ids=[item.name for item in BY_HAND])
def test_the_edges_of_every_rule(item: Specimen) -> None:
    assert not verdict(verify_plan, item)


@pytest.mark.timeout(60)
def test_ten_thousand_steps() -> None:
    for item in large():
        assert not verdict(verify_plan, item)


def test_every_kind_of_corruption_is_refused_by_name() -> None:
    seen = set()
    for item in catalogue(good=20, per_kind=2):
        assert not verdict(verify_plan, item), item.name
        seen.add(item.name)
    assert len(seen) > 100
    assert seen == {"good", *(kind.name for heavy in (False, True) for kind in kinds_of(heavy=heavy))}


def test_numbers_that_pydantic_refuses_are_fed_past_it() -> None:
    rng = random.Random(3)  # noqa: S311
    labels = (" nan", " inf", " minus_inf", " negative")
    found = [kind for kind in kinds_of(heavy=False) if kind.of_schema and kind.name.endswith(labels)]
    assert len(found) == 20
    for kind in found:
        case = kind.corrupt(good_case(rng, 4), rng)
        assert case is not None
        with pytest.raises(ValidationError):
            Plan.model_validate(case.plan.model_dump(warnings=False))


def test_a_block_of_the_benchmark_finds_nothing() -> None:
    tally = check_block(seed=5, first=3, last=903)
    assert tally.passed, tally.examples
    assert (tally.plans, tally.good, tally.rejected) == (900, 300, 600)
    assert tally.judged > 300
    assert check_block(seed=5, first=3, last=903).kinds == tally.kinds


def _nothing(*_: object) -> Iterator[str]:
    return iter(())


def test_the_benchmark_notices_a_check_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "check_load", _nothing)
    tally = check_block(seed=5, first=3, last=903)
    assert tally.violations_released > 0
    assert not tally.passed
    assert any("released" in line for line in tally.examples)


def test_the_benchmark_notices_good_plans_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def stubborn(plan: Plan) -> Iterator[str]:
        if len(plan.steps) == 3:
            yield "it has three steps"

    monkeypatch.setattr(checker, "check_clock", stubborn)
    tally = check_block(seed=5, first=3, last=303)
    assert tally.good_refused > 0
    assert tally.unnamed_refusals > 0
    assert not tally.passed


def test_the_second_opinion_sees_overload_and_disorder() -> None:
    rng = random.Random(5)  # noqa: S311
    seen = 0
    for kind in kinds_of(heavy=False):
        for _ in range(20):
            case = good_case(rng, 8)
            assert list(broken(case)) == []
            made = kind.corrupt(case, rng) if kind.judged else None
            if made is not None:
                seen += 1
                assert list(broken(made))
                break
    assert seen == sum(kind.judged for kind in kinds_of(heavy=False))


@pytest.mark.timeout(180)
def test_the_benchmark_ends_with_one_line_of_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.verify", "--plans", "61", "--seed", "2", "--jobs", "2"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["plans"] == 61
    assert figures["violations_released"] == figures["good_refused"] == figures["unnamed_refusals"] == 0
    assert figures["good"] + figures["rejected"] == 61
    assert sum(figures["kinds"].values()) == figures["rejected"]
