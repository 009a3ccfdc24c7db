"""What a planner may look at besides the request: history, sizes and forecasts, read when first asked for."""

from __future__ import annotations

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
    ) -> None:
        """:param read: the context, with the newest runs of the tools named.

        :param models: versions by kind that a plan cites which is made again; None: the current ones.
        :param reserved: what other plans held when that plan was drafted; None reads what they hold now.
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

    def context(self, tools: Collection[str]) -> Context:
        """Context that can size these tools; read again only where the kept one cannot."""
        if self._kept is None or not self._tools.issuperset(tools):
            self._kept, self._tools = self._read(tools), frozenset(tools)
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
