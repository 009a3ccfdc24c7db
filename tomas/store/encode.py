"""Readings in bulk: good rows told from bad ones, and packed for the binary COPY of Postgres."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np

from tomas.schema import Sample
from tomas.store.arrays import (
    COPY_HEAD,
    COPY_TAIL,
    EPOCH,
    SAMPLE_FIELDS,
    Amounts,
    Columns,
    Instants,
    instant,
    microseconds,
)

__all__ = [
    "AMOUNT_LIMIT",
    "Packed",
    "Rejected",
    "pack_columns",
    "pack_samples",
    "raw_text",
    "sample_row",
]

AMOUNT_LIMIT = 1e15
"""No host has as much of anything; sums of more could overflow."""

_AMOUNTS = len(SAMPLE_FIELDS) - 2
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,127}")
_HOUR_US = 3_600_000_000
_WEEK_US = 7 * 24 * _HOUR_US
_MONDAY_US = 2 * 24 * _HOUR_US
"""From 2000 began, on a Saturday, to the first Monday."""
_RAW_CHARS = 2000
_amounts_of = itemgetter(slice(2, None))
_parts_of_time = attrgetter("days", "seconds", "microseconds")
_IN_MICROSECONDS = np.array([24 * _HOUR_US, 1_000_000, 1])


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
    given: int
    rows: int
    """Readings to be copied; what is neither among them nor rejected stood in the chunk before."""
    rejected: list[Rejected] = field(default_factory=list)
    hours: list[tuple[str, datetime]] = field(default_factory=list)
    """Every bin and hour that a reading lies in."""
    weeks: list[datetime] = field(default_factory=list)
    """Mondays of the partitions that are needed."""
    span: tuple[datetime, datetime] = (EPOCH, EPOCH)
    """First and last instant."""


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
    rejected: list[Rejected] = []
    given = len(rows)
    try:
        columns = _columns(rows)
    except (TypeError, ValueError, AttributeError, IndexError, KeyError, OverflowError):
        rows, rejected = _sieve(rows)
        if not rows:
            return Packed(b"", given, 0, rejected)
        columns = _columns(rows)
    packed = _pack(columns, lambda i: raw_text(_plain(rows[i])), closed_until, latest)
    return replace(packed, given=given, rejected=rejected + packed.rejected)


def pack_columns(columns: Columns, *, closed_until: datetime | None, latest: datetime) -> Packed:
    """The same for readings in columns."""
    return _pack(columns, lambda i: _raw_of_columns(columns, i), closed_until, latest)


def _pack(columns: Columns, raw: Callable[[int], str], closed_until: datetime | None, latest: datetime) -> Packed:
    places, codes, times, amounts = columns.places, columns.codes, columns.times, columns.amounts
    bad = _reasons(columns, closed_until, latest)
    rejected = [Rejected(reason, raw(i)) for i, reason in bad.items()]
    order = np.lexsort((times, codes))  # stable: of equal ones, the first given comes first
    if bad:
        order = order[~np.isin(order, list(bad))]
    if not len(order):
        return Packed(b"", len(times), 0, rejected)
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (np.diff(codes[order]) != 0) | (np.diff(times[order]) != 0)
    if not is_new.all():
        first = order[np.maximum.accumulate(np.where(is_new, np.arange(len(order)), 0))]
        differs = (amounts[order] != amounts[first]).any(axis=1)
        rejected += [Rejected("conflict", raw(i)) for i in order[differs].tolist()]
        order = order[is_new]
    codes, times, amounts = codes[order], times[order], amounts[order]
    return Packed(
        payload=_payload(places, codes, times, amounts),
        given=len(columns.times),
        rows=len(order),
        rejected=rejected,
        hours=_hours(places, codes, times),
        weeks=[instant(int(n) * _WEEK_US + _MONDAY_US) for n in np.unique((times - _MONDAY_US) // _WEEK_US)],
        span=(instant(int(times.min())), instant(int(times.max()))),
    )


def _columns(rows: Sequence[Any]) -> Columns:
    """The rows column by column; any exception where a row is not what it should be."""
    if not set(map(type, rows)) <= {tuple, list}:
        rows = [_plain(row) for row in rows]
    if set(map(len, rows)) != {len(SAMPLE_FIELDS)}:
        raise ValueError("a row has fourteen values")
    names = [row[0] for row in rows]
    if not all(issubclass(kind, str) for kind in set(map(type, names))):
        raise TypeError("a bin's name is text")
    # Not by way of arrays of objects, which cost numpy three times as much.
    since = [row[1] - EPOCH for row in rows]
    times = np.fromiter(chain.from_iterable(map(_parts_of_time, since)), np.int64, 3 * len(rows))
    amounts = np.fromiter(chain.from_iterable(map(_amounts_of, rows)), np.float64, _AMOUNTS * len(rows))
    places = sorted(set(names))
    rank = {name: i for i, name in enumerate(places)}
    codes = np.fromiter(map(rank.__getitem__, names), np.int64, len(rows))
    return Columns(places, codes, times.reshape(-1, 3) @ _IN_MICROSECONDS, amounts.reshape(-1, _AMOUNTS))


def _plain(row: Any) -> Any:
    if isinstance(row, Sample):
        return sample_row(row)
    return row if isinstance(row, tuple | list) else (row[0], row[1], *row[2:])


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


def _reasons(columns: Columns, closed_until: datetime | None, latest: datetime) -> dict[int, str]:
    """Which readings are refused, and why."""
    times, amounts = columns.times, columns.amounts
    limit = microseconds(latest)
    closed = microseconds(closed_until) if closed_until is not None else 0
    fine = (amounts >= 0) & (amounts < AMOUNT_LIMIT)  # False for NaN
    ill = ~fine.all(axis=1) | (times < max(closed, 0)) | (times > limit)
    misnamed = {i for i, name in enumerate(columns.places) if not _NAME.fullmatch(name)}
    if misnamed:
        ill |= np.isin(columns.codes, list(misnamed))
    return {
        i: "name" if columns.codes[i] in misnamed else _reason(int(times[i]), amounts[i], closed, limit)
        for i in np.flatnonzero(ill).tolist()
    }


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
    parts = [COPY_HEAD]
    ends = np.searchsorted(codes, np.arange(len(places)), side="right")
    start = 0
    for name, end in zip(places, ends.tolist(), strict=True):
        if end > start:
            parts.append(_of_one_bin(name.encode(), times[start:end], amounts[start:end]))
        start = end
    parts.append(COPY_TAIL)
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


def raw_text(row: Any) -> str:
    """A row of any kind as text: bounded, and without what Postgres cannot store."""
    describe: Callable[[Any], str] = repr
    try:
        text = describe(tuple(row)) if isinstance(row, list) else describe(row)
    except Exception:  # noqa: BLE001 - a foreign object whose repr fails is still told by its type
        text = f"<{type(row).__name__}>"
    return text[:_RAW_CHARS].replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _raw_of_columns(columns: Columns, i: int) -> str:
    """As of the row that says the same, so that a reading that is given both ways is kept once."""
    time = int(columns.times[i])
    try:
        at: datetime | int = instant(time)
    except OverflowError:  # no calendar has it
        at = time
    return raw_text((columns.places[columns.codes[i]], at, *columns.amounts[i].tolist()))
