"""Tools, profiles and worker bins."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from psycopg2.extensions import cursor
from psycopg2.extras import Json, execute_values
from pydantic import TypeAdapter

from tomas.schema import (
    RESOURCE_NAMES,
    Bin,
    ProfileRow,
    Resources,
    Tool,
    WorkerClass,
    canonical_json,
)
from tomas.store.connection import Database
from tomas.store.readings import uncollected

__all__ = ["CatalogueMixin"]

_PROFILE_FIELDS = tuple(ProfileRow.model_fields)
_PROFILES = TypeAdapter(list[ProfileRow])


class CatalogueMixin(Database):
    """What TOMAS knows before it plans."""

    def upsert_tools(self, tools: Iterable[Tool]) -> None:
        """Add tools, or replace those of the same name; others stay."""
        rows = [
            (tool.name, tool.fingerprint(), Json(tool.model_dump(mode="json"), canonical_json)) for tool in tools
        ]

        def work(cur: cursor) -> None:
            execute_values(
                cur,
                "INSERT INTO tool (name, fingerprint, body) VALUES %s ON CONFLICT (name) DO UPDATE"
                " SET fingerprint = excluded.fingerprint, body = excluded.body, updated_at = now()"
                " WHERE tool.fingerprint <> excluded.fingerprint",
                rows,
            )

        self._transaction(work)

    def tools(self) -> list[Tool]:
        """All tools, in the order in which they were first stored."""

        def work(cur: cursor) -> list[Tool]:
            cur.execute("SELECT body FROM tool ORDER BY position")
            return [Tool.model_validate(row[0]) for row in cur]

        return self._select(work)

    # -- profiles -----------------------------------------------------------------------------------------

    def replace_profiles(self, rows: Iterable[ProfileRow]) -> int:
        """Put ``rows`` in the place of all stored profiles, in one transaction; the number stored."""
        return self._store_profiles(rows, clear=True)

    def add_profiles(self, rows: Iterable[ProfileRow]) -> int:
        """Append ``rows``; the number stored."""
        return self._store_profiles(rows, clear=False)

    def _store_profiles(self, rows: Iterable[ProfileRow], *, clear: bool) -> int:
        dumped = [row.model_dump(mode="json") for row in rows]

        def work(cur: cursor) -> int:
            if clear:
                cur.execute("DELETE FROM profile")
            _copy(cur, "profile", _PROFILE_FIELDS, ([row[name] for name in _PROFILE_FIELDS] for row in dumped))
            return len(dumped)

        return self._transaction(work)

    def profiles(self) -> list[ProfileRow]:
        """All profile rows, in the order in which they were stored."""

        def work(cur: cursor) -> str:
            cur.execute(
                "SELECT coalesce(json_agg(to_json(found) ORDER BY id)::text, '[]')"  # noqa: S608 - fixed names
                f" FROM profile CROSS JOIN LATERAL (SELECT {', '.join(_PROFILE_FIELDS)}) AS found"
            )
            row = cur.fetchone()
            return str(row[0]) if row else "[]"

        return list(_profile_rows(self._select(work)))

    # -- bins ---------------------------------------------------------------------------------------------

    def upsert_worker_classes(self, classes: Iterable[WorkerClass], *, prune: bool = False) -> None:
        """Add classes with their bins, or replace those of the same name; a class's bins are exactly those given.

        :param prune: remove classes that are not given. Samples, reservations and records of old bins stay.
        """
        given = list(classes)

        def work(cur: cursor) -> None:
            names = [item.name for item in given]
            if prune:
                cur.execute("DELETE FROM worker_class WHERE name <> ALL(%s)", (names,))
            cur.execute("DELETE FROM bin WHERE worker_class = ANY(%s)", (names,))
            for item in given:
                cur.execute(
                    "INSERT INTO worker_class (name, description, cpu_cores, cpu_mem_gb, gpu_sm, gpu_mem_gb)"
                    " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET"
                    " description = excluded.description, cpu_cores = excluded.cpu_cores,"
                    " cpu_mem_gb = excluded.cpu_mem_gb, gpu_sm = excluded.gpu_sm, gpu_mem_gb = excluded.gpu_mem_gb",
                    (item.name, item.description, *item.capacity),
                )
                execute_values(
                    cur,
                    "INSERT INTO bin (name, worker_class, position, queue, pool, gpu_index) VALUES %s",
                    [(b.name, item.name, i, b.queue, b.pool, b.gpu_index) for i, b in enumerate(item.bins)],
                )

        self._transaction(work)

    def worker_classes(self) -> list[WorkerClass]:
        """All classes by name, each with its bins in the order given."""

        def work(cur: cursor) -> list[WorkerClass]:
            cur.execute(
                "SELECT c.name, c.description, c.cpu_cores, c.cpu_mem_gb, c.gpu_sm, c.gpu_mem_gb,"
                " b.name, b.queue, b.pool, b.gpu_index"
                " FROM worker_class c JOIN bin b ON b.worker_class = c.name ORDER BY c.name, b.position"
            )
            bins: dict[str, list[Bin]] = {}
            heads: dict[str, tuple[str, Resources]] = {}
            for name, description, cores, mem, sm, gpu_mem, bin_name, queue, pool, gpu_index in cur:
                capacity = _resources((cores, mem, sm, gpu_mem))
                heads[name] = (description, capacity)
                bins.setdefault(name, []).append(
                    Bin(
                        name=bin_name,
                        worker_class=name,
                        queue=queue,
                        pool=pool,
                        capacity=capacity,
                        gpu_index=gpu_index,
                    )
                )
            return [
                WorkerClass(name=name, description=description, capacity=capacity, bins=bins[name])
                for name, (description, capacity) in heads.items()
            ]

        return self._select(work)

    def bins(self) -> list[Bin]:
        """All bins, class by class."""
        return [item for group in self.worker_classes() for item in group.bins]


@lru_cache(maxsize=2)
def _profile_rows(text: str) -> tuple[ProfileRow, ...]:
    """Kept, because every plan reads the profiles anew and they hardly ever change."""
    with uncollected():
        return tuple(_PROFILES.validate_json(text))


def _resources(values: Sequence[float]) -> Resources:
    return Resources(**dict(zip(RESOURCE_NAMES, values, strict=True)))


def _copy(cur: cursor, table: str, fields: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows of plain values into a table; None becomes NULL."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    buffer.seek(0)
    cur.copy_expert(f"COPY {table} ({', '.join(fields)}) FROM STDIN (FORMAT csv)", buffer)
