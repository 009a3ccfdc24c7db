"""The meter of a process tree."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from tomas.telemetry.process import ProcessTreeMeter, kill_tree

FAMILY = """
import subprocess, sys, time
held = bytearray(60 * 2**20)
child = subprocess.Popen([sys.executable, "-c", "held = bytearray(40 * 2**20); input()"], stdin=subprocess.PIPE)
print("ready", flush=True)
input()
child.communicate(b"\\n")
del held
print("alone", flush=True)
input()
"""


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def line(process: subprocess.Popen[str], answer: bool = False) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    if answer:
        process.stdin.write("\n")
        process.stdin.flush()
    return process.stdout.readline().strip()


def test_memory_is_summed_over_the_tree_and_its_peak_kept() -> None:
    process = start(FAMILY)
    try:
        assert line(process) == "ready"
        meter = ProcessTreeMeter(process.pid)
        deadline = time.monotonic() + 10
        while meter.sample().mem_gb < 100 / 1024 and time.monotonic() < deadline:
            time.sleep(0.02)
        both = meter.sample()
        assert both.processes == 2
        assert 100 / 1024 < both.mem_gb < 160 / 1024
        assert line(process, answer=True) == "alone"
        alone = meter.sample()
        assert alone.processes == 1
        assert alone.mem_gb < 60 / 1024
        assert alone.peak_mem_gb >= both.mem_gb
    finally:
        process.kill()
        process.communicate()


def test_cpu_seconds_never_fall_when_a_descendant_ends() -> None:
    code = """
import subprocess, sys, time
for _ in range(3):
    subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.25: pass"])
print("done", flush=True)
input()
"""
    process = start(code)
    try:
        meter = ProcessTreeMeter(process.pid)
        totals = []
        while process.poll() is None and (not totals or totals[-1] < 0.7):
            totals.append(meter.sample().cpu_seconds)
            time.sleep(0.02)
            if len(totals) > 1500:
                break
        assert totals == sorted(totals)
        assert line(process) == "done"
        assert meter.sample().cpu_seconds == pytest.approx(0.75, abs=0.35)
        assert 0.1 < meter.finish().peak_cpu_cores < 1.5
    finally:
        process.kill()
        process.communicate()


def test_kill_tree_finds_a_daemon_that_left_the_session() -> None:
    code = """
import subprocess, sys
quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
stray = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], **quiet)
print(stray.pid, flush=True)
input()
"""
    process = start(code)
    stray = int(line(process))
    meter = ProcessTreeMeter(process.pid)
    meter.sample()
    process.kill()  # the stray one is an orphan now, and of another session
    process.communicate()
    orphan = psutil.Process(stray)
    assert orphan.status() != psutil.STATUS_ZOMBIE
    kill_tree(process.pid, meter.known_pids())
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_a_tree_that_has_gone_keeps_its_last_figures() -> None:
    process = start("held = bytearray(30 * 2**20); print('ready', flush=True); input()")
    line(process)
    meter = ProcessTreeMeter(process.pid)
    peak = meter.sample().peak_mem_gb
    process.kill()
    process.communicate()
    after = meter.sample()
    assert (after.mem_gb, after.processes) == (0.0, 0)
    assert after.peak_mem_gb == peak > 30 / 1024
