"""Execution records from elsewhere, told apart into those that can be stored and those that cannot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from tomas.schema import ExecutionRecord
from tomas.store.encode import Rejected, raw_text

__all__ = ["CheckedRecords", "check_records"]

_OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_LARGEST_INTEGER = 2**31 - 1
_LARGEST_BIGINT = 2**63 - 1


@dataclass
class CheckedRecords:
    """A chunk of records, each try once."""

    good: list[tuple[ExecutionRecord, str]] = field(default_factory=list)
    """Records with their JSON."""
    rejected: list[Rejected] = field(default_factory=list)

    @staticmethod
    def conflict(raw: str) -> Rejected:
        """A record of a try of which another one is stored."""
        return Rejected("conflict", raw_text(raw))


def check_records(rows: Sequence[Any], *, latest: datetime) -> CheckedRecords:
    """Validate a chunk of records, mappings or JSON texts; of two of one try the first stays.

    Refused, each with its reason: ``malformed: FIELD`` (the schema refuses it, or Postgres cannot hold it),
    ``clock unset`` (before 2000), ``future`` (after ``latest``), ``ends before it starts``, ``conflict`` (another
    record of that try came before). An ended record takes the place of one that was still running.
    """
    checked = CheckedRecords()
    seen: dict[tuple[str, str, int], tuple[ExecutionRecord, str]] = {}
    for row in rows:
        try:
            record = _record(row)
            body = record.model_dump_json()
            reason = _reason(record, body, latest)
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
            reason = f"malformed: {where}" if where else "malformed"
        except (TypeError, ValueError, RecursionError):
            reason = "malformed"
        if reason is not None:
            checked.rejected.append(Rejected(reason, raw_text(row)))
            continue
        key = (record.plan_id, record.step_id, record.try_number)
        before = seen.get(key)
        if before is None or (before[0].ended_at is None and record.ended_at is not None):
            seen[key] = (record, body)
        elif before[0] != record and not (before[0].ended_at is not None and record.ended_at is None):
            checked.rejected.append(checked.conflict(body))
    checked.good = list(seen.values())
    return checked


def _record(row: Any) -> ExecutionRecord:
    if isinstance(row, ExecutionRecord):
        return row
    if isinstance(row, str | bytes):
        return ExecutionRecord.model_validate_json(row)
    return ExecutionRecord.model_validate(row)


def _reason(record: ExecutionRecord, body: str, latest: datetime) -> str | None:
    last = record.ended_at or record.started_at
    if record.started_at < _OLDEST:
        return "clock unset"
    if max(last, record.started_at) > latest:
        return "future"
    if last < record.started_at:
        return "ends before it starts"
    if not record.plan_id or not record.step_id:
        return "malformed: plan_id, step_id"
    if max(record.input_bytes, record.output_bytes) > _LARGEST_BIGINT or record.try_number > _LARGEST_INTEGER:
        return "malformed: number too large"
    if "u0000" in body and _NUL.search(body):
        return "malformed: NUL"
    body.encode()  # lone surrogates raise ValueError
    return None
