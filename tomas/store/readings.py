"""Reading samples: as objects for a plan, or as arrays for long spans."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

from psycopg2.extensions import cursor
from pydantic import BaseModel

from tomas.errors import StoreError
from tomas.schema import Plan, Resources, Sample
from tomas.store.arrays import SAMPLE_FIELDS, Columns, SampleArrays, by_bin, in_order, instant, unpack_samples
from tomas.store.citation import cite_samples, cited_interval
from tomas.store.connection import Database

__all__ = ["ReadingsMixin", "uncollected"]

_AMOUNTS = ", ".join(SAMPLE_FIELDS[2:])
_OF_SAMPLE, _OF_RESOURCES = set(Sample.model_fields), set(Resources.model_fields)
_slots = BaseModel.__dict__
_set_values, _set_fields, _set_extra, _set_private = (
    _slots[name].__set__
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)

M = TypeVar("M", Sample, Resources)


@contextmanager
def uncollected() -> Iterator[None]:
    """Thousands of objects in a row that all stay: each garbage collection between would look at the whole process
    in vain.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class ReadingsMixin(Database):
    """What the samplers saw."""

    def recent_samples(
        self, since: datetime, *, until: datetime | None = None, bins: Iterable[str] | None = None
    ) -> list[Sample]:
        """Readings taken from ``since`` on, up to and with ``until``, by bin and time.

        :param bins: only of these bins, which is quickest.
        """
        found = self._read(since, until, bins)
        rows = zip(found.codes.tolist(), found.times.tolist(), found.amounts.tolist(), strict=True)
        instants = {time: instant(time) for time in set(found.times.tolist())}
        with uncollected():
            return [
                _built(
                    Sample,
                    _OF_SAMPLE,
                    {
                        "bin": found.places[place],
                        "at": instants[time],
                        "free": _resources(*row[:4]),
                        "background": _resources(*row[4:8]),
                        "reserved": _resources(*row[8:]),
                    },
                )
                for place, time, row in rows
            ]

    def sample_arrays(
        self, since: datetime, *, until: datetime | None = None, bins: Iterable[str] | None = None
    ) -> dict[str, SampleArrays]:
        """The same readings as :meth:`recent_samples` as arrays by bin, which takes a fraction of the time; no bin
        without any. :meth:`~tomas.store.samples.SamplesMixin.copy_arrays` stores such arrays.
        """
        return by_bin(self._read(since, until, bins))

    def _read(self, since: datetime, until: datetime | None, bins: Iterable[str] | None) -> Columns:
        """By bin and time."""
        given = None if bins is None else sorted(set(bins))
        bounds = "at >= %(since)s" + ("" if until is None else " AND at <= %(until)s")

        def work(cur: cursor) -> tuple[list[str], bytes]:
            names = given
            if names is None:
                cur.execute(f"SELECT DISTINCT bin FROM sample WHERE {bounds}", {"since": since, "until": until})  # noqa: S608 - fixed
                names = sorted(row[0] for row in cur)
            # Binary, because both sides spend more on the text of numbers than on anything else. The order within
            # the LATERAL makes it one index scan per bin; all in all it is put in order here, which is cheaper.
            query = cur.mogrify(
                f"COPY (SELECT (position - 1)::integer, at, {_AMOUNTS} FROM"  # noqa: S608 - fixed names
                " unnest(%(bins)s::text[]) WITH ORDINALITY AS place (name, position)"
                f" CROSS JOIN LATERAL (SELECT * FROM sample WHERE bin = place.name AND {bounds} ORDER BY at)"
                " AS found) TO STDOUT (FORMAT binary)",
                {"since": since, "until": until, "bins": names},
            )
            buffer = io.BytesIO()
            cur.copy_expert(query.decode(), buffer)
            return names, buffer.getvalue()

        names, payload = self._select(work)
        return in_order(unpack_samples(payload, names))

    def samples_of_plan(self, plan: Plan) -> list[Sample]:
        """The readings that a plan was made from; empty if it was made without.

        :raises StoreError: they are not the same any more: some came late or are gone.
        """
        interval = cited_interval(plan.snapshots)
        if interval is None:
            return []
        since, until = interval
        found = self.recent_samples(since, until=until, bins=[curve.bin for curve in plan.forecast])
        if cite_samples(found, since, until) != plan.snapshots["samples"]:
            raise StoreError(
                f"The samples that plan {plan.id} was made from are not as they were: there are {len(found)} now.",
                remedy="Readings came late, or were removed by hand; make the plan anew to compare.",
            )
        return found


def _resources(cpu_cores: float, cpu_mem_gb: float, gpu_sm: float, gpu_mem_gb: float) -> Resources:
    values = {"cpu_cores": cpu_cores, "cpu_mem_gb": cpu_mem_gb, "gpu_sm": gpu_sm, "gpu_mem_gb": gpu_mem_gb}
    return _built(Resources, _OF_RESOURCES, values)


def _built(kind: type[M], fields: set[str], values: dict[str, Any]) -> M:
    """A model from values that the table's CHECK has validated, as ``model_construct`` makes it, in less than a
    third of the time: a planner reads thousands at once.
    """
    made = kind.__new__(kind)
    _set_values(made, values)
    _set_fields(made, fields)
    _set_extra(made, None)
    _set_private(made, None)
    return made
