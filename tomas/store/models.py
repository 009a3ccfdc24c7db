"""The model registry: versions with what they were made from, and which one is current."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from psycopg2.extensions import cursor
from psycopg2.extras import Json

from tomas import __version__
from tomas.errors import StoreError
from tomas.schema import ModelArtifact, ModelVersion, canonical_json, content_hash
from tomas.store.connection import Database

__all__ = ["ModelsMixin"]

_COLUMNS = (
    "version", "kind", "payload", "interval_start", "interval_end", "metrics", "parent", "created_at", "promoted",
    "code_version", "data_hash",
)  # fmt: skip
_MODEL = f"SELECT {', '.join(_COLUMNS)}, artifact_uri, artifact_sha256, artifact_bytes FROM model_version"  # noqa: S608
_PRUNE = """
    DELETE FROM model_version AS candidate
    WHERE (%(kind)s::text IS NULL OR candidate.kind = %(kind)s) AND NOT candidate.promoted
      AND candidate.version NOT IN (
        SELECT version FROM (
          SELECT version, row_number() OVER (PARTITION BY kind ORDER BY created_at DESC) AS place FROM model_version
        ) AS newest WHERE place <= %(keep)s)
      AND candidate.version NOT IN (
        SELECT version FROM (
          SELECT version, row_number() OVER (PARTITION BY kind ORDER BY id DESC) AS place FROM model_promotion
          WHERE taken_back_at IS NULL
        ) AS latest WHERE place <= %(keep)s)
      AND candidate.version NOT IN (
        SELECT cited.value FROM plan, jsonb_each_text(plan.body -> 'snapshots') AS cited
        WHERE cited.key LIKE 'model.%%')
    RETURNING version"""
_UNKNOWN = "See `tomas model list`."


class ModelsMixin(Database):
    """What was learned, from what, and what is in use."""

    def register_model(
        self,
        kind: str,
        payload: Mapping[str, Any],
        *,
        interval_start: datetime,
        interval_end: datetime,
        metrics: Mapping[str, float],
        parent: str | None = None,
        data_hash: str | None = None,
        artifact: ModelArtifact | None = None,
        code_version: str = __version__,
    ) -> str:
        """Store a fitted model; not used before :meth:`promote_model`.

        The version is made of kind, interval and content (the artifact's too), so registering the same again gives
        the same version and changes nothing.

        :param payload: JSON data; NaN and infinity are refused with ValueError.
        :param data_hash: of what it was fitted to.
        :param artifact: files that lie elsewhere: weights.
        :param code_version: of TOMAS, that made it.
        """
        digest = content_hash([dict(payload), artifact.sha256] if artifact else dict(payload))
        interval = f"{interval_start.astimezone().timestamp():.6f}/{interval_end.astimezone().timestamp():.6f}"
        version = f"{kind}-{interval_end:%Y%m%dT%H%M}-{content_hash([kind, interval, digest])[:10]}"
        place = (artifact.uri, artifact.sha256, artifact.bytes) if artifact else (None, None, None)

        def work(cur: cursor) -> str:
            cur.execute(
                "INSERT INTO model_version"
                " (version, kind, payload, payload_hash, interval_start, interval_end, metrics, parent,"
                "  code_version, data_hash, artifact_uri, artifact_sha256, artifact_bytes)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (
                    *(version, kind, Json(dict(payload), canonical_json), digest, interval_start, interval_end),
                    *(Json(dict(metrics), canonical_json), parent, code_version, data_hash, *place),
                ),
            )
            return version

        return self._transaction(work)

    def promote_model(self, version: str) -> None:
        """Make a version the current one of its kind; StoreError if there is none of that name."""

        def work(cur: cursor) -> None:
            kind = _kind_of(cur, version)
            _lock(cur, kind)
            cur.execute("SELECT promoted FROM model_version WHERE version = %s", (version,))
            row = cur.fetchone()
            if row is not None and row[0]:
                return
            cur.execute("INSERT INTO model_promotion (kind, version) VALUES (%s, %s)", (kind, version))
            _make_current(cur, kind, version)

        self._transaction(work)

    def roll_back_model(self, kind: str) -> tuple[str, str]:
        """Take the last promotion of a kind back.

        :return: the version that was current, and the one that is again.
        :raises StoreError: nothing was promoted before the current version.
        """

        def work(cur: cursor) -> tuple[str, str]:
            _lock(cur, kind)
            cur.execute(
                "SELECT id, version FROM model_promotion WHERE kind = %s AND taken_back_at IS NULL"
                " ORDER BY id DESC LIMIT 2",
                (kind,),
            )
            rows = cur.fetchall()
            if len(rows) < 2:
                raise StoreError(
                    f"There is no earlier promotion of kind {kind} to go back to.",
                    remedy="Promote a version by name: `tomas model promote VERSION`.",
                )
            (last, current), (_, before) = rows
            cur.execute("UPDATE model_promotion SET taken_back_at = clock_timestamp() WHERE id = %s", (last,))
            _make_current(cur, kind, before)
            return current, before

        return self._transaction(work)

    def current_model(self, kind: str) -> ModelVersion | None:
        """The promoted version of a kind, or None."""
        return next(iter(self._models("WHERE kind = %s AND promoted", (kind,))), None)

    def model(self, version: str) -> ModelVersion | None:
        """The version of that name, or None."""
        return next(iter(self._models("WHERE version = %s", (version,))), None)

    def models(self, kind: str | None = None, limit: int = 50) -> list[ModelVersion]:
        """The newest versions (of a kind), newest first."""
        return self._models(
            "WHERE %s::text IS NULL OR kind = %s ORDER BY created_at DESC LIMIT %s", (kind, kind, limit)
        )

    def model_promotions(self, kind: str | None = None, limit: int = 50) -> list[tuple[str, datetime, bool]]:
        """(version, when, whether taken back) of the latest promotions, newest first."""

        def work(cur: cursor) -> list[tuple[str, datetime, bool]]:
            cur.execute(
                "SELECT version, at, taken_back_at IS NOT NULL FROM model_promotion"
                " WHERE %s::text IS NULL OR kind = %s ORDER BY id DESC LIMIT %s",
                (kind, kind, limit),
            )
            return [(str(row[0]), row[1], bool(row[2])) for row in cur]

        return self._transaction(work)

    def prune_models(self, keep: int, kind: str | None = None) -> list[ModelVersion]:
        """Delete versions that nothing needs any more; returns them, their artifacts still lie where they lay.

        Kept are the newest ``keep`` of every kind, the current ones, the ``keep`` latest that were promoted and
        not taken back, and every version that a stored plan cites.
        """

        def work(cur: cursor) -> list[str]:
            cur.execute("SELECT pg_advisory_xact_lock(hashtextextended('tomas:model:' || kind, 0))"
                        " FROM (SELECT DISTINCT kind FROM model_version ORDER BY kind) AS kinds")  # fmt: skip
            cur.execute(_PRUNE, {"kind": kind, "keep": keep})
            return [str(row[0]) for row in cur]

        before = {item.version: item for item in self.models(kind, limit=1_000_000)}
        return [before[version] for version in self._transaction(work) if version in before]

    def _models(self, where: str, values: tuple[Any, ...]) -> list[ModelVersion]:
        def work(cur: cursor) -> list[ModelVersion]:
            cur.execute(f"{_MODEL} {where}", values)
            return [_read(row) for row in cur]

        return self._select(work)


def _read(row: tuple[Any, ...]) -> ModelVersion:
    uri, sha256, size = row[len(_COLUMNS) :]
    artifact = ModelArtifact(uri=uri, sha256=sha256, bytes=size) if uri is not None else None
    return ModelVersion(**dict(zip(_COLUMNS, row, strict=False)), artifact=artifact)


def _kind_of(cur: cursor, version: str) -> str:
    cur.execute("SELECT kind FROM model_version WHERE version = %s", (version,))
    row = cur.fetchone()
    if row is None:
        raise StoreError(f"There is no model version {version}.", remedy=_UNKNOWN)
    return str(row[0])


def _lock(cur: cursor, kind: str) -> None:
    """Of two changes at once the second waits, then sees the first."""
    cur.execute("SELECT pg_advisory_xact_lock(hashtextextended('tomas:model:' || %s, 0))", (kind,))


def _make_current(cur: cursor, kind: str, version: str) -> None:
    cur.execute("UPDATE model_version SET promoted = false WHERE kind = %s AND promoted", (kind,))
    cur.execute(
        "UPDATE model_version SET promoted = true, promoted_at = clock_timestamp() WHERE version = %s", (version,)
    )
