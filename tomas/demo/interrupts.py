"""Signals as one exception that can wait: Ctrl-C, SIGTERM, and the closing of the terminal."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupted", "Interrupts"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """Someone asked this process to end; ``number`` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interrupts:
    """While entered, SIGINT, SIGTERM and SIGHUP raise :class:`Interrupted` in the main thread.

    Inside :meth:`deferred` the signal is only noted: it is raised at the end of that block, or dropped by
    ``deferred(drop=True)``. Outside the main thread, and when never entered, nothing is installed and
    :meth:`deferred` does nothing.
    """

    def __init__(self) -> None:
        self.count = 0
        self._pending: int | None = None
        self._depth = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._former[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former.clear()

    @contextlib.contextmanager
    def deferred(self, *, drop: bool = False) -> Iterator[None]:
        """Let the block finish first; afterwards raise what came in between, or with ``drop`` forget it."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            number, self._pending = self._pending, None if self._depth == 0 else self._pending
            if drop:
                self._pending = None
        if number is not None and not drop and self._depth == 0:
            raise Interrupted(number)

    def _receive(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        self.count += 1
        if self._depth:
            self._pending = number
            return
        raise Interrupted(number)
