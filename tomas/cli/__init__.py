"""The ``tomas`` command."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from tomas.errors import TomasError

__all__ = ["main"]


def main() -> None:
    """Run the command line; an error of ours is two clear lines and exit status 1."""
    from tomas.cli.app import app

    try:
        app()
    except TomasError as error:
        console = Console(stderr=True, highlight=False)
        console.print(Text.assemble((f"{type(error).__name__}: ", "bold red"), error.what))
        if error.remedy:
            console.print(Text.assemble(("Remedy: ", "bold green"), error.remedy))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
