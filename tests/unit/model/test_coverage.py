"""What chosen steps cover of a task: the same under teacher forcing as in decoding; more steps leave less over."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.unit.model import world
from tomas.model.batch import collate
from tomas.model.coverage import Coverage
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer

WORDS, CANDIDATES = 6, 4
orders = st.permutations(range(CANDIDATES)).flatmap(lambda row: st.integers(0, CANDIDATES).map(lambda n: row[:n]))


def _coverage(seed: int) -> Coverage:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.rand(1, CANDIDATES, WORDS, generator=generator)
    weights = torch.rand(1, WORDS, generator=generator)
    return Coverage(tokens, weights / weights.sum())


@given(st.integers(0, 1000), orders)
def test_forced_and_decoded_positions_agree(seed: int, steps: list[int]) -> None:
    coverage = _coverage(seed)
    padded = torch.tensor([[*steps, 0, 0]])
    mask = torch.tensor([[True] * len(steps) + [False, False]])
    forced = coverage.before_each(padded, mask)
    decoded = coverage.after([steps[:n] for n in range(len(steps) + 1)])
    assert torch.equal(forced[:, : len(steps) + 1], decoded)
    assert torch.equal(forced[:, -1], decoded[:, -1])  # padding covers nothing


@given(st.integers(0, 1000), orders)
def test_more_steps_leave_less_and_gain_less(seed: int, steps: list[int]) -> None:
    coverage = _coverage(seed)
    covered = coverage.after([steps[:n] for n in range(len(steps) + 1)])
    left, gains = coverage.left(covered)[0], coverage.gains(covered)[0]
    assert bool((left.diff() <= 1e-6).all())
    assert bool((gains.diff(dim=0) <= 1e-6).all())
    assert bool((gains >= 0).all())
    for n, step in enumerate(steps):
        assert abs(float(left[n] - left[n + 1] - gains[n, step])) < 1e-5  # what it adds is what it was to gain
        assert float(gains[n + 1, step]) == 0.0


def test_words_are_left_out_in_training_alone(tokenizer: TextTokenizer) -> None:
    torch.manual_seed(0)
    network = PlannerNetwork(world.small_config(word_dropout=0.5, dropout=0.0))
    batch = collate(world.examples(), tokenizer, network.config)

    def read() -> Tensor:
        with torch.no_grad():
            return network.panels(batch.prompt, batch.long_tokens, batch.short_tokens).prompt

    network.train()
    assert not torch.equal(read(), read())
    network.eval()
    assert torch.equal(read(), read())
