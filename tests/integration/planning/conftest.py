"""A seeded store for tests of planning."""

from __future__ import annotations

import pytest

from tests.integration.planning.world import seed
from tomas.store import Store


@pytest.fixture
def seeded(store: Store) -> Store:
    """A store with the registry, two one-core bins, and 2 s of history for every tool."""
    seed(store)
    return store
