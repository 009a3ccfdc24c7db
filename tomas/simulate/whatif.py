"""What if: other capacity, workers lost, workers added.

Written as::

    gpu_1.cpu_cores=4              the worker has 4 cores: another worker, slots are derived anew
    cpu-large.cpu_mem_gb=x0.5      every worker of the class has half the memory
    gpu_1.cpu_cores=x0.5@60..120   half of the cores are free from 60 s to 120 s; its pool is as it was
    gpu_1.slots=50@12:00..13:00    the pool has half its slots between these times of day
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tomas.errors import DataError
from tomas.schema import RESOURCE_NAMES, Resources
from tomas.simulate.workload import SIMULATED_RESOURCES, SimBin, Stretch

__all__ = ["Change", "Loss", "Span", "add_bins", "apply", "parse_change", "parse_loss", "parse_span", "parse_time"]

_SLOTS = SIMULATED_RESOURCES.index("slots")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(s|m|min|h|d)?")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")


@dataclass(frozen=True)
class Span:
    """A stretch of simulated time; half-open."""

    start_ms: float = 0.0
    end_ms: float = math.inf

    @property
    def whole(self) -> bool:
        """Whether it is all time."""
        return self.start_ms <= 0.0 and self.end_ms == math.inf


@dataclass(frozen=True)
class Change:
    """A resource of a bin, or of all bins of a class, has another amount."""

    target: str
    resource: str
    value: float
    relative: bool = False
    """Whether ``value`` is a factor."""
    span: Span | None = None
    """None: for good, and part of what the worker is declared with; else what is free for that time."""


@dataclass(frozen=True)
class Loss:
    """A worker is gone for a time."""

    target: str
    span: Span = Span()


def parse_time(text: str, *, clock_ms: float = 0.0) -> float:
    """Milliseconds from the start of the simulation: ``90``, ``90s``, ``1.5m``, ``2h``, ``1d``, or ``12:30``.

    :param clock_ms: the time of day at which the simulation starts; an earlier time of day is the next day's.
    :raises DataError: it is none of these.
    """
    clock = _CLOCK.fullmatch(text)
    if clock:
        hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        since = (hours * 3600 + minutes * 60 + seconds) * 1000.0 - clock_ms
        return since if since >= 0 else since + 86_400_000.0
    number = _NUMBER.fullmatch(text)
    if not number:
        raise DataError(
            f"{text!r} is no time.",
            remedy="Write seconds (90), with a unit (5m, 2h, 1d), or a time of day (12:30).",
        )
    return float(number[1]) * _UNITS[number[2] or ""] * 1000.0


def parse_span(text: str, *, clock_ms: float = 0.0) -> Span:
    """``START..END``, either of which may be left out."""
    start, separator, end = text.partition("..")
    if not separator:
        raise DataError(f"{text!r} is no span of time.", remedy="Write START..END, such as 60..120.")
    span = Span(
        parse_time(start, clock_ms=clock_ms) if start else 0.0,
        parse_time(end, clock_ms=clock_ms) if end else math.inf,
    )
    if span.end_ms <= span.start_ms:
        raise DataError(f"The span {text} ends before it starts.", remedy="Give an end after the start.")
    return span


def parse_change(text: str, *, clock_ms: float = 0.0) -> Change:
    """``BIN.RESOURCE=VALUE[@START..END]``; VALUE is an amount, or ``x`` and a factor.

    :raises DataError: it is malformed, the resource is unknown, or the amount negative.
    """
    remedy = "Write BIN.RESOURCE=VALUE[@START..END], such as gpu_1.cpu_cores=4@60..120 or gpu_1.cpu_cores=x0.5."
    head, equals, tail = text.partition("=")
    target, dot, resource = head.rpartition(".")
    if not (equals and dot and target):
        raise DataError(f"--set {text!r} is malformed.", remedy=remedy)
    if resource not in SIMULATED_RESOURCES:
        raise DataError(
            f"--set {text!r}: there is no resource {resource!r}.",
            remedy=f"Take one of {', '.join(SIMULATED_RESOURCES)}.",
        )
    amount, at, span = tail.partition("@")
    relative = amount.startswith("x")
    try:
        value = float(amount.removeprefix("x"))
    except ValueError:
        raise DataError(f"--set {text!r}: {amount!r} is neither an amount nor a factor.", remedy=remedy) from None
    if not 0 <= value < math.inf:
        raise DataError(f"--set {text!r}: {amount} is not a finite amount >= 0.", remedy=remedy)
    if resource == "slots" and not relative and value != int(value):
        raise DataError(f"--set {text!r}: a pool has whole slots.", remedy=remedy)
    return Change(target, resource, value, relative, parse_span(span, clock_ms=clock_ms) if at else None)


def parse_loss(text: str, *, clock_ms: float = 0.0) -> Loss:
    """``BIN[@START..END]``."""
    target, at, span = text.partition("@")
    return Loss(target, parse_span(span, clock_ms=clock_ms) if at else Span())


def apply(bins: Sequence[SimBin], changes: Iterable[Change] = (), losses: Iterable[Loss] = ()) -> list[SimBin]:
    """The bins after all changes, in the order given; of two for the same time the later holds.

    :raises DataError: a change names neither a bin nor a class.
    """
    found = {place.name: place for place in bins}
    for change in changes:
        for name in _targets(found, change.target):
            found[name] = _changed(found[name], change)
    for loss in losses:
        for name in _targets(found, loss.target):
            place = found[name]
            stretches = _cut(place.stretches, loss.span)
            found[name] = replace(
                place,
                stretches=tuple(
                    replace(one, lost=True) if loss.span.start_ms <= one.start_ms < loss.span.end_ms else one
                    for one in stretches
                ),
            )
    return list(found.values())


def add_bins(bins: Sequence[SimBin], worker_class: str, count: int) -> list[SimBin]:
    """The bins and ``count`` more of a class, equal to its first and named like it: ``large_1``, ``large_2``, …

    :raises DataError: there is no such class, or the count is negative.
    """
    model = next((place for place in bins if place.worker_class == worker_class), None)
    if model is None:
        known = sorted({place.worker_class for place in bins})
        raise DataError(f"There is no worker class {worker_class}.", remedy=f"Take one of {', '.join(known)}.")
    if count < 0:
        raise DataError(f"{count} bins of {worker_class} cannot be added.", remedy="Give 0 or more.")
    stem = re.sub(r"\d+$", "", model.name) or f"{model.name}_"
    if stem == model.name:
        stem += "_"
    taken = {place.name for place in bins}
    names: list[str] = []
    number = 1
    while len(names) < count:
        name = f"{stem}{number}"
        if name not in taken:
            names.append(name)
        number += 1
    return [*bins, *(replace(model, name=name) for name in names)]


def _targets(bins: Mapping[str, SimBin], target: str) -> list[str]:
    if target in bins:
        return [target]
    members = [name for name, place in bins.items() if place.worker_class == target]
    if not members:
        classes = sorted({place.worker_class for place in bins.values()})
        raise DataError(
            f"There is neither a bin nor a worker class {target!r}.",
            remedy=f"Bins: {', '.join(sorted(bins))}; classes: {', '.join(classes)}.",
        )
    return members


def _changed(place: SimBin, change: Change) -> SimBin:
    column = SIMULATED_RESOURCES.index(change.resource)
    if change.span is not None:
        span = change.span
        return replace(
            place,
            stretches=tuple(
                _with(one, column, change) if span.start_ms <= one.start_ms < span.end_ms else one
                for one in _cut(place.stretches, span)
            ),
        )
    stretches = tuple(_with(one, column, change) for one in place.stretches)
    if column == _SLOTS:
        return replace(place, stretches=stretches)
    declared = dict(zip(RESOURCE_NAMES, place.capacity, strict=True))
    declared[change.resource] = _amount(declared[change.resource], change)
    return replace(place, capacity=Resources(**declared), stretches=stretches, redeclared=True)


def _with(stretch: Stretch, column: int, change: Change) -> Stretch:
    if column == _SLOTS:
        # A fraction of a slot starts nothing.
        return replace(stretch, slots=math.floor(_amount(stretch.slots, change) + 1e-9))
    free = list(stretch.free)
    free[column] = _amount(free[column], change)
    return replace(stretch, free=(free[0], free[1], free[2], free[3]))


def _amount(before: float, change: Change) -> float:
    return before * change.value if change.relative else change.value


def _cut(stretches: tuple[Stretch, ...], span: Span) -> tuple[Stretch, ...]:
    """The same stretches, with a boundary at both ends of the span."""
    result = list(stretches)
    for mark in (span.start_ms, span.end_ms):
        if mark in (0.0, math.inf) or any(one.start_ms == mark for one in result):
            continue
        before = max((one for one in result if one.start_ms < mark), key=lambda one: one.start_ms)
        result.append(replace(before, start_ms=mark))
        result.sort(key=lambda one: one.start_ms)
    return tuple(result)
