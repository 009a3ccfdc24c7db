"""When plans arrive: once, evenly, at random, or at given times."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tomas.errors import DataError
from tomas.simulate.whatif import parse_time

__all__ = ["MAX_ARRIVALS", "Arrivals", "parse_arrivals"]

MAX_ARRIVALS = 1_000_000
"""More jobs than this in one simulation are taken for a slip."""
_PER = {"s": 1000.0, "m": 60_000.0, "min": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}


@dataclass(frozen=True)
class Arrivals:
    """A process of arrivals that ends: after ``count``, or before ``duration_ms``, whichever comes first.

    :param interval_ms: mean time between two arrivals; None takes ``times_ms``.
    :param random: whether the times between arrivals are exponential (a Poisson process) or all equal.
    """

    interval_ms: float | None = None
    random: bool = False
    times_ms: tuple[float, ...] = (0.0,)
    count: int | None = None
    duration_ms: float | None = None

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise DataError(f"{self.count} arrivals are none.", remedy="Let at least one plan arrive.")
        if self.duration_ms is not None and not 0 < self.duration_ms < math.inf:
            raise DataError("The duration of the arrivals is not above 0.", remedy="Give a duration such as 1h.")
        if self.interval_ms is None:
            return
        if not 0 < self.interval_ms < math.inf:
            raise DataError("The time between two arrivals is not above 0.", remedy="Give one above 0.")
        if self.count is None and self.duration_ms is None:
            raise DataError("The arrivals never end.", remedy="Give --count or --duration.")
        expected = min(self.count or math.inf, (self.duration_ms or math.inf) / self.interval_ms)
        if expected > MAX_ARRIVALS:
            raise DataError(
                f"{expected:,.0f} arrivals are more than the {MAX_ARRIVALS:,} of one simulation.",
                remedy="Give a shorter --duration or a smaller --count.",
            )

    def draw(self, seed: int | Sequence[int]) -> list[float]:
        """Arrival times in ms, ascending; the same seed gives the same times."""
        if self.interval_ms is None:
            limit = math.inf if self.duration_ms is None else self.duration_ms
            return [time for time in self.times_ms if time < limit][: self.count]
        if not self.random:
            # The first comes at once. An end that rounding puts just above a whole number of intervals adds none.
            most = math.ceil((self.duration_ms or math.inf) / self.interval_ms - 1e-9) if self.duration_ms else None
            number = min(part for part in (self.count, most) if part is not None)
            return [index * self.interval_ms for index in range(max(1, number))]
        random = np.random.default_rng(seed)
        found: list[float] = []
        now = 0.0
        while self.count is None or len(found) < self.count:
            for gap in random.exponential(self.interval_ms, 256):
                now += float(gap)
                if self.duration_ms is not None and now >= self.duration_ms:
                    return found
                found.append(now)
        return found[: self.count]


def parse_arrivals(text: str | None, *, count: int | None = None, duration_ms: float | None = None) -> Arrivals:
    """``every:300`` (seconds, or with a unit), ``poisson:20/h``, ``times:FILE``; None is one arrival, or ``count``.

    A file of times holds a JSON array, or one number a line: seconds from the start.

    :raises DataError: it is malformed, or would never end.
    """
    if text is None:
        return Arrivals(times_ms=(0.0,) * (count or 1), count=count, duration_ms=duration_ms)
    kind, _, rest = text.partition(":")
    if kind == "every" and rest:
        return Arrivals(parse_time(rest), False, (), count, duration_ms)
    if kind == "poisson" and rest:
        return Arrivals(_interval(rest), True, (), count, duration_ms)
    if kind == "times" and rest:
        return Arrivals(None, False, _read_times(Path(rest)), count, duration_ms)
    raise DataError(
        f"--arrivals {text!r} is unknown.",
        remedy="Write every:300, poisson:20/h or times:FILE.",
    )


def _interval(text: str) -> float:
    """Mean ms between two arrivals at a rate such as ``20/h``."""
    number, slash, unit = text.partition("/")
    try:
        rate = float(number)
    except ValueError:
        rate = math.nan
    if not slash or unit not in _PER or not 0 < rate < math.inf:
        raise DataError(f"{text!r} is no rate of arrivals.", remedy="Write one above 0 per s, m, h or d: 20/h.")
    return _PER[unit] / rate


def _read_times(path: Path) -> tuple[float, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", remedy="Name an existing file.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8.", remedy="Give one number of seconds a line.") from None
    try:
        values = json.loads(text) if text.lstrip().startswith("[") else text.split()
        times = sorted(float(value) * 1000.0 for value in values)
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} holds no times: {error}.", remedy="Give one number of seconds a line.") from None
    if not times or len(times) > MAX_ARRIVALS or not all(0 <= time < math.inf for time in times):
        raise DataError(
            f"{path} must hold 1 to {MAX_ARRIVALS:,} finite times that are not negative.",
            remedy="Correct the file.",
        )
    return tuple(times)
