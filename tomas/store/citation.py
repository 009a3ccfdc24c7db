"""How a plan names the samples it was made from, so that they can be kept, read again and compared."""

from __future__ import annotations

import hashlib
import re
import sys
from array import array
from collections.abc import Iterable, Mapping
from datetime import datetime

from tomas.schema import Sample

__all__ = ["cite_samples", "cited_interval", "digest_of_samples"]

_CITATION = re.compile(r"(?P<start>\S+)/(?P<end>\S+) readings=(?P<count>\d+) sha256=(?P<digest>[0-9a-f]{64})")


def cite_samples(samples: Iterable[Sample], since: datetime, until: datetime) -> str:
    """Text for ``plan.snapshots["samples"]``: both ends of the interval, number and digest of the readings."""
    found = list(samples)
    return f"{since.isoformat()}/{until.isoformat()} readings={len(found)} sha256={digest_of_samples(found)}"


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


def digest_of_samples(samples: Iterable[Sample]) -> str:
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
    return hashlib.sha256("\n".join(names).encode() + b"\0" + numbers.tobytes()).hexdigest()
