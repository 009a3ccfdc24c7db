"""One real Postgres for the whole test session; a fresh migrated database for each test that asks for one."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tomas.config import StoreSettings
from tomas.demo.postgres import EmbeddedPostgres
from tomas.store import Store

_numbers = itertools.count(1)
PASSWORD = "sesame/@ :%open"


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A running server with a migrated database ``template_tomas`` to copy from."""
    # Not pytest's own temporary folder: only its owner may pass through it, and the server is another user
    # when the tests run as root.
    with (
        tempfile.TemporaryDirectory(prefix="tomas-pg-") as folder,
        EmbeddedPostgres(Path(folder) / "data", durable=False) as server,
    ):
        with Store(server.create_database("template_tomas", "tomas", PASSWORD)) as store:
            store.migrate()
        yield server


@pytest.fixture
def dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of a fresh migrated database."""
    name = f"tomas_{next(_numbers)}"
    yield postgres.create_database(name, "tomas", PASSWORD, template="template_tomas")
    postgres.drop_database(name)


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    """A migrated empty store in a database of its own."""
    with Store(dsn, StoreSettings(max_connections=24)) as store:
        yield store
