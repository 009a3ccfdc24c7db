"""Readings in bulk: good rows told from bad ones, and packed for the binary COPY of Postgres."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tomas.schema import RESOURCE_NAMES, Sample

__all__ = [
    "AMOUNT_LIMIT",
    "SAMPLE_FIELDS",
    "SAMPLE_PARTS",
    "Packed",
    "Rejected",
    "instant",
    "pack_samples",
    "raw_text",
    "sample_row",
    "unpack_samples",
]

SAMPLE_PARTS = ("free", "background", "reserved")
SAMPLE_FIELDS = ("bin", "at", *(f"{part}_{name}" for part in SAMPLE_PARTS for name in RESOURCE_NAMES))
"""The columns of a sample, and the order of a row: bin, instant, twelve amounts."""

AMOUNT_LIMIT = 1e15
"""No host has as much of anything; sums of more could overflow."""

_AMOUNTS = len(SAMPLE_FIELDS) - 2
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,127}")
_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_OLDEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Where Postgres counts from; an older instant comes from a clock that was never set."""
_HOUR_US = 3_600_000_000
_WEEK_US = 7 * 24 * _HOUR_US
_MONDAY_US = 2 * 24 * _HOUR_US
"""From :data:`_OLDEST`, a Saturday, to the first Monday."""
_HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TAIL = struct.pack(">h", -1)
_RAW_CHARS = 2000

Amounts = NDArray[np.float64]
Instants = NDArray[np.int64]


@dataclass(frozen=True)
class Rejected:
    """A row that cannot be stored: why, and what it was."""

    reason: str
    raw: str

    @property
    def digest(self) -> str:
        """The same for the same row, so that refusing it again adds nothing."""
        return hashlib.sha256(self.raw.encode("utf-8", "backslashreplace")).hexdigest()


@dataclass
class Packed:
    """A chunk of readings, ready to be copied: ordered by bin and time, each bin and instant once."""

    payload: bytes
    rows: int
    duplicates: int
    """Readings that stood in the chunk before, with the same amounts."""
    rejected: list[Rejected] = field(default_factory=list)
    hours: list[tuple[str, datetime]] = field(default_factory=list)
    """Every bin and hour that a reading lies in."""
    weeks: list[datetime] = field(default_factory=list)
    """Mondays of the partitions that are needed."""
    span: tuple[datetime, datetime] = (_OLDEST, _OLDEST)
    """First and last instant."""


def unpack_samples(payload: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64], Amounts]:
    """What a binary COPY of ``(int4, at, 12 amounts)`` gave: the integers, microseconds since 2000, the amounts."""
    value = np.dtype([("length", ">i4"), ("value", ">f8")])
    row = np.dtype(
        [
            *(("fields", ">i2"), ("place_length", ">i4"), ("place", ">i4")),
            *(("at_length", ">i4"), ("at", ">i8"), ("amounts", value, (_AMOUNTS,))),
        ]
    )
    count = (len(payload) - len(_HEAD) - len(_TAIL)) // row.itemsize
    block = np.frombuffer(payload, row, count, len(_HEAD))
    return (
        block["place"].astype(np.int64),
        block["at"].astype(np.int64),
        block["amounts"]["value"].astype(np.float64),
    )


def sample_row(sample: Sample) -> tuple[Any, ...]:
    """The plain row of a sample."""
    return (sample.bin, sample.at, *sample.free, *sample.background, *sample.reserved)


def pack_samples(rows: Sequence[Any], *, closed_until: datetime | None, latest: datetime) -> Packed:
    """Check, order and encode a chunk of rows.

    A row is a :class:`~tomas.schema.Sample` or ``(bin, at, 12 amounts)``, amounts as numbers or text of numbers.
    Refused, each with its reason: ``malformed`` (no such row, a naive instant), ``name`` (not an identifier),
    ``not a number``, ``negative``, ``too large``, ``clock unset`` (before 2000), ``closed`` (an hour that retention
    has closed), ``future`` (after ``latest``), ``conflict`` (another reading of that bin and instant came before).

    :param closed_until: hours before it are closed.
    """
    given = [sample_row(row) if isinstance(row, Sample) else row for row in rows]
    rejected: list[Rejected] = []
    try:
        names, times, amounts = _columns(given)
    except (TypeError, ValueError, AttributeError, IndexError, KeyError, OverflowError):
        given, rejected = _sieve(given)
        if not given:
            return Packed(b"", 0, 0, rejected)
        names, times, amounts = _columns(given)
    reasons = _reasons(names, times, amounts, closed_until, latest)
    bad = np.array([reason is not None for reason in reasons]) if reasons is not None else None
    if bad is not None and reasons is not None:
        rejected += [Rejected(str(reasons[i]), raw_text(given[i])) for i in np.flatnonzero(bad)]
    places = sorted(set(names))
    rank = {name: i for i, name in enumerate(places)}
    codes = np.fromiter((rank[name] for name in names), np.int64, len(names))
    order = np.lexsort((times, codes))  # stable: of equal ones, the first given comes first
    if bad is not None:
        order = order[~bad[order]]
    if not len(order):
        return Packed(b"", 0, 0, rejected)
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (np.diff(codes[order]) != 0) | (np.diff(times[order]) != 0)
    duplicates = 0
    if not is_new.all():
        first = order[np.maximum.accumulate(np.where(is_new, np.arange(len(order)), 0))]
        for i in np.flatnonzero(~is_new):
            if (amounts[order[i]] == amounts[first[i]]).all():
                duplicates += 1
            else:
                rejected.append(Rejected("conflict", raw_text(given[order[i]])))
        order = order[is_new]
    codes, times, amounts = codes[order], times[order], amounts[order]
    return Packed(
        payload=_payload(places, codes, times, amounts),
        rows=len(order),
        duplicates=duplicates,
        rejected=rejected,
        hours=_hours(places, codes, times),
        weeks=[instant(int(n) * _WEEK_US + _MONDAY_US) for n in np.unique((times - _MONDAY_US) // _WEEK_US)],
        span=(instant(int(times.min())), instant(int(times.max()))),
    )


def _columns(rows: Sequence[Any]) -> tuple[list[str], Instants, Amounts]:
    """Names, microseconds since 2000 and amounts; any exception where a row is not what it should be."""
    names = [row[0] for row in rows]
    times = np.array([row[1] - _OLDEST for row in rows], dtype="timedelta64[us]").astype(np.int64)
    amounts = np.array([row[2:] for row in rows], dtype=np.float64)
    if amounts.shape != (len(rows), _AMOUNTS):
        raise ValueError("a row has twelve amounts")
    if not all(isinstance(name, str) for name in names):
        raise TypeError("a bin's name is text")
    return names, times, amounts


def _sieve(rows: Sequence[Any]) -> tuple[list[Any], list[Rejected]]:
    good: list[Any] = []
    rejected: list[Rejected] = []
    for row in rows:
        try:
            _columns([row])
        except Exception:  # noqa: BLE001 - whatever a foreign row raises, it is refused and told
            rejected.append(Rejected("malformed", raw_text(row)))
        else:
            good.append(row)
    return good, rejected


def _reasons(
    names: Sequence[str], times: Instants, amounts: Amounts, closed_until: datetime | None, latest: datetime
) -> list[str | None] | None:
    """Why each row is refused; None if all are good."""
    limit = _microseconds(latest)
    closed = _microseconds(closed_until) if closed_until is not None else 0
    fine = (amounts >= 0) & (amounts < AMOUNT_LIMIT)  # False for NaN
    misnamed = {name for name in set(names) if not _NAME.fullmatch(name)}
    ill = ~fine.all(axis=1) | (times < max(closed, 0)) | (times > limit)
    if not misnamed and not ill.any():
        return None
    reasons: list[str | None] = [None] * len(names)
    for i in range(len(names)):
        if names[i] in misnamed:
            reasons[i] = "name"
        elif ill[i]:
            reasons[i] = _reason(int(times[i]), amounts[i], closed, limit)
    return reasons


def _reason(time: int, amounts: Amounts, closed: int, limit: int) -> str:
    if np.isnan(amounts).any():
        return "not a number"
    if (amounts < 0).any():
        return "negative"
    if (amounts >= AMOUNT_LIMIT).any():
        return "too large"
    if time < 0:
        return "clock unset"
    return "closed" if time < closed else "future" if time > limit else "malformed"


def _payload(places: Sequence[str], codes: Instants, times: Instants, amounts: Amounts) -> bytes:
    """The rows in Postgres's binary COPY format; those of one bin follow each other."""
    parts = [_HEAD]
    ends = np.searchsorted(codes, np.arange(len(places)), side="right")
    start = 0
    for name, end in zip(places, ends.tolist(), strict=True):
        if end > start:
            parts.append(_of_one_bin(name.encode(), times[start:end], amounts[start:end]))
        start = end
    parts.append(_TAIL)
    return b"".join(parts)


def _of_one_bin(name: bytes, times: Instants, amounts: Amounts) -> bytes:
    value = np.dtype([("length", ">i4"), ("value", ">f8")])
    row = np.dtype(
        [
            *(("fields", ">i2"), ("name_length", ">i4"), ("name", f"S{len(name)}")),
            *(("at_length", ">i4"), ("at", ">i8"), ("amounts", value, (_AMOUNTS,))),
        ]
    )
    block = np.empty(len(times), dtype=row)
    block["fields"] = len(SAMPLE_FIELDS)
    block["name_length"], block["name"] = len(name), name
    block["at_length"], block["at"] = 8, times
    block["amounts"]["length"], block["amounts"]["value"] = 8, amounts
    return block.tobytes()


def _hours(places: Sequence[str], codes: Instants, times: Instants) -> list[tuple[str, datetime]]:
    hours = times // _HOUR_US
    is_new = np.ones(len(hours), dtype=bool)
    is_new[1:] = (np.diff(codes) != 0) | (np.diff(hours) != 0)
    return [
        (places[code], instant(hour * _HOUR_US))
        for code, hour in zip(codes[is_new].tolist(), hours[is_new].tolist(), strict=True)
    ]


def _microseconds(instant: datetime) -> int:
    return (instant - _OLDEST) // _MICROSECOND


def instant(microseconds: int) -> datetime:
    """The instant so many microseconds after 2000 began."""
    return _OLDEST + microseconds * _MICROSECOND


def raw_text(row: Any) -> str:
    """A row of any kind as text: bounded, and without what Postgres cannot store."""
    describe: Callable[[Any], str] = repr
    try:
        text = describe(tuple(row)) if isinstance(row, list) else describe(row)
    except Exception:  # noqa: BLE001 - a foreign object whose repr fails is still told by its type
        text = f"<{type(row).__name__}>"
    return text[:_RAW_CHARS].replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
