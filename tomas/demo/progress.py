"""What the demo says while one waits: a live status line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text

__all__ = ["Progress"]

_CLOSED = (OSError, SystemExit)
"""What writing raises once nobody reads: Rich turns a broken pipe into SystemExit. Cleaning up goes on."""

_REPEAT_S = 15.0
"""How often a plain log repeats what is still being waited for."""


class Progress:
    """Phases with their elapsed seconds, and what is being waited for right now.

    :param console: where to write; None is silent (for tests).
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(quiet=True)
        self.phases: list[tuple[str, float]] = []
        self._status: Status | None = None
        self._title = ""
        self._began = time.monotonic()
        self._since = self._began
        self._said = ""
        self._said_at = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._began

    def line(self, text: str | Text = "", style: str = "") -> None:
        """One line; ``text`` is never read as markup. A closed terminal is no error."""
        item = text if isinstance(text, Text) else Text(text, style=style)
        with contextlib.suppress(*_CLOSED):
            self.console.print(item, soft_wrap=True)

    def show(self, item: RenderableType) -> None:
        """Anything Rich can draw, fitted to the width."""
        with contextlib.suppress(*_CLOSED):
            self.console.print(item)

    @contextlib.contextmanager
    def phase(self, title: str) -> Iterator[None]:
        """Time a phase; say its end, and on a terminal show its elapsed seconds while it lasts."""
        self._title, self._said, self._since = title, "", time.monotonic()
        self._said_at = self._since
        if self.console.is_terminal:
            with contextlib.suppress(*_CLOSED):
                self._status = self.console.status(Text(title))
                self._status.start()
        try:
            yield
        except BaseException:
            self._end_status()
            raise
        took = time.monotonic() - self._since
        self._end_status()
        self.phases.append((title, took))
        self.line(f"[{self.elapsed_s:6.1f} s] {title}: {took:.1f} s")

    def waiting(self, what: str) -> None:
        """Say what the present phase waits for; call it as often as you poll."""
        now = time.monotonic()
        if self._status is not None:
            with contextlib.suppress(*_CLOSED):
                self._status.update(Text(f"{self._title} ({now - self._since:.0f} s): waiting for {what}"))
        elif (what != self._said and now - self._said_at > 3.0) or now - self._said_at > _REPEAT_S:
            self._said, self._said_at = what, now
            self.line(f"[{self.elapsed_s:6.1f} s]   waiting for {what}")

    def _end_status(self) -> None:
        if self._status is not None:
            with contextlib.suppress(*_CLOSED):
                self._status.stop()
            self._status = None
