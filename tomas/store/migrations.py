"""Numbered SQL files applied once each, in order, with their checksums remembered."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from psycopg2 import sql
from psycopg2.extensions import cursor

from tomas.config import shared_file
from tomas.errors import MigrationError
from tomas.store.connection import SCHEMA, Database

__all__ = ["Migration", "MigrationsMixin", "load_migrations"]

_FILE_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
_LOCK = 0x544F4D4153  # "TOMAS"; any number that no other program in the database uses


@dataclass(frozen=True)
class Migration:
    """One file: its name without suffix, its text, and the SHA-256 of its bytes."""

    name: str
    text: str
    sha256: str


def load_migrations(directory: Path | None = None) -> list[Migration]:
    """The files of ``directory`` (None: those shipped with TOMAS) in the order of their numbers.

    Line ends are normalised before hashing, so a checkout on another system gives the same checksum.

    :raises MigrationError: a name is not ``NNNN_name.sql``, or a number stands twice.
    """
    found: dict[str, Migration] = {}
    for path in sorted((directory or shared_file("sql")).glob("*.sql")):
        match = _FILE_NAME.match(path.name)
        if match is None or match[1] in found:
            raise MigrationError(
                f"Migration file {path.name} has no number of its own.",
                remedy="Name it NNNN_name.sql with the next free number and lower-case letters.",
            )
        text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
        found[match[1]] = Migration(path.stem, text, hashlib.sha256(text.encode()).hexdigest())
    if not found:
        raise MigrationError("No migration files were found.", remedy="Reinstall airflow-provider-tomas.")
    return list(found.values())


class MigrationsMixin(Database):
    """Bringing the schema to the version of this package, and checking that it is."""

    def migrate(self, directory: Path | None = None) -> list[str]:
        """Apply the files that are not applied yet, each in a transaction of its own.

        Safe to run from several processes at once: an advisory lock lets one work at a time.

        :return: names of the files applied now, in order.
        :raises MigrationError: an applied file was altered or is unknown here, or a file failed (it is rolled
            back; those before it stay).
        """
        migrations = load_migrations(directory)
        return [
            item.name for item in migrations if self._transaction(partial(_apply, migration=item, known=migrations))
        ]

    def check_schema(self, directory: Path | None = None) -> None:
        """Check without changing anything; MigrationError says what is behind or altered."""
        migrations = load_migrations(directory)

        def work(cur: cursor) -> dict[str, str]:
            cur.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.migration",))
            row = cur.fetchone()
            return _applied(cur) if row and row[0] else {}

        applied = self._transaction(work)
        _compare(applied, migrations)
        missing = [item.name for item in migrations if item.name not in applied]
        if missing:
            raise MigrationError(
                f"The database lacks migration{'s' if len(missing) > 1 else ''} {', '.join(missing)}.",
                remedy="Run: tomas db migrate.",
            )


def _apply(cur: cursor, migration: Migration, known: list[Migration]) -> bool:
    """Apply one file under the lock; whether there was anything to do."""
    cur.execute("SET LOCAL statement_timeout = 0")  # an index on a large table takes its time
    cur.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    cur.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,))
    if cur.fetchone() is None:
        cur.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
    cur.execute(
        "CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, sha256 text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT now())"
    )
    applied = _applied(cur)
    _compare(applied, known)
    if migration.name in applied:
        return False
    later = [name for name in applied if name > migration.name]
    if later:
        raise MigrationError(
            f"Migration {migration.name} is new, but {max(later)} is applied already.",
            remedy="Give the new file a number above all others.",
        )
    try:
        cur.execute(migration.text)
    except Exception as error:
        raise MigrationError(
            f"Migration {migration.name} failed and was rolled back: {str(error).strip().splitlines()[0]}.",
            remedy="Correct what the message names and run tomas db migrate again.",
        ) from error
    cur.execute("INSERT INTO migration (name, sha256) VALUES (%s, %s)", (migration.name, migration.sha256))
    return True


def _applied(cur: cursor) -> dict[str, str]:
    cur.execute("SELECT name, sha256 FROM migration ORDER BY name")
    return dict(cur.fetchall())


def _compare(applied: dict[str, str], known: list[Migration]) -> None:
    files = {item.name: item.sha256 for item in known}
    for name, checksum in applied.items():
        if name not in files:
            raise MigrationError(
                f"The database has migration {name}, which this version of TOMAS does not know.",
                remedy="Install the version of TOMAS that made it, or restore an older database.",
            )
        if files[name] != checksum:
            raise MigrationError(
                f"Migration file {name}.sql was altered after it was applied.",
                remedy="Restore the file as it was and put the change into a new numbered file.",
            )
