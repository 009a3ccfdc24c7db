"""Atoms and linear pools: exact values stay exact, quantiles agree with the pooled distribution function."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tomas.forecast.pool import ATOMS, atom_loss, atoms_of, pinball, pool_levels, pool_pit

LEVELS = np.array([[0.05, 0.3, 0.5, 0.8, 0.95]])
COUNT = len(ATOMS)


def test_atoms_of_a_large_sample_are_its_quantiles() -> None:
    draw = np.random.default_rng(0).normal(size=100_000)
    assert np.abs(atoms_of(draw) - np.quantile(draw, ATOMS)).max() < 0.001


def test_a_pool_of_one_expert_is_that_expert() -> None:
    atoms = atoms_of(np.random.default_rng(1).normal(size=500))
    found = pool_levels(atoms[None, None], np.ones((1, 1)), ATOMS[None])
    assert np.allclose(found[0], atoms)


def test_what_experts_hold_likely_stays_an_exact_value() -> None:
    """One says zero for sure, the other never: at equal weights the lower half is zero, the upper is not."""
    atoms = np.stack([np.zeros(COUNT), np.linspace(10, 20, COUNT)])[None]
    found = pool_levels(atoms, np.array([[0.5, 0.5]]), np.array([[0.1, 0.45, 0.6, 0.9]]))[0]
    assert found[:2].tolist() == [0, 0]
    assert (found[2:] > 10).all()
    below, upto = pool_pit(atoms[0][:, None], np.full((2, 1), 0.5), np.zeros(1))
    assert (below.tolist(), upto.tolist()) == ([0.0], [0.5])


@given(
    hnp.arrays(float, (3, COUNT), elements=st.floats(0, 100)),
    hnp.arrays(float, 3, elements=st.floats(0.01, 1)),
)
@settings(max_examples=60, deadline=None)
def test_quantiles_ascend_lie_within_the_atoms_and_agree_with_the_distribution(values, raw) -> None:
    atoms, weights = np.sort(values, axis=-1), raw / raw.sum()
    found = pool_levels(atoms[None], weights[None], LEVELS)[0]
    assert (np.diff(found) >= 0).all()
    assert values.min() <= found[0]
    assert found[-1] <= values.max()
    below, upto = pool_pit(atoms[:, None].repeat(5, axis=1), weights[:, None].repeat(5, axis=1), found)
    half = weights.max() / COUNT / 2 + 1e-9
    assert (below - half <= LEVELS[0]).all()
    assert (upto + half >= LEVELS[0]).all()


def test_rows_of_a_pool_do_not_touch_each_other() -> None:
    draw = np.random.default_rng(2)
    atoms, weights = np.sort(draw.normal(size=(4, 3, COUNT)), axis=-1), draw.dirichlet(np.ones(3), size=4)
    levels = LEVELS.repeat(4, axis=0)
    together = pool_levels(atoms, weights, levels)
    for row in range(4):
        alone = pool_levels(atoms[row : row + 1], weights[row : row + 1], LEVELS)
        assert np.allclose(together[row], alone[0])


def test_quantile_loss_by_hand() -> None:
    assert pinball(np.array([1.0, 3.0]), np.array([0.1, 0.9]), np.array(2.0)) == pytest.approx([0.1, 0.1])


def test_the_loss_over_atoms_is_the_mean_of_their_quantile_losses() -> None:
    draw = np.random.default_rng(4)
    atoms, truth = draw.normal(size=(3, 2, COUNT)), draw.normal(size=(3, 2))
    assert np.allclose(atom_loss(atoms, truth), pinball(atoms, ATOMS, truth).mean(axis=-1))
