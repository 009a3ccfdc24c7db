"""``tomas demo`` cut short at any moment leaves no process and no port; after a kill the next start recovers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

TOMAS = str(Path(sys.executable).with_name("tomas"))


def of_home(home: Path, but: int) -> list[psutil.Process]:
    """Processes that work below ``home`` or name it in their environment, found without the demo's own code."""
    found = []
    for process in psutil.process_iter():
        if process.pid in (but, os.getpid()):
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = (process.cwd(), *process.cmdline(), *process.environ().values())
            if any(str(home) in word for word in words):
                found.append(process)
    return found


def listening_ports(processes: list[psutil.Process]) -> set[int]:
    ports = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            ports |= {item.laddr.port for item in process.net_connections("tcp") if item.status == "LISTEN"}
    return ports


def is_served(port: int) -> bool:
    return any(item.laddr.port == port and item.status == "LISTEN" for item in psutil.net_connections("tcp"))


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[str], what: str, timeout_s: float = 240
) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, f"the demo ended while waiting for {what}: {process.communicate()[0]}"
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.05)


@contextlib.contextmanager
def demo(home: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [TOMAS, "demo", "--ci", "--home", str(home)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        for stray in of_home(home, process.pid):
            with contextlib.suppress(psutil.Error):
                stray.kill()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interrupted") / "home"


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "first": lambda home: (home / "lock").exists(),
    "postgres": lambda home: any(one.name().startswith("postgres") for one in of_home(home, 0)),
    "migration": lambda home: (home / "run" / "airflow-db-migrate.json").exists(),
    "services": lambda home: (home / "run" / "triggerer.json").exists(),
    "workers": lambda home: " ready." in _text(home / "logs" / "worker-small_1.log"),
}


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("first", signal.SIGINT),
        ("postgres", signal.SIGINT),
        ("migration", signal.SIGINT),
        ("services", signal.SIGTERM),
        ("workers", signal.SIGHUP),
    ],
)
def test_a_signal_while_starting_leaves_nothing(home: Path, moment: str, number: signal.Signals) -> None:
    """The moments follow one another on one home: each start also copes with what the one before cut short."""
    for log in (home / "logs").glob("*.log"):
        log.unlink()
    with demo(home) as process:
        wait_until(lambda: MOMENTS[moment](home), process, moment)
        ports = listening_ports(of_home(home, process.pid))
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130, output
        assert of_home(home, process.pid) == []
        assert not any(is_served(port) for port in ports)
        assert str(home / "logs") in output


def test_after_a_kill_the_next_demo_recovers_and_runs_to_its_end(home: Path) -> None:
    with demo(home) as killed:
        wait_until(lambda: (home / "run" / "triggerer.json").exists(), killed, "services")
        killed.kill()
        killed.wait()
        left = of_home(home, killed.pid)
        assert left, "a killed parent cannot clean up: its children must be there"
        with demo(home) as process:
            output, _ = process.communicate(timeout=480)
            assert process.returncode == 0, output
            assert re.search(r"Ended \d+ processes", output), output
            assert not any(stray.is_running() and stray.status() != psutil.STATUS_ZOMBIE for stray in left)
            assert of_home(home, process.pid) == []
            for wanted in (
                "Plan against actual",
                "planned queues and pools",
                "Run page:",
                "Login:",
                "Declared result",
            ):
                assert wanted in output
