"""The embedded Postgres: credentials, restarts, crashes, and leaving nothing behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest

from tomas.demo.postgres import EmbeddedPostgres, free_port
from tomas.demo.postgres_process import server_pids
from tomas.errors import ConfigError, StoreUnavailable


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tomas-embedded-") as name:
        yield Path(name) / "a folder" / "data"


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(folder, durable=False) as server:
        yield server


def query(dsn: str, text: str) -> list[tuple[object, ...]]:
    link = psycopg2.connect(dsn)
    try:
        with link, link.cursor() as cur:
            cur.execute(text)
            return cur.fetchall() if cur.description else []
    finally:
        link.close()


def test_every_role_needs_its_password_and_sees_only_its_own_database(server: EmbeddedPostgres) -> None:
    first = server.create_database("alpha", "alpha", "p@ss/'\"%wörd")
    server.create_database("beta", "beta", "other")
    assert query(first, "SELECT current_user") == [("alpha",)]
    for dsn in (
        server.dsn("alpha", "alpha", "wrong"),
        server.dsn("beta", "alpha"),
        server.dsn("postgres", "postgres", "postgres"),
    ):
        with pytest.raises(psycopg2.OperationalError, match=r"authentication failed|permission denied"):
            psycopg2.connect(dsn)
    hashes = query(server.dsn(), "SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL")
    assert len(hashes) >= 3
    assert all(str(row[0]).startswith("SCRAM-SHA-256$") for row in hashes)


def test_create_database_is_idempotent_and_sets_the_new_password(server: EmbeddedPostgres) -> None:
    server.create_database("gamma", "gamma", "old")
    query(server.dsn("gamma", "gamma"), "CREATE TABLE kept (text text)")
    renewed = server.create_database("gamma", "gamma", "new")
    assert query(renewed, "SELECT count(*) FROM kept") == [(0,)]
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(server.dsn("gamma", "gamma", "old"))


def test_superuser_password_is_private_and_data_is_utf8(server: EmbeddedPostgres, folder: Path) -> None:
    secret = folder.parent / f"{folder.name}.json"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert query(server.dsn(), "SHOW server_encoding") == [("UTF8",)]
    assert query(server.dsn(), "SELECT upper('ä'), length('翻译')") == [("Ä", 2)]
    assert server.dsn(driver="psycopg2").startswith("postgresql+psycopg2://postgres:")


def test_data_and_port_survive_a_restart(server: EmbeddedPostgres, folder: Path) -> None:
    dsn = server.create_database("kept", "kept", "kept")
    query(dsn, "CREATE TABLE note AS SELECT 'still here' AS text")
    server.stop()
    assert not server.is_running()
    with EmbeddedPostgres(folder, durable=False) as again:
        again.create_database("kept", "kept", "kept")
        assert query(dsn, "SELECT text FROM note") == [("still here",)]


def test_killed_server_leaves_a_stale_lock_and_starts_again(server: EmbeddedPostgres, folder: Path) -> None:
    dsn = server.create_database("crash", "crash", "crash")
    query(dsn, "CREATE TABLE note AS SELECT 42 AS answer")
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert (folder / "postmaster.pid").exists()
    with EmbeddedPostgres(folder, durable=False) as again:
        assert again.pid not in (None, pid)
        assert query(dsn, "SELECT answer FROM note") == [(42,)]


def test_a_server_that_does_not_answer_yet_is_waited_for(server: EmbeddedPostgres, folder: Path) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    waking = threading.Timer(0.5, os.kill, (pid, signal.SIGCONT))
    try:
        with pytest.raises(StoreUnavailable, match=f"process {pid}.*takes no connection"):
            EmbeddedPostgres(folder).start(timeout_s=0.0)
        waking.start()
        assert EmbeddedPostgres(folder).start().pid == pid
    finally:
        os.kill(pid, signal.SIGCONT)
        waking.cancel()


def test_lock_with_a_strangers_process_id_is_stale_too(server: EmbeddedPostgres, folder: Path) -> None:
    server.stop()
    (folder / "postmaster.pid").write_text(f"{os.getpid()}\n{folder}\n1\n5432\n\n127.0.0.1\n1 1\nready\n")
    with EmbeddedPostgres(folder, durable=False) as again:
        assert query(again.dsn(), "SELECT 1") == [(1,)]


def test_start_takes_over_a_running_server_and_stop_ends_all_its_processes(
    server: EmbeddedPostgres, folder: Path
) -> None:
    pid = server.pid
    assert pid is not None
    other = EmbeddedPostgres(folder).start()
    assert (other.pid, other.port) == (pid, server.port)
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    assert len(family) > 1
    other.stop()
    other.stop()
    assert not any(alive(number) for number in family)
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(f"postgresql://postgres@127.0.0.1:{server.port}/postgres")


def test_interrupting_the_process_group_of_the_starter_spares_the_server(folder: Path) -> None:
    code = (
        "import sys, time\n"
        "from tomas.demo.postgres import EmbeddedPostgres\n"
        "print(EmbeddedPostgres(sys.argv[1]).start().pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    os.killpg(starter.pid, signal.SIGINT)
    starter.wait(20)
    starter.stdout.close()
    server = EmbeddedPostgres(folder)
    try:
        assert server.pid == pid
        server.start()
        assert query(server.dsn(), "SELECT 1") == [(1,)]
    finally:
        server.stop()
    assert not alive(pid)


def test_taken_port_is_one_clear_error_and_leaves_no_process(folder: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = EmbeddedPostgres(folder, port=taken.getsockname()[1])
        with pytest.raises(StoreUnavailable, match="choose another port"):
            server.start()
        assert not server.is_running()


def test_interrupt_while_it_starts_leaves_no_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedPostgres(folder)

    def interrupt(_: Path, __: int) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("tomas.demo.postgres.is_ready", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.start()
    assert server_pids(server.data_dir) == []
    monkeypatch.undo()
    with server:
        assert query(server.dsn(), "SELECT 1") == [(1,)]


def test_folder_with_other_content_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="cannot become a data folder"):
        EmbeddedPostgres(tmp_path / "data").start()
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["letter.txt"]
    assert not list(tmp_path.glob("data-new-*"))


def test_given_port_is_used(folder: Path) -> None:
    port = free_port()
    with EmbeddedPostgres(folder, port=port) as server:
        assert server.port == port
        assert f":{port}/" in server.dsn()


def test_misuse_names_its_remedy(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"start\(\)"):
        _ = EmbeddedPostgres(folder).port
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "PG_VERSION").write_text("14\n")
    with pytest.raises(ConfigError, match="is missing"):
        EmbeddedPostgres(tmp_path / "old").start()
    (tmp_path / "old.json").write_text('{"password": "x"}')
    with pytest.raises(ConfigError, match="Postgres 14"):
        EmbeddedPostgres(tmp_path / "old").start()


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
