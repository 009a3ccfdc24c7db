"""Curves of use and stretches of overload, noted while a simulation runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tomas.schema import RESOURCE_NAMES
from tomas.simulate.result import Overload, Usage
from tomas.simulate.server import EPSILON, Server

__all__ = ["Recorder"]


class Recorder:
    """Notes what bins use.

    :param curves: whether to keep the curves.
    """

    def __init__(self, servers: Sequence[Server], curves: bool) -> None:
        self._times: list[list[float]] | None = [[0.0] for _ in servers] if curves else None
        self._amounts = [[(0.0, 0.0, 0.0, 0.0, 0.0)] for _ in servers]
        self.overloads: list[Overload] = []

    def mark(self, server: Server) -> None:
        """Note what the bin's steps need from now on."""
        if self._times is None:
            return
        times, amounts = self._times[server.index], self._amounts[server.index]
        cpu, mem, gpu, gpu_mem = server.demand
        row = (cpu, mem, gpu, gpu_mem, float(server.used_slots))
        if times[-1] == server.at:
            amounts[-1] = row
        elif amounts[-1] != row:
            times.append(server.at)
            amounts.append(row)

    def usage(self, server: Server) -> Usage | None:
        """The curve of a bin."""
        if self._times is None:
            return None
        return Usage(np.array(self._times[server.index]), np.array(self._amounts[server.index]))

    def overload(self, server: Server, column: int, now: float, holders: tuple[tuple[int, int], ...]) -> None:
        """Open, continue or close the overload of a held resource, as demand and room stand."""
        used, free = server.demand[column], server.free[column]
        known = server.over.get(column)
        if known is None and used > free + EPSILON:
            server.over[column] = len(self.overloads)
            name = RESOURCE_NAMES[column]
            self.overloads.append(Overload(server.place.name, name, now, float("inf"), used, free, holders))
        elif known is not None:
            overload = self.overloads[known]
            if used <= free + EPSILON:
                self.overloads[known] = replace(overload, end_ms=now)
                del server.over[column]
            elif used - free > overload.used - overload.free + EPSILON:
                self.overloads[known] = replace(overload, used=used, free=free, steps=holders)
