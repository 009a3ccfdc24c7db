"""What a planner may look at besides the request: history, sizes and forecasts, read when first asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from tomas.config import Settings
from tomas.planner.context import Context, Registered
from tomas.schema import CapacityCurve, ModelVersion, ProfileRow, Reservation
from tomas.store import Store

__all__ = ["Outlook"]


class Outlook:
    """The context of one request; a planner that asks for none costs nothing."""

    def __init__(
        self,
        read: Callable[[Collection[str]], Context],
        profiles: Callable[[], Sequence[ProfileRow]],
        store: Store | None,
        settings: Settings,
        *,
        models: Mapping[str, str] | None = None,
        reserved: Callable[[], Sequence[Reservation]] | None = None,
        clock: float | None = None,
    ) -> None:
        """:param read: the context, with the newest runs of the tools named.

        :param models: versions by kind that a plan cites which is made again; None: the current ones.
        :param reserved: what other plans held when that plan was drafted; None reads what they hold now.
        :param clock: ``time.perf_counter()`` at the request; None: what planning takes is known already.
        """
        self._read = read
        self._profiles = profiles
        self._store = store
        self.settings = settings
        self.replays = models is not None
        self._reserved = reserved
        self._registered = Registered(store, models)
        self._kept: Context | None = None
        self._tools: frozenset[str] = frozenset()
        self._curves: list[CapacityCurve] | None = None
        self._clock = clock
        self._t_inf_ms = 0.0

    def expect(self, needed_ms: float) -> None:
        """Say how long the planner still needs: no capacity is read of a moment before its plan can be there.

        The log of past calls predicts T_inf. But a planner that has just been loaded has spent more than its log
        may know, and a new one has no log.
        """
        if self._clock is not None:
            self._t_inf_ms = (time.perf_counter() - self._clock) * 1000.0 + needed_ms
            if self._kept is not None:
                self._kept, self._curves = self._kept.landing_after(self._t_inf_ms), None

    def context(self, tools: Collection[str]) -> Context:
        """Context that can size these tools; read again only where the kept one cannot."""
        if self._kept is None or not self._tools.issuperset(tools):
            self._kept, self._tools = self._read(tools), frozenset(tools)
            if self._t_inf_ms:
                self._kept = self._kept.landing_after(self._t_inf_ms)
            self._curves = None
        return self._kept

    def curves(self) -> list[CapacityCurve]:
        """Free capacity of every bin from the release on; what other plans reserve is subtracted."""
        if self._curves is None:
            context = self.context(self._tools)
            read = self._reserved or (lambda: context.reservations(self._store, self.settings))
            self._curves = context.curves(read(), self.settings)
        return self._curves

    def model(self, kind: str) -> ModelVersion | None:
        """The version of the model registry to use: the current one, or the one that a replayed plan cites."""
        return self._registered.of(kind)

    def profiles(self) -> Sequence[ProfileRow]:
        """The rows of the profile table."""
        return self._profiles()
