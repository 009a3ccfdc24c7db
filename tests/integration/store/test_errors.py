"""When Postgres is away, slow or refuses: one error of our tree, with a remedy and without the password."""

from __future__ import annotations

import multiprocessing
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from pydantic import SecretStr

from tomas.config import Settings, StoreSettings
from tomas.demo.postgres import EmbeddedPostgres, free_port
from tomas.errors import ConfigError, StoreError, StoreUnavailable
from tomas.schema import PlannerCall, utc_now
from tomas.store import Store

SECRET = "tOp-s3cret"


def test_making_a_store_connects_to_nothing() -> None:
    started = time.monotonic()
    store = Store(f"postgresql://tomas:{SECRET}@192.0.2.1:5432/tomas")
    store.close()
    assert time.monotonic() - started < 0.5
    assert repr(store) == "Store(192.0.2.1:5432/tomas)"


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://tomas:{SECRET}@127.0.0.1:{free_port()}/tomas",
        f"host=127.0.0.1 port={free_port()} dbname=tomas user=tomas password={SECRET}",
        # A "/" or "@" that is not percent-encoded puts a piece of the password into the host or the port.
        f"postgresql://tomas:x@{SECRET}@nowhere.invalid/tomas",
        f"postgresql://tomas:{SECRET}/x@127.0.0.1/tomas",
        f"postgresql://tomas:12/{SECRET}@127.0.0.1/tomas",
        f"postgresql://tomas:12?{SECRET}@127.0.0.1/tomas",
        f"nonsense {SECRET}",
        f"postgresql://tomas:%zz{SECRET}@127.0.0.1/tomas",
    ],
)
def test_unreachable_or_unreadable_address_never_shows_the_password(dsn: str) -> None:
    with pytest.raises((StoreUnavailable, ConfigError)) as caught:
        Store(dsn, StoreSettings(connect_timeout_s=1)).bins()
    assert caught.value.remedy
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_wrong_password_is_unavailable_and_not_shown(dsn: str) -> None:
    wrong = dsn.replace("sesame", SECRET)
    assert wrong != dsn
    with pytest.raises(StoreUnavailable, match="authentication failed") as caught:
        Store(wrong).bins()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_full_server_is_waited_for_and_then_named(fresh_dsn: str, postgres: EmbeddedPostgres) -> None:
    database = fresh_dsn.rsplit("/", 1)[1]
    link = psycopg2.connect(postgres.dsn())
    link.autocommit = True
    with link.cursor() as cur:
        cur.execute(f"ALTER DATABASE {database} CONNECTION LIMIT 1")
    link.close()
    with Store(fresh_dsn) as first, Store(fresh_dsn, StoreSettings(connect_timeout_s=1)) as second:
        first.bins()
        with pytest.raises(StoreUnavailable, match=r"no connection free for 1 s: .*too many connections") as caught:
            second.bins()
        assert "max_connections" in caught.value.remedy
        leaving = threading.Timer(0.3, first.close)
        leaving.start()
        assert second.bins() == []
        leaving.join()


def test_settings_without_address_name_the_variable(dsn: str) -> None:
    with pytest.raises(ConfigError, match="TOMAS__STORE__DSN"):
        Store.from_settings(Settings(store=StoreSettings(dsn=None)))
    with Store.from_settings(Settings(store=StoreSettings(dsn=SecretStr(dsn)))) as store:
        store.check_schema()


def test_slow_statement_ends_with_a_remedy_and_the_connection_lives_on(dsn: str) -> None:
    with Store(dsn, StoreSettings(statement_timeout_ms=100)) as store:
        with pytest.raises(StoreUnavailable, match=r"did not answer within 100 ms.*STATEMENT_TIMEOUT"):
            store._transaction(lambda cur: cur.execute("SELECT pg_sleep(5)"))
        assert store.bins() == []


def test_more_threads_than_connections_take_turns(dsn: str) -> None:
    with Store(dsn, StoreSettings(max_connections=2)) as store, ThreadPoolExecutor(12) as pool:
        assert list(pool.map(lambda _: store.bins(), range(48))) == [[]] * 48
        assert len(store._idle) <= 2


def test_waiting_for_a_connection_ends_with_a_remedy(dsn: str) -> None:
    busy, leave = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        busy.set()
        leave.wait(20)

    settings = StoreSettings(max_connections=1, statement_timeout_ms=200)
    with Store(dsn, settings) as store, ThreadPoolExecutor(1) as pool:
        holder = pool.submit(store._transaction, hold)
        assert busy.wait(20)
        try:
            with pytest.raises(StoreUnavailable, match=r"All 1 connections .*MAX_CONNECTIONS"):
                store.bins()
        finally:
            leave.set()
        holder.result(20)


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_text_that_postgres_cannot_hold_is_a_refused_row(store: Store, text: str) -> None:
    call = PlannerCall.model_construct(
        at=utc_now(),
        planner="p",
        task_chars=1,
        tools=1,
        steps=1,
        t_inf_ms=1.0,
        dispatch_lag_ms=None,
        plan_id=None,
        error=text,
    )
    with pytest.raises((StoreError, ValueError)):
        store.log_call(call)
    assert store.recent_calls() == []


def use_in_child(store: Store, answers: multiprocessing.SimpleQueue[object]) -> None:
    answers.put(store.bins())


def test_forked_child_opens_its_own_connections(store: Store) -> None:
    assert store.bins() == []
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=use_in_child, args=(store, answers))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert answers.get() == []
    assert store.bins() == [], "the parent's connection still works"
