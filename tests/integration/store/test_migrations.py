"""Migrations: applied once, in order, by one process at a time; altered files are refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tomas.config import shared_file
from tomas.demo.postgres import EmbeddedPostgres
from tomas.errors import MigrationError
from tomas.store import Store
from tomas.store.migrations import load_migrations

NAMES = [item.name for item in load_migrations()]


@pytest.fixture
def empty(postgres: EmbeddedPostgres) -> Iterator[Store]:
    with Store(postgres.create_database("empty", "tomas", postgres_password(postgres))) as store:
        yield store
    postgres.drop_database("empty")


@pytest.fixture
def store(fresh_dsn: str) -> Iterator[Store]:
    with Store(fresh_dsn) as store:
        yield store


def postgres_password(postgres: EmbeddedPostgres) -> str:
    return postgres._passwords["tomas"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shared_file("sql"), tmp_path / "sql"))


def test_migrates_once_in_order(empty: Store) -> None:
    with pytest.raises(MigrationError, match=f"lacks migrations {NAMES[0]}.*tomas db migrate"):
        empty.check_schema()
    assert empty.migrate() == NAMES
    assert empty.migrate() == []
    empty.check_schema()


def test_two_processes_at_once_apply_each_file_once(empty: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        applied = [name for names in pool.map(lambda _: empty.migrate(), range(4)) for name in names]
    assert sorted(applied) == NAMES
    empty.check_schema()


def test_altered_file_is_refused_by_name(store: Store, files: Path) -> None:
    with (files / f"{NAMES[0]}.sql").open("a") as handle:
        handle.write("-- one more line\n")
    for call in (store.migrate, store.check_schema):
        with pytest.raises(MigrationError, match=f"{NAMES[0]}.sql was altered.*Restore the file"):
            call(files)


def test_line_ends_of_another_system_are_no_change(store: Store, files: Path) -> None:
    path = files / f"{NAMES[0]}.sql"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    store.check_schema(files)


def test_failing_file_is_rolled_back_whole(store: Store, files: Path) -> None:
    (files / "9001_good.sql").write_text("CREATE TABLE good (n int);")
    (files / "9002_bad.sql").write_text("CREATE TABLE half (n int); SELECT * FROM nowhere;")
    with pytest.raises(MigrationError, match=r"9002_bad failed and was rolled back.*nowhere"):
        store.migrate(files)
    with pytest.raises(MigrationError, match="lacks migration 9002_bad"):
        store.check_schema(files)
    (files / "9002_bad.sql").write_text("CREATE TABLE half (n int);")
    assert store.migrate(files) == ["9002_bad"]


def test_newer_database_and_late_number_are_refused(store: Store, files: Path) -> None:
    (files / "0000_late.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match="0000_late is new"):
        store.migrate(files)
    (files / "0000_late.sql").unlink()
    (files / f"{NAMES[-1]}.sql").unlink()
    with pytest.raises(MigrationError, match=f"{NAMES[-1]}, which this version"):
        store.migrate(files)


@pytest.mark.parametrize("name", ["extra.sql", "0001_again.sql"])
def test_file_names_need_a_number_of_their_own(files: Path, name: str) -> None:
    (files / name).write_text("SELECT 1;")
    with pytest.raises(MigrationError, match="no number of its own"):
        load_migrations(files)


def test_use_before_migration_says_what_to_run(empty: Store) -> None:
    with pytest.raises(MigrationError, match="tomas db migrate"):
        empty.tools()
