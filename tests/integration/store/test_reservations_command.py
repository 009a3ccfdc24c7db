"""``tomas reservations`` as an operator meets it: a real process, a real Postgres."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from tomas.schema import Bin, ExecutionRecord, Plan, Reservation, Resources, WorkerClass, utc_now
from tomas.store import Store

MakePlan = Callable[..., Plan]
Reserve = Callable[[Plan], list[Reservation]]
Command = Callable[..., subprocess.CompletedProcess[str]]
CAPACITY = Resources(cpu_cores=2, cpu_mem_gb=2)


def accept(_: list[Reservation]) -> None:
    """A verifier that finds nothing wrong."""


@pytest.fixture
def command(dsn: str) -> Command:
    """``command("list", …, answer="y")`` on the database of this test."""

    def run(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TOMAS__")}
        return subprocess.run(
            [sys.executable, "-c", "from tomas.cli import main; main()", "reservations", *arguments],
            input=answer,
            capture_output=True,
            text=True,
            check=False,
            env={**clean, "COLUMNS": "160", "TOMAS__STORE__DSN": dsn},
        )

    return run


@pytest.fixture
def plan(store: Store, make_plan: MakePlan, reserve: Reserve) -> Plan:
    """A released plan of three steps on two bins that the store knows."""
    store.upsert_worker_classes(
        [
            WorkerClass(
                name="cpu",
                capacity=CAPACITY,
                bins=[
                    Bin(name=name, worker_class="cpu", queue=name, pool=name, capacity=CAPACITY)
                    for name in ("small_1", "large_1")
                ],
            )
        ]
    )
    plan = make_plan(("small_1", "small_1", "large_1"))
    store.release_plan(plan, reserve(plan), accept)
    return plan


def rows(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """The cells of the printed table, its head left out."""
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    head = next(i for i, line in enumerate(lines) if line.lstrip().startswith("bin "))
    return [
        [cell.strip() for cell in line.split("  ") if cell.strip()]
        for line in lines[head + 2 :]
        if line.strip() and "core" in line
    ]


def test_list_shows_who_holds_what(command: Command, plan: Plan) -> None:
    listed = rows(command("list"))
    assert [(row[0], row[1], row[2]) for row in listed] == [
        ("large_1", plan.id, "s2"), ("small_1", plan.id, "s0"), ("small_1", plan.id, "s1")
    ]  # fmt: skip
    assert listed[1][3:8] == ["1 core, 0.5 GB", "50", "2030-01-01 12:00:00", "12:00:10", "planned"]
    assert {row[2] for row in rows(command("list", "--bin", "small_1"))} == {"s0", "s1"}
    assert len(rows(command("list", "--plan", plan.id))) == 3
    limited = command("list", "--limit", "1")
    assert [row[2] for row in rows(limited)] == ["s2"]
    assert "These are the latest 1; --limit shows more." in limited.stdout


def test_list_tells_the_states_apart(
    store: Store,
    command: Command,
    make_plan: MakePlan,
    reserve: Reserve,
    make_record: Callable[..., ExecutionRecord],
) -> None:
    now = utc_now()
    plan = make_plan(tuple(f"bin_{i}" for i in range(6)))
    spans = {"s0": (-60, -30), "s1": (-60, -30), "s2": (-60, 60), "s3": (-60, 60), "s4": (60, 90), "s5": (60, 90)}
    held = [
        item.model_copy(
            update={
                "start_at": now + timedelta(seconds=spans[item.step_id][0]),
                "end_at": now + timedelta(seconds=spans[item.step_id][1]),
            }
        )
        for item in reserve(plan)
    ]
    store.release_plan(plan, held, accept)
    for step in ("s1", "s3"):
        store.save_record(make_record(plan.id, step, started_at=now - timedelta(seconds=60)))
    store.release_reservation(plan.id, "s5")
    states = {row[2]: row[-2] for row in rows(command("list", "--all"))}
    assert states == {
        "s0": "overdue", "s1": "overruns", "s2": "waiting", "s3": "running", "s4": "planned", "s5": "released"
    }  # fmt: skip
    assert "1 reservation expired." in command("expire").stdout
    assert "0 reservations expired." in command("expire").stdout
    assert {row[2]: row[-2] for row in rows(command("list", "--all"))}["s0"] == "expired"
    done = command("release", plan.id, "s3", "--yes")
    assert "step s3 runs" in done.stdout
    assert "1 reservation released." in done.stdout


def test_release_asks_first(command: Command, store: Store, plan: Plan) -> None:
    refused = command("release", plan.id, answer="n\n")
    assert refused.returncode == 1
    assert "Release 3 reservations?" in refused.stdout
    unanswered = command("release", plan.id)
    assert unanswered.returncode == 1
    assert len(store.stored_reservations()) == 3
    assert command("release", plan.id, "s1", answer="y\n").returncode == 0
    assert [item.reservation.step_id for item in store.stored_reservations()] == ["s2", "s0"]
    done = command("release", plan.id, "--yes")
    assert "2 reservations released." in done.stdout
    assert "?" not in done.stdout
    assert store.stored_reservations() == []
    again = command("release", plan.id, "--yes")
    assert (again.returncode, again.stdout) == (0, f"Plan {plan.id} holds nothing.\n")
    assert command("list").stdout == "Nothing is reserved.\n"
    assert command("list", "--bin", "small_1").stdout == "Nothing is reserved.\n"
    assert len(rows(command("list", "--all"))) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "remedy"),
    [
        (["list", "--bin", "nowhere"], "The store holds no bin nowhere.", "Name one of: large_1, small_1."),
        (["list", "--plan", "nothing"], "There is no plan nothing in the store.", "Check the id"),
        (["release", "nothing", "--yes"], "There is no plan nothing in the store.", "Check the id"),
        (["release", "PLAN", "s9", "--yes"], "has no step s9.", "Its steps are: s0, s1, s2."),
    ],
)
def test_names_that_do_not_exist_are_said(
    command: Command, plan: Plan, arguments: list[str], error: str, remedy: str
) -> None:
    done = command(*(plan.id if word == "PLAN" else word for word in arguments))
    assert done.returncode == 1
    assert error in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr
