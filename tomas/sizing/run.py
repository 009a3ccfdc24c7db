"""Runs as the sizers see them: one per executed step or profile row, small enough to be kept by the thousand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tomas.schema import ExecutionRecord, Outcome, ProfileRow

__all__ = ["Run", "rounds", "run_of_record", "run_of_row", "runs_of_records", "step_name"]

_DIGITS = 6
"""Significant digits of what is measured: a run that was written and read again is the same run."""


class Run(NamedTuple):
    """What one step needed.

    :ivar cores: allotted, as is ``gpu_sm`` (percent of one GPU).
    :ivar peak_gb: measured peak of memory; of a broken run the limit at which it broke.
    :ivar latency_ms: None where the run did not end by itself.
    :ivar cpu_used: cores used on average.
    :ivar tenant: whose run it was.
    :ivar profiled: 1 for a profile row, 0 for a run of a plan.
    :ivar broken_step: of a run that ran out of memory, the step whose end will tell what it needs; else None.
    """

    input_bytes: float
    cores: float
    peak_gb: float
    latency_ms: float | None = None
    output_bytes: float = 0.0
    cpu_used: float = 0.0
    tenant: str | None = None
    gpu_sm: float = 0.0
    gpu_sm_used: float = 0.0
    gpu_mem_gb: float = 0.0
    profiled: float = 0.0
    broken_step: str | None = None

    def to_row(self) -> list[Any]:
        """JSON data; what is absent at the end is left out."""
        row: list[Any] = list(self)
        while not row[-1]:
            row.pop()
        return row

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Run:
        """The inverse of :meth:`to_row`.

        :raises ValueError: the row is not one of ours.
        """
        if not _LEAST_VALUES <= len(row) <= len(cls._fields):
            raise ValueError(f"a run of {len(row)} values")
        values: list[Any] = []
        for place, value in enumerate(row):
            if type(value) in _NUMBERS and value >= 0 and place not in _TEXTS:
                values.append(float(value))
            elif (value is None and place in _OPTIONAL) or (type(value) is str and place in _TEXTS):
                values.append(value)
            else:
                raise ValueError(f"a run with the {cls._fields[place]} {value!r}")
        return cls(*values)


_LEAST_VALUES = 3
_NUMBERS = (float, int)
_TEXTS = frozenset(map(Run._fields.index, ("tenant", "broken_step")))
_OPTIONAL = _TEXTS | {Run._fields.index("latency_ms")}


def run_of_row(row: ProfileRow) -> Run:
    """A profile row as a run; rows have no tenant."""
    return Run(
        input_bytes=float(row.input_bytes),
        cores=max(row.cpu_core, 0.1),
        peak_gb=_rounded(max(row.peak_mem_gb, 1e-3)),
        latency_ms=_rounded(max(row.latency_ms, 1.0)),
        output_bytes=float(row.output_bytes),
        cpu_used=_rounded(1000.0 * row.cpu_seconds / max(row.latency_ms, 1.0)),
        gpu_sm=row.gpu_sm,
        gpu_mem_gb=_rounded(row.gpu_mem_gb),
        profiled=1.0,
    )


def rounds(rows: Iterable[ProfileRow]) -> list[ProfileRow]:
    """Profile rows in the order in which they should be learned: the first of each input, then the second of each.

    They are measured input by input, so in their own order each larger input would look like a change of the tool.
    """
    seen: Counter[tuple[str, int]] = Counter()
    places = []
    for number, row in enumerate(sorted(rows, key=lambda row: (row.measured_at is not None, str(row.measured_at)))):
        seen[row.tool, row.input_bytes] += 1
        places.append((seen[row.tool, row.input_bytes], number, row))
    return [row for _, _, row in sorted(places, key=lambda item: item[:2])]


def run_of_record(record: ExecutionRecord) -> Run | None:
    """A try as a run; None where it failed, was killed or still runs, which says nothing about needs.

    The DAG is the tenant.
    """
    usage = record.usage
    broke = usage.outcome is Outcome.OUT_OF_MEMORY
    if record.ended_at is None or not (broke or usage.outcome is Outcome.SUCCESS):
        return None
    wall_ms = max(usage.wall_ms, 1.0)
    return Run(
        input_bytes=float(record.input_bytes),
        cores=max(record.requested.cpu_cores, 0.1),
        peak_gb=_rounded(max(usage.peak_mem_gb, record.requested.cpu_mem_gb if broke else 1e-3)),
        latency_ms=None if broke else _rounded(wall_ms),
        output_bytes=0.0 if broke else float(record.output_bytes),
        cpu_used=0.0 if broke else _rounded(1000.0 * usage.cpu_seconds / wall_ms),
        tenant=record.dag_id,
        gpu_sm=record.requested.gpu_sm,
        gpu_sm_used=0.0 if broke else _rounded(usage.gpu_sm_mean),
        # A GPU that shows no use (no driver tells) is taken to need what was asked for.
        gpu_mem_gb=_rounded(usage.gpu_peak_mem_gb or record.requested.gpu_mem_gb),
        broken_step=step_name(record) if broke else None,
    )


def runs_of_records(records: Iterable[ExecutionRecord]) -> list[tuple[ExecutionRecord, Run]]:
    """One run per executed step, in the order of their ends.

    Of several tries of a step the successful one counts, else the out-of-memory with the highest limit.
    """
    best: dict[tuple[str, str], tuple[ExecutionRecord, Run]] = {}
    for record in records:
        run = run_of_record(record)
        if run is None:
            continue
        key = (record.plan_id, record.step_id)
        if key not in best or _rank(record, run) > _rank(*best[key]):
            best[key] = (record, run)
    return sorted(
        best.values(),
        key=lambda item: (item[0].ended_at or item[0].started_at, item[0].plan_id, item[0].step_id),
    )


def _rank(record: ExecutionRecord, run: Run) -> tuple[bool, float, int]:
    ended = run.broken_step is None
    return ended, 0.0 if ended else run.peak_gb, record.try_number


def step_name(record: ExecutionRecord) -> str:
    """What the tries of one step share."""
    return f"{record.plan_id}/{record.step_id}"


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
