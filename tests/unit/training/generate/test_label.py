"""Labels of allocations: feasible, near the optimum as full enumeration finds it, kept on disk."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tomas.errors import PlanError
from tomas.schedule import schedule
from tomas.tools.registry import Registry
from tomas.training.generate import Generator, encode, specs_of
from tomas.training.generate.fleet import draw_fleet
from tomas.training.generate.label import Labeller, solve_modes
from tomas.training.generate.modes import draw_modes, make_problem
from tomas.training.generate.portrait import draw_laws, law_of

SEEDS = st.integers(0, 10**6)


def small_case(seed: int) -> tuple[list[tuple[int, ...]], list, object, float]:
    """Two to three steps, their modes, a fleet, and the length of a cell."""
    rng, numeric = Random(seed), np.random.default_rng(seed)  # noqa: S311  (no secret)
    fleet = draw_fleet(rng, numeric)
    laws = [law_of(row) for row in draw_laws(numeric, rng.randint(2, 3), gpu=fleet.has_gpu)]
    modes = [draw_modes(law, 2e5 * (1 + step), fleet, rng)[:3] for step, law in enumerate(laws)]
    parents = [(), *(rng.choice([(), (step - 1,), (0,)]) for step in range(1, len(laws)))]
    return parents, modes, fleet, rng.choice([100.0, 1000.0])


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_no_combination_of_modes_is_better_than_the_label(seed: int) -> None:
    parents, modes, fleet, step_ms = small_case(seed)
    if not all(modes):
        return
    label = solve_modes(parents, modes, fleet, step_ms)
    spans: dict[tuple[int, ...], float] = {}
    for chosen in product(*(range(len(cards)) for cards in modes)):
        problem, _ = make_problem(parents, modes, fleet, step_ms, {s: (m,) for s, m in enumerate(chosen)})
        try:
            spans[chosen] = schedule(problem, limit_s=0.2).makespan_ms
        except PlanError:
            continue
    if label is None:
        assert not spans
        return
    best = min(spans.values())
    assert label.makespan_ms == pytest.approx(best)
    assert spans[label.chosen] == pytest.approx(best)
    cheapest = min(
        sum(cards[m].cost for cards, m in zip(modes, chosen, strict=True))
        for chosen, span in spans.items()
        if span <= best + 1e-6
    )
    assert sum(cards[m].cost for cards, m in zip(modes, label.chosen, strict=True)) == pytest.approx(
        cheapest, rel=1e-6, abs=1e-8
    )
    for step, near in enumerate(label.near):
        assert label.chosen[step] in near
        for mode in near:
            reachable = min(span for chosen, span in spans.items() if chosen[step] == mode)
            assert reachable <= 1.01 * best + 1e-6


def labelled(count: int, folder: Path | None = None) -> tuple[Labeller, list]:
    generator = Generator(specs_of(Registry.load()), seed=3)
    labeller = Labeller(folder)
    return labeller, [labeller.label(generator.generate(number)) for number in range(count)]


def test_weights_are_probabilities_over_modes_that_exist() -> None:
    _, examples = labelled(40)
    taught = [example for example in examples if example.modes]
    assert len(taught) > 20
    several = 0
    for example in taught:
        assert len(example.modes) == len(example.target.steps)
        for step, cards in zip(example.target.steps, example.modes, strict=True):
            assert len(step.mode_weights) == len(cards.modes)
            assert sum(step.mode_weights) == pytest.approx(1.0, abs=1e-4)
            assert len(step.residual) == 4
            several += sum(weight > 0 for weight in step.mode_weights) > 1
            for card in cards.modes:
                assert 0 <= card.class_index < len(example.given.classes)
                capacity = example.given.capacity[card.class_index]
                assert all(need <= most + 1e-6 for need, most in zip(card.need, capacity, strict=True))
                assert 0 < card.p50_ms <= card.p90_ms
    assert several > 10


def test_size_and_best_allocation_do_not_always_rise_together() -> None:
    """The effect of an allocation must be told from the profile, not from the size of the input."""
    _, examples = labelled(120)
    sizes, needs = [], []
    for example in examples:
        for step, cards in zip(example.target.steps, example.modes, strict=False):
            given_bytes = [size for _, _, size in example.given.inputs if size]
            if given_bytes and step.mode_weights:
                sizes.append(np.log(sum(given_bytes)))
                needs.append(cards.modes[int(np.argmax(step.mode_weights))].need[0])
    assert len(sizes) > 100
    assert abs(np.corrcoef(sizes, needs)[0, 1]) < 0.4


def test_labels_are_kept_by_content(tmp_path: Path) -> None:
    first, examples = labelled(15, tmp_path)
    (kept,) = tmp_path.glob("labels-*.jsonl")
    with kept.open("a") as file:
        file.write('["torn')
    second, again = labelled(15, tmp_path)
    assert "0 solved" in second.summary()
    assert "0 solved" not in first.summary()
    assert [encode(a) for a in again] == [encode(b) for b in examples]
