"""What all schemas share: strictness, finite numbers, canonical JSON."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

__all__ = [
    "Identifier",
    "MediaType",
    "NonNegative",
    "Schema",
    "UtcDatetime",
    "canonical_json",
    "content_hash",
    "utc_now",
]

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A finite number ≥ 0; NaN and infinity are refused."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.\-]{0,127}$")]
"""A name that is safe in queues, pools, task ids and file names."""

MediaType = Annotated[str, StringConstraints(pattern=r"^([a-z]+|\*)/(\*|[A-Za-z0-9.+\-]+)$")]
"""A media type, or one with a wildcard subtype such as ``image/*``."""

UtcDatetime = Annotated[AwareDatetime, AfterValidator(lambda value: value.astimezone(UTC))]
"""A timezone-aware instant, normalised to UTC."""


class Schema(BaseModel):
    """Base of everything that flows between rooms: frozen, no unknown fields, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    def canonical_json(self) -> str:
        """JSON with sorted keys and no insignificant blanks: equal models give equal text."""
        return canonical_json(self.model_dump(mode="json"))


def canonical_json(value: Any) -> str:
    """Dump plain data with sorted keys; NaN and infinity are refused with ValueError."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def content_hash(value: Any) -> str:
    """SHA-256 over the canonical JSON of plain data, as 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def utc_now() -> datetime:
    """The present instant in UTC."""
    return datetime.now(UTC)
