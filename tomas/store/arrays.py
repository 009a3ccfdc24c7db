"""Readings as arrays, bin by bin: what long spans are read and written as."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tomas.errors import DataError
from tomas.schema import RESOURCE_NAMES

__all__ = [
    "COPY_HEAD",
    "COPY_TAIL",
    "EPOCH",
    "SAMPLE_FIELDS",
    "SAMPLE_PARTS",
    "Amounts",
    "Columns",
    "Instants",
    "SampleArrays",
    "by_bin",
    "in_columns",
    "in_order",
    "instant",
    "microseconds",
    "slices",
    "unpack_samples",
]

Amounts = NDArray[np.float64]
Instants = NDArray[np.int64]

SAMPLE_PARTS = ("free", "background", "reserved")
SAMPLE_FIELDS = ("bin", "at", *(f"{part}_{name}" for part in SAMPLE_PARTS for name in RESOURCE_NAMES))
"""The columns of a sample, and the order of a row: bin, instant, twelve amounts."""

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Where Postgres counts from; an older instant comes from a clock that was never set."""
COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
COPY_TAIL = struct.pack(">h", -1)

_AMOUNTS = len(SAMPLE_FIELDS) - 2
_WIDTH = len(RESOURCE_NAMES)
_UNIX_US = 946_684_800_000_000
"""From 1970 to :data:`EPOCH`."""
_MICROSECOND = timedelta(microseconds=1)


class SampleArrays(NamedTuple):
    """The readings of one bin, in the order of time."""

    at_us: Instants
    """Microseconds since 1970, UTC; shape (n,)."""
    free: Amounts
    """Shape (n, 4): cores, GB, percent of one GPU's SMs, GB."""
    background: Amounts
    reserved: Amounts


@dataclass(frozen=True)
class Columns:
    """Readings column by column, of several bins."""

    places: Sequence[str]
    """Names of bins, each once, in their order."""
    codes: Instants
    """Per reading the index of its bin; shape (n,)."""
    times: Instants
    """Microseconds since 2000."""
    amounts: Amounts
    """Shape (n, 12), the amounts of a row."""

    def part(self, start: int, end: int) -> Columns:
        """The readings in ``[start, end)``."""
        own = slice(start, end)
        return Columns(self.places, self.codes[own], self.times[own], self.amounts[own])


def in_columns(arrays: Mapping[str, SampleArrays]) -> Columns:
    """The readings of all bins in one table.

    :raises DataError: a name is no text, or a bin's arrays are not of the shapes of :class:`SampleArrays`.
    """
    if not all(isinstance(name, str) for name in arrays):
        raise DataError("A bin's name is not text.", remedy="Give a mapping from names of bins to their arrays.")
    names = sorted(arrays)
    times, amounts = [np.empty(0, np.int64)], [np.empty((0, _AMOUNTS))]
    for name in names:
        at_us, *parts = arrays[name]
        instants = np.asarray(at_us)
        tables = [np.asarray(part, dtype=np.float64) for part in parts]
        if not np.issubdtype(instants.dtype, np.integer) or any(
            table.shape != (*instants.shape, _WIDTH) for table in tables
        ):
            raise DataError(
                f"The arrays of bin {name} have the shapes {[np.shape(part) for part in arrays[name]]}"
                f" and instants of type {instants.dtype}.",
                remedy=f"Give whole microseconds of shape (n,), and three times amounts of shape (n, {_WIDTH}).",
            )
        times.append(instants.astype(np.int64) - _UNIX_US)
        amounts.append(np.concatenate(tables, axis=1))
    lengths = [len(part) for part in times[1:]]
    return Columns(names, np.repeat(np.arange(len(names)), lengths), np.concatenate(times), np.concatenate(amounts))


def by_bin(columns: Columns) -> dict[str, SampleArrays]:
    """The arrays of each bin that has readings; those of one bin follow each other in ``columns``."""
    ends = np.searchsorted(columns.codes, np.arange(len(columns.places)), side="right").tolist()
    found: dict[str, SampleArrays] = {}
    start = 0
    for name, end in zip(columns.places, ends, strict=True):
        if end > start:
            free, background, reserved = np.split(columns.amounts[start:end], len(SAMPLE_PARTS), axis=1)
            found[name] = SampleArrays(columns.times[start:end] + _UNIX_US, free, background, reserved)
        start = end
    return found


def in_order(columns: Columns) -> Columns:
    """The same readings by bin and time; at once where they are, and cheaper than in Postgres where not."""
    codes, times = columns.codes, columns.times
    later = np.diff(codes)
    if ((later > 0) | ((later == 0) & (np.diff(times) >= 0))).all():
        return columns
    order = np.lexsort((times, codes))
    return Columns(columns.places, codes[order], times[order], columns.amounts[order])


def unpack_samples(payload: bytes, places: Sequence[str]) -> Columns:
    """What a binary COPY of ``(int4, at, 12 amounts)`` gave, the integer being an index of ``places``."""
    value = np.dtype([("length", ">i4"), ("value", ">f8")])
    row = np.dtype(
        [
            *(("fields", ">i2"), ("place_length", ">i4"), ("place", ">i4")),
            *(("at_length", ">i4"), ("at", ">i8"), ("amounts", value, (_AMOUNTS,))),
        ]
    )
    count = (len(payload) - len(COPY_HEAD) - len(COPY_TAIL)) // row.itemsize
    block = np.frombuffer(payload, row, count, len(COPY_HEAD))
    return Columns(
        places,
        block["place"].astype(np.int64),
        block["at"].astype(np.int64),
        block["amounts"]["value"].astype(np.float64),
    )


def slices(columns: Columns, size: int) -> Iterator[Columns]:
    """Parts of at most ``size`` readings."""
    for start in range(0, len(columns.times), size):
        yield columns.part(start, start + size)


def microseconds(instant: datetime) -> int:
    """From :data:`EPOCH` to an instant."""
    return (instant - EPOCH) // _MICROSECOND


def instant(microseconds: int) -> datetime:
    """The instant so many microseconds after :data:`EPOCH`."""
    return EPOCH + microseconds * _MICROSECOND
