"""The time of a draft, predicted: fixed, by rule, or learned from measured calls."""

from __future__ import annotations

import math

import pytest

from tomas.model.config import LatencyConfig
from tomas.model.latency import LatencyPrediction


def measured(tokens: int, candidates: int, steps: int) -> float:
    """A machine on which a draft takes longer the more there is to read and to choose."""
    return 20.0 * (1 + tokens) ** 0.3 * (1 + candidates) ** 0.2 * (1 + steps) ** 0.5


CALLS = [(tokens, candidates, steps) for tokens in (4, 20, 90) for candidates in (3, 30) for steps in (1, 4, 10)]


def test_fixed_is_a_constant() -> None:
    fixed = LatencyPrediction(LatencyConfig(mode="fixed", fixed_ms=80.0))
    assert fixed.predict_ms(5, 3) == fixed.predict_ms(100, 30, 10) == 80.0


def test_the_rule_grows_with_all_that_is_read_and_written() -> None:
    rule = LatencyPrediction(LatencyConfig(mode="rule"))
    least = rule.predict_ms(5, 3, 1)
    assert least < min(rule.predict_ms(50, 3, 1), rule.predict_ms(5, 30, 1), rule.predict_ms(5, 3, 9))


def test_learned_starts_at_the_constant_and_follows_what_is_measured() -> None:
    learned = LatencyPrediction(LatencyConfig(mode="learned", fixed_ms=500.0))
    assert learned.predict_ms(20, 10) == pytest.approx(500.0)
    for _ in range(4):
        for call in CALLS:
            learned.observe(*call, measured(*call))
    errors = [abs(math.log(learned.predict_ms(*call) / measured(*call))) for call in CALLS]
    assert max(errors) < math.log(1.1)
    assert learned.predict_ms(60, 20, 6) == pytest.approx(measured(60, 20, 6), rel=0.1)


def test_other_modes_learn_nothing_and_a_clock_that_stood_still_is_no_call() -> None:
    rule, learned = LatencyPrediction(LatencyConfig()), LatencyPrediction(LatencyConfig(mode="learned"))
    for _ in range(20):
        rule.observe(5, 5, 5, 1e6)
        learned.observe(5, 5, 5, 0.0)
    assert (rule.weights == learned.weights).all()
    with pytest.raises(ValueError, match="above 0"):
        learned.fit([(1, 1, 1, 0.0)])
