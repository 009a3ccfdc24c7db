"""Small networks, and one that has learned a small world by heart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.model import world
from tomas.model.batch import collate
from tomas.model.config import NeuralConfig
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    """A tokenizer of that world's texts."""
    return world.tokenizer()


@pytest.fixture(scope="session")
def config() -> NeuralConfig:
    """A network that trains in seconds."""
    return world.small_config()


@pytest.fixture
def network(config: NeuralConfig) -> PlannerNetwork:
    """An untrained one."""
    torch.manual_seed(0)
    return PlannerNetwork(config).eval()


@pytest.fixture(scope="session")
def learned(tokenizer: TextTokenizer, config: NeuralConfig) -> PlannerNetwork:
    """One that was trained on the eight examples for a hundred steps."""
    torch.manual_seed(0)
    network = PlannerNetwork(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    rng = np.random.default_rng(0)
    network.train()
    for _ in range(100):
        batch = collate(world.examples(), tokenizer, config, rng=rng)
        optimizer.zero_grad()
        network.loss(batch)["total"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return network.eval()
