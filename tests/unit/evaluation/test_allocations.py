"""Makespans of modes, the rules that modes are compared with, and errors of amounts."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tomas.evaluation.allocations import Proposed, makespan_table, mode_metrics, ratio_summary
from tomas.evaluation.cases import Allocation, generated_cases
from tomas.evaluation.rules import RULES, list_ratio, picks_of, projected_ratio
from tomas.model.config import load_config
from tomas.model.drafted import ModeProposal
from tomas.model.example import ModeCard, StepModes
from tomas.model.prior import LexicalPrior
from tomas.tools.registry import Registry
from tomas.training.generate.fleet import Fleet

WIDE, NARROW = 0, 1


def allocation(free: float = 1.0) -> Allocation:
    """Two steps that wait for nothing; each takes 100 ms on four cores, or 150 ms on two, of a bin of four."""
    capacity = np.array([[4, 8, 0, 0]], np.float32)
    shares = np.zeros((1, 4, 4), np.float32)
    shares[:, :2] = free
    fleet = Fleet(("c",), capacity, (1,), shares, 1000.0)
    modes = StepModes(
        (
            ModeCard(0, (4.0, 1.0, 0.0, 0.0), 90.0, 100.0, 4.0),
            ModeCard(0, (2.0, 1.0, 0.0, 0.0), 140.0, 150.0, 3.0),
        )
    )
    best = 150.0 if free == 1.0 else 300.0
    right = (0.0, math.log(2.0), 0.0, 0.0)
    return Allocation((modes,) * 2, ((0.0, 1.0),) * 2, (right,) * 2, ((), ()), fleet, 1000.0, best)


def proposal(mode: int, cores: float) -> ModeProposal:
    return ModeProposal(mode, (0.5, 0.5), (cores, 1.0, 0.0, 0.0))


def test_rules_and_their_makespans() -> None:
    plan = allocation()
    assert {rule: picks_of(rule, plan) for rule in RULES} == {
        "fastest": [WIDE, WIDE],
        "cheapest": [NARROW, NARROW],
        "greedy": [WIDE, WIDE],
        "greedy, class means": [WIDE, WIDE],
        "greedy, urgent first": [WIDE, WIDE],
    }
    assert list_ratio(plan, [WIDE, WIDE]) == pytest.approx(200 / 150)
    assert list_ratio(plan, [NARROW, NARROW]) == pytest.approx(1.0)


def test_greedy_takes_the_mode_that_ends_first_after_what_was_placed() -> None:
    """With half of the bin free the wide mode never fits, and the second step waits for the first."""
    plan = allocation(free=0.5)
    assert picks_of("greedy", plan) == [NARROW, NARROW]
    assert list_ratio(plan, [NARROW, NARROW]) == pytest.approx(1.0)


def test_greedy_on_class_means_does_not_tell_the_bins_of_a_class_apart() -> None:
    """One bin is all free, the other half: the wide mode fits the first, and by their mean it fits nowhere."""
    plan = allocation()
    free = np.repeat(plan.fleet.free, 2, axis=0)
    free[1] *= 0.5
    plan = replace(plan, fleet=replace(plan.fleet, bins=(2,), free=free))
    assert picks_of("greedy", plan) == [WIDE, NARROW]
    assert picks_of("greedy, class means", plan) == [NARROW, NARROW]


def test_projection_frees_the_modes_of_what_has_no_schedule() -> None:
    plan = allocation(free=0.5)
    assert list_ratio(plan, [WIDE, NARROW]) == math.inf
    assert projected_ratio(plan, [WIDE, NARROW]) == pytest.approx(1.0)


def test_the_table_counts_infeasible_ones_apart() -> None:
    feasible = Proposed(allocation(), [proposal(NARROW, 2.0)] * 2)
    never = Proposed(allocation(free=0.5), [proposal(WIDE, 4.0)] * 2)
    table = makespan_table([feasible, never, Proposed(allocation(), None)])
    assert (table["model"]["plans"], table["model"]["infeasible"], table["model"]["mean"]) == (2, 0.5, 1.0)
    assert (table["projected"]["infeasible"], table["cheapest"]["infeasible"]) == (0.0, 0.0)
    assert table["fastest"]["common"] == 1
    assert table["fastest"]["common_mean"] == pytest.approx(4 / 3)


def test_the_head_alone_is_told_apart_from_what_was_proposed() -> None:
    """The head likes the wide mode best; placed, both steps were proposed in the narrow one."""
    other = ModeProposal(NARROW, (0.7, 0.3), (2.0, 1.0, 0.0, 0.0))
    table = makespan_table([Proposed(allocation(), [other] * 2)])
    assert table["model"]["mean"] == pytest.approx(1.0)
    assert table["head alone"]["mean"] == pytest.approx(4 / 3)
    assert table["own edges"]["mean"] == pytest.approx(1.0)
    wide = [proposal(WIDE, 4.0)] * 2
    table = makespan_table([Proposed(allocation(), [other] * 2, wide)])
    assert (table["model"]["mean"], table["own edges"]["mean"]) == (1.0, pytest.approx(4 / 3))


def test_means_of_ratios() -> None:
    found = ratio_summary([1.0, 1.05, 4.0, math.inf])
    assert found["infeasible"] == pytest.approx(0.25)
    assert found["geometric"] == pytest.approx((1.05 * 4.0) ** (1 / 3))
    assert (found["median"], found["within_10pct"]) == (1.05, pytest.approx(2 / 3))


def test_modes_and_amounts_against_the_schedulers_own() -> None:
    """The right memory is twice the mode's 1 GB; a plan with other tools counts as wrong."""
    known = Proposed(allocation(), [proposal(NARROW, 2.0), proposal(WIDE, 4.0)])
    found = mode_metrics([known, Proposed(allocation(), None)])
    assert (found["mode_accuracy"], found["mode_accuracy_right_tools"], found["mode_own"]) == (0.25, 0.5, 0.5)
    assert found["mode_chance"] == 0.5
    assert found["mae_cpu_cores"] == pytest.approx(1.0)
    assert found["mae_cpu_mem_gb"] == pytest.approx(1.0)
    assert found["mape"] == pytest.approx((0 + 0.5 + 1.0 + 0.5) / 4)
    assert found["mae_gpu_sm"] is None


def test_labelled_modes_of_generated_cases_reach_the_least_makespan() -> None:
    cases = generated_cases(12, Registry.load(), LexicalPrior(), load_config("tiny").model.limits)
    labelled = [item.allocation for item in cases if item.allocation is not None]
    assert len(labelled) > 6
    for plan in labelled:
        own = list_ratio(plan, [plan.own(step) for step in range(len(plan.modes))])
        assert 1.0 - 1e-6 <= own < 1.02
        for rule in RULES:
            assert projected_ratio(plan, picks_of(rule, plan)) >= 1.0 - 1e-6
