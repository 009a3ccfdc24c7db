"""A stack's children end with all their descendants, whatever those do to hide."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tomas.demo.processes import MARKER, ServiceDied, Supervisor, tail

SLEEPER = "import time; time.sleep(120)"
# A grandchild in a session of its own, whose parent then ends: no tree, group or session leads to it.
ORPHAN = (
    "import subprocess, sys, time\n"
    f"child = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)\n"
    "print(child.pid, flush=True)\n"
)
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); {SLEEPER}"


@pytest.fixture
def supervisor(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "logs").mkdir()
    made = Supervisor(tmp_path / "run", tmp_path / "logs", f"test-{os.getpid()}-{time.monotonic_ns()}")
    yield made
    made.stop(grace_s=0.0)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text().strip()):
        assert time.monotonic() < deadline, f"{path} stayed empty"
        time.sleep(0.02)
    return path.read_text().strip()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_an_orphan_in_its_own_session_is_ended_too(supervisor: Supervisor) -> None:
    service = supervisor.spawn("parent", python(ORPHAN), dict(os.environ))
    orphan = int(wait_for(service.log))
    service.process.wait(10)
    assert not gone(orphan)
    supervisor.stop(grace_s=1.0)
    assert gone(orphan)


def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(supervisor: Supervisor) -> None:
    service = supervisor.spawn("stubborn", python(STUBBORN), dict(os.environ))
    wait_for(service.log)
    began = time.monotonic()
    assert supervisor.stop(grace_s=0.5) == 1
    assert gone(service.process.pid)
    assert time.monotonic() - began < 5


def test_a_second_interrupt_shortens_the_grace(supervisor: Supervisor) -> None:
    service = supervisor.spawn("stubborn", python(STUBBORN), dict(os.environ))
    wait_for(service.log)
    began = time.monotonic()
    supervisor.stop(grace_s=60.0, hurry=lambda: True)
    assert gone(service.process.pid)
    assert time.monotonic() - began < 10


def test_what_a_killed_run_left_is_found_by_its_records_and_its_marker(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    service = supervisor.spawn("sleeper", python(SLEEPER), dict(os.environ))
    unrecorded = subprocess.Popen(python(SLEEPER), env={**os.environ, MARKER: supervisor._stack_id})
    stranger = subprocess.Popen(python(SLEEPER))
    try:
        later = Supervisor(tmp_path / "run", tmp_path / "logs", supervisor._stack_id)
        assert later.recover() == 2
        assert gone(service.process.pid)
        assert gone(unrecorded.pid)
        assert not gone(stranger.pid)
    finally:
        for process in (unrecorded, stranger):
            process.kill()
            process.wait()


def test_a_recorded_id_that_now_means_another_process_is_left_alone(supervisor: Supervisor, tmp_path: Path) -> None:
    stranger = subprocess.Popen(python(SLEEPER))
    try:
        (tmp_path / "run" / "old.json").write_text(f'{{"pid": {stranger.pid}, "create_time": 1.0}}')
        assert supervisor.recover() == 0
        assert not gone(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()


def test_a_child_that_dies_is_reported_with_its_last_words_and_their_place(supervisor: Supervisor) -> None:
    service = supervisor.spawn("broken", python("import sys; sys.exit('no such port')"), dict(os.environ))
    service.process.wait(20)
    with pytest.raises(ServiceDied, match="broken ended with code 1") as caught:
        supervisor.check()
    assert "no such port" in caught.value.what
    assert str(service.log) in caught.value.remedy


def test_the_log_of_the_run_before_is_kept(supervisor: Supervisor) -> None:
    for word in ("first", "second"):
        supervisor.spawn("echo", python(f"print({word!r})"), dict(os.environ)).process.wait(20)
    assert tail(supervisor.log_path("echo")) == "second"
    assert tail(supervisor.log_path("echo").with_name("echo.previous.log")) == "first"
