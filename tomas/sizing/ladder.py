"""The escalation ladder: what a try gets after an out-of-memory, and the first allocation that costs least."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ladder"]

_MOST_TRIES = 64


@dataclass(frozen=True)
class Ladder:
    """Every try after an out-of-memory gets ``factor`` times the memory, up to a cap.

    The cap is what the user requested, or the largest bin. The cost of a task is, per unit of its run time, what
    the successful try got and did not use plus all that failed tries got: a try is taken to fail as late as it can.

    :ivar factor: growth from one try to the next, above 1.
    :ivar least_gb: no try gets less, unless the cap is lower.
    :ivar failure_price: :meth:`cheapest` reckons a failed try at so many times its allocation, as the time of a
        step that waits for it is worth more than its memory.
    :ivar restart_gb: and at so many GB more, for its slot and its cores: small steps should hardly ever fail.
    """

    factor: float = 2.0
    least_gb: float = 1.0 / 16.0
    failure_price: float = 3.0
    restart_gb: float = 6.0

    def allocation(self, first_gb: float, try_number: int = 1, cap_gb: float = np.inf) -> float:
        """GB of the try ``try_number``, counted from 1, where the first was planned with ``first_gb``."""
        wanted = max(first_gb, self.least_gb) * self.factor ** min(try_number - 1, _MOST_TRIES)
        return min(wanted, cap_gb)

    def tries(self, first_gb: float, peak_gb: float, cap_gb: float = np.inf) -> list[float]:
        """GB of all tries of a task that needs ``peak_gb``, the successful one last.

        A task that needs more than the cap fails there, and is then given what it needs.
        """
        given = [self.allocation(first_gb, 1, cap_gb)]
        while given[-1] < peak_gb:
            following = self.allocation(first_gb, len(given) + 1, cap_gb)
            given.append(following if following > given[-1] else peak_gb)
        return given

    def cost(self, first_gb: float, peak_gb: float, cap_gb: float = np.inf) -> float:
        """GB lost per unit of run time: unused by the successful try, and all of the failed ones."""
        given = self.tries(first_gb, peak_gb, cap_gb)
        return sum(given) - peak_gb

    def cheapest(
        self,
        peaks_gb: NDArray[np.float64],
        weights: NDArray[np.float64],
        *,
        cap_gb: float = np.inf,
        most_failing: float = 1.0,
    ) -> float:
        """The first allocation of least expected cost, of those at which at most a share fails.

        :param peaks_gb: possible peaks, ascending, shape (n,).
        :param weights: their probabilities, shape (n,), summing to 1.
        :param most_failing: largest probability of a failed first try; the largest peak or the cap always does.
        :return: one of ``peaks_gb``, within least and cap.
        """
        peaks = np.minimum(peaks_gb, cap_gb)
        covered, mass = np.zeros(len(peaks) + 1), np.zeros(len(peaks) + 1)
        np.cumsum(weights, out=covered[1:])
        np.cumsum(weights * peaks, out=mass[1:])
        start = min(int(np.searchsorted(covered[1:], 1.0 - most_failing - 1e-9)), len(peaks) - 1)
        firsts = np.minimum(np.maximum(peaks[start:], self.least_gb), cap_gb)
        # Tries of all first allocations, shape (tries, firsts); after the one that suffices nothing more is lost.
        ratio = float(peaks[-1]) / max(float(firsts[0]), 1e-300)
        most = min(1 + math.ceil(math.log(max(ratio, 1.0)) / math.log(self.factor)), _MOST_TRIES)
        given = np.minimum(firsts * self.factor ** np.arange(most + 1)[:, None], cap_gb)
        met = np.searchsorted(peaks * (1.0 - 1e-9), given, side="right")
        done, done_mass = covered[met], mass[met]
        lost = (covered[-1] - done) * (given * self.failure_price + self.restart_gb)
        lost += given * done - done_mass
        lost[1:] -= given[1:] * done[:-1] - done_mass[:-1]
        return float(firsts[int(lost.sum(axis=0).argmin())])
