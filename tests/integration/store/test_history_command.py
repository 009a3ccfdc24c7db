"""``tomas db stats`` and ``tomas db prune`` as an operator meets them: a real process, a real Postgres."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from tomas.schema import ExecutionRecord, Plan, PlanStatus, utc_now
from tomas.store import Store, cite_samples

Command = Callable[..., subprocess.CompletedProcess[str]]
DAY = timedelta(days=1)


@pytest.fixture
def command(dsn: str) -> Command:
    """``command("stats")`` on the database of this test."""

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TOMAS__")}
        return subprocess.run(
            [sys.executable, "-c", "from tomas.cli import main; main()", "db", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**clean, "COLUMNS": "160", "TOMAS__STORE__DSN": dsn, **settings},
        )

    return run


def test_stats_name_every_table_with_its_span(store: Store, command: Command) -> None:
    now = utc_now().replace(microsecond=0)
    store.copy_samples([("small_1", now - i * DAY, *[1.0] * 12) for i in range(3)])
    done = command("stats")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["sample"]]
    assert f"{now - 2 * DAY:%Y-%m-%d %H:%M}" in line
    assert f"{now:%Y-%m-%d %H:%M}" in line
    assert "In all" in done.stdout
    assert "Refused" not in done.stdout
    nan = float("nan")
    store.copy_samples([("small_1", now, *[value] * 12) for value in (nan, -1.0, -2.0)])
    store.copy_records(["{}"])
    said = "2 sample: negative, 1 record: malformed: plan_id, 1 sample: not a number."
    assert f"Refused rows, kept in tomas.rejected_row: {said}" in command("stats").stdout


def test_prune_removes_what_it_is_told_and_spares_what_plans_cite(
    store: Store,
    command: Command,
    make_plan: Callable[..., Plan],
    make_record: Callable[..., ExecutionRecord],
) -> None:
    now = utc_now().replace(microsecond=0)
    store.copy_samples([("small_1", now - i * DAY, *[float(i)] * 12) for i in range(20)])
    since, until = now - 15 * DAY, now - 14 * DAY
    found = store.recent_samples(since, until=until, bins=["small_1"])
    plan = make_plan().model_copy(update={"snapshots": {"samples": cite_samples(found, since, until)}})
    store.release_plan(plan, [], lambda _: None)
    store.save_record(make_record(plan.id, started_at=now - 9 * DAY, ended_at=now - 9 * DAY + timedelta(seconds=1)))

    tried = command("prune", "--samples-days", "9.5", "--records-days", "5", "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert "0 records would be removed." in tried.stdout, "its plan is stored"
    assert "8 readings would be removed." in tried.stdout
    assert len(store.recent_samples(now - 30 * DAY)) == 20

    done = command("prune", "--samples-days", "9.5")
    assert "8 readings removed" in done.stdout
    assert "2 older readings stay: stored plans were made from them." in done.stdout
    assert len(store.recent_samples(now - 30 * DAY)) == 12

    store.set_plan_status(plan.id, PlanStatus.SUCCEEDED)
    last = command("prune", "--samples-days", "9.5", "--records-days", "5", "--plans-days", "0")
    assert "1 plan removed." in last.stdout
    assert "1 record removed." in last.stdout
    assert "2 readings removed" in last.stdout
    assert len(store.recent_samples(now - 30 * DAY)) == 10


def test_prune_alone_keeps_readings_as_long_as_the_sampler_does(store: Store, command: Command) -> None:
    now = utc_now().replace(microsecond=0)
    store.copy_samples([("small_1", now - i * DAY, *[float(i)] * 12) for i in range(20)])
    assert "6 readings would be removed." in command("prune", "--dry-run").stdout, "14 days old or older"
    done = command("prune", TOMAS__SAMPLER__KEEP_DAYS="9.5")
    assert done.returncode == 0, done.stderr
    assert "Readings older than 9.5 days (TOMAS__SAMPLER__KEEP_DAYS):" in done.stdout
    assert "10 readings removed" in done.stdout
    wrong = command("prune", TOMAS__SAMPLER__KEEP_DAYS="0.5")
    assert wrong.returncode != 0
    assert "TOMAS__SAMPLER__KEEP_DAYS" in wrong.stderr
    assert len(store.recent_samples(now - 30 * DAY)) == 10
