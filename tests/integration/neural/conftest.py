"""Checkpoints for tests of the whole path: one trained here, and the shipped one where it is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.planning.world import REGISTRY, seed
from tests.unit.neural.conftest import learned
from tomas.config import Settings
from tomas.store import Store

SHIPPED = Path(__file__).parents[3] / "data/models/tiny"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint that knows a few requests by heart."""
    return learned(REGISTRY, tmp_path_factory.mktemp("models") / "learned")


@pytest.fixture(scope="session", params=["learned", "shipped"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """Settings that ask for the neural planner, with either checkpoint."""
    folder = request.getfixturevalue("checkpoint") if request.param == "learned" else SHIPPED
    return Settings.model_validate({"planner": {"kind": "neural"}, "neural": {"checkpoint": folder}})


@pytest.fixture
def seeded(store: Store) -> Store:
    """A store with the registry, two one-core bins, and 2 s of history for every tool."""
    seed(store)
    return store
