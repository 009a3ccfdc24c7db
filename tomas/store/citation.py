"""How a plan names the samples it was made from, so that they can be kept, read again and compared."""

from __future__ import annotations

import hashlib
import re
import sys
from array import array
from collections.abc import Iterable, Mapping
from datetime import datetime

import numpy as np

from tomas.schema import Sample
from tomas.store.arrays import SampleArrays

__all__ = ["cite_samples", "cited_interval"]

_CITATION = re.compile(r"(?P<start>\S+)/(?P<end>\S+) readings=(?P<count>\d+) sha256=(?P<digest>[0-9a-f]{64})")


def cite_samples(samples: Iterable[Sample] | Mapping[str, SampleArrays], since: datetime, until: datetime) -> str:
    """Text for ``plan.snapshots["samples"]``: both ends of the interval, number and digest of the readings.

    It is the same for the objects of ``Store.recent_samples`` and for the arrays of ``Store.sample_arrays``.
    """
    if isinstance(samples, Mapping):
        count, digest = sum(len(arrays.at_us) for arrays in samples.values()), _digest_of_arrays(samples)
    else:
        found = list(samples)
        count, digest = len(found), _digest_of_samples(found)
    return f"{since.isoformat()}/{until.isoformat()} readings={count} sha256={digest}"


def cited_interval(snapshots: Mapping[str, str]) -> tuple[datetime, datetime] | None:
    """First and last instant of the samples that a plan cites; None if it cites none."""
    match = _CITATION.fullmatch(snapshots.get("samples", ""))
    if match is None:
        return None
    try:
        start, end = datetime.fromisoformat(match["start"]), datetime.fromisoformat(match["end"])
    except ValueError:
        return None
    return (start, end) if start.tzinfo and end.tzinfo and start <= end else None


def _digest_of_samples(samples: Iterable[Sample]) -> str:
    """SHA-256 over bin, microsecond and exact amounts, as 64 hex digits; the order of the samples counts."""
    names: list[str] = []
    numbers = array("d")
    for sample in samples:
        names.append(sample.bin)
        free, background, reserved = sample.free, sample.background, sample.reserved
        numbers.extend(
            (
                *(sample.at.timestamp(), free.cpu_cores, free.cpu_mem_gb, free.gpu_sm, free.gpu_mem_gb),
                *(background.cpu_cores, background.cpu_mem_gb, background.gpu_sm, background.gpu_mem_gb),
                *(reserved.cpu_cores, reserved.cpu_mem_gb, reserved.gpu_sm, reserved.gpu_mem_gb),
            )
        )
    if sys.byteorder == "big":
        numbers.byteswap()
    return _digest(names, numbers.tobytes())


def _digest_of_arrays(arrays: Mapping[str, SampleArrays]) -> str:
    names: list[str] = []
    numbers = bytearray()
    for name in sorted(arrays):
        at_us, *parts = arrays[name]
        names += [name] * len(at_us)
        numbers += np.column_stack((at_us / 1e6, *parts)).astype("<f8").tobytes()
    return _digest(names, bytes(numbers))


def _digest(names: list[str], numbers: bytes) -> str:
    return hashlib.sha256("\n".join(names).encode() + b"\0" + numbers).hexdigest()
