"""Which runs of a tool are kept to size its next one: recent ones, unlike older ones, no tenant's above all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from tomas.sizing.run import Run

__all__ = ["KeptRuns"]

_MOST = 64
_TRIMMED = 48
"""Above ``_MOST`` runs, so many stay: cutting at every run would mean learning all of them anew each time."""
_RECENT = 32
"""So many of them are the latest; the others are chosen for what they tell of other inputs and allocations."""
_PER_CELL = 3
_BROKEN = 8
_TENANT_LEAD = 8
"""A tenant has at most so many runs more than all others together."""


class KeptRuns:
    """Runs of one tool in the order of their ends.

    Their number is bounded, and so is what one tenant can do: where it runs the tool more than all others together
    (and eight runs more), each of its runs takes the place of its oldest. Steps that ran out of memory are kept
    apart until they end.

    :ivar epoch: changes whenever something else happened than that a run was added at the end.
    """

    def __init__(self, runs: Iterable[Run] = ()) -> None:
        self._runs = list(runs)
        self._broken = any(run.broken_step is not None for run in self._runs)
        self.epoch = 0

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def copy(self) -> KeptRuns:
        """The same runs, to go on with apart."""
        return KeptRuns(self._runs)

    @property
    def tenants(self) -> set[str]:
        """Whose runs these are; those of nobody in particular aside."""
        return {run.tenant for run in self._runs if run.tenant is not None}

    def fair(self) -> list[Run]:
        """The runs in the order in which they should be learned, as later ones tell more.

        Runs of several tenants alternate as evenly as their numbers allow, each tenant's in the order they ended:
        a burst of one tenant's must not look like a change of the tool. Those of no tenant come first.
        """
        if len(self.tenants) < 2:
            return list(self._runs)
        counts = Counter(run.tenant for run in self._runs)
        seen: Counter[str | None] = Counter()
        places = []
        for number, run in enumerate(self._runs):
            seen[run.tenant] += 1
            part = -1.0 if run.tenant is None else (seen[run.tenant] - 0.5) / counts[run.tenant]
            places.append((part, number))
        return [self._runs[number] for _, number in sorted(places)]

    @property
    def ended(self) -> int:
        """How many ended by themselves."""
        if not self._broken:
            return len(self._runs)
        return sum(run.broken_step is None for run in self._runs)

    def add(self, run: Run, *, step: str | None = None) -> None:
        """Keep a run that just ended.

        :param step: whose it is; what broke of the same step before tells no more than this run does.
        """
        if run.broken_step is not None:
            self._add_broken(run)
            return
        if step is not None and self._broken:
            self._drop([other for other in self._runs if other.broken_step == step])
        if run.tenant is not None:
            own = [other for other in self._runs if other.tenant == run.tenant and other.broken_step is None]
            others = self.ended - len(own)
            if others and len(own) >= others + _TENANT_LEAD:
                self._drop(own[: len(own) - others - _TENANT_LEAD + 1])
        self._runs.append(run)
        if len(self._runs) > _MOST:
            self._trim()

    def _add_broken(self, run: Run) -> None:
        broken = [other for other in self._runs if other.broken_step is not None]
        same = [other for other in broken if other.broken_step == run.broken_step]
        if any(other.peak_gb >= run.peak_gb for other in same):
            return
        left = len(broken) - len(same)
        self._drop([*same, *[other for other in broken if other not in same][: max(0, left - _BROKEN + 1)]])
        self._runs.append(run)
        self._broken = True

    def _drop(self, runs: list[Run]) -> None:
        if not runs:
            return
        leaving = Counter(map(id, runs))
        self._runs = [run for run in self._runs if id(run) not in leaving]
        self._broken = any(run.broken_step is not None for run in self._runs)
        self.epoch += 1

    def _trim(self) -> None:
        """Keep the latest, then of the older ones a few of each size of input and each allocation.

        What broke before all of the latest runs, and never ended, is forgotten.
        """
        ended = [run for run in self._runs if run.broken_step is None]
        kept = ended[-_RECENT:]
        cells = Counter(map(_cell, kept))
        spare: list[Run] = []
        for run in reversed(ended[:-_RECENT]):
            if cells[_cell(run)] < _PER_CELL and len(kept) < _TRIMMED:
                cells[_cell(run)] += 1
                kept.append(run)
            else:
                spare.append(run)
        kept += spare[: max(0, _TRIMMED - len(kept))]
        staying = set(map(id, kept))
        first = next(place for place, run in enumerate(self._runs) if run is ended[-_RECENT])
        staying |= {id(run) for run in self._runs[first:] if run.broken_step is not None}
        self._drop([run for run in self._runs if id(run) not in staying])


def _cell(run: Run) -> tuple[int, float, float]:
    """Half a decade of input size, and the allocation."""
    return math.floor(2.0 * math.log10(max(run.input_bytes, 1.0))), run.cores, run.gpu_sm
