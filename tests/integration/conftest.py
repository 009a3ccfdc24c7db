"""One real Postgres for the whole test session; a migrated store without rows for each test that asks for one."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
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
def fresh_dsn(postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of a migrated database made for this test, which may change its schema."""
    name = f"tomas_{next(_numbers)}"
    yield postgres.create_database(name, "tomas", PASSWORD, template="template_tomas")
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def shared_dsn(postgres: EmbeddedPostgres) -> str:
    """URL of the migrated database that most tests use in turn; copying one for each would take longer."""
    return postgres.create_database("tomas_shared", "tomas", PASSWORD, template="template_tomas")


@pytest.fixture
def dsn(postgres: EmbeddedPostgres, shared_dsn: str) -> Iterator[str]:
    """URL of a migrated database without rows; it is emptied after the test."""
    yield shared_dsn
    link = psycopg2.connect(postgres.dsn("tomas_shared"), options="-c lock_timeout=20s")
    try:
        with link, link.cursor() as cur:
            cur.execute(
                "SELECT string_agg(format('DELETE FROM tomas.%I', tablename), ';') FROM pg_tables"
                " WHERE schemaname = 'tomas' AND tablename <> 'migration'"
            )
            row = cur.fetchone()
            assert row is not None
            cur.execute("SET session_replication_role = replica")  # foreign keys ask for no order then
            cur.execute(row[0])
    finally:
        link.close()


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    """A migrated store without rows."""
    with Store(dsn, StoreSettings(max_connections=24)) as store:
        yield store
