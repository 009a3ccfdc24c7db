"""Workers announce their queues by locks that end with them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable

import pytest

from tomas.errors import StoreUnavailable
from tomas.store.presence import Announcement, announced_queues

QUEUES = ["tomas_small_1", "tomas_large_1", "nobody"]


def eventually(check: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_only_announced_queues_are_live_and_only_while_announced(dsn: str) -> None:
    assert announced_queues(dsn, QUEUES) == set()
    first, second = Announcement(dsn, QUEUES[:2]), Announcement(dsn, QUEUES[:1])
    first.start()
    second.start()
    assert eventually(lambda: announced_queues(dsn, QUEUES) == set(QUEUES[:2]))
    first.stop()
    assert announced_queues(dsn, QUEUES) == {"tomas_small_1"}, "two workers may serve one queue"
    second.stop()
    assert announced_queues(dsn, QUEUES) == set()


def _announce_fork_and_wait(dsn: str) -> None:
    announcement = Announcement(dsn, QUEUES[:1])
    announcement.start()
    eventually(lambda: bool(announced_queues(dsn, QUEUES)))
    if os.fork() == 0:  # a pool worker, which outlives its parent here
        time.sleep(20)
        os._exit(0)
    time.sleep(60)


def test_a_killed_worker_is_gone_at_once_though_its_children_live(dsn: str) -> None:
    worker = multiprocessing.get_context("spawn").Process(target=_announce_fork_and_wait, args=(dsn,))
    worker.start()
    assert eventually(lambda: announced_queues(dsn, QUEUES) == {"tomas_small_1"})
    assert worker.pid is not None
    time.sleep(1)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert eventually(lambda: announced_queues(dsn, QUEUES) == set(), timeout_s=5)


def test_a_store_that_does_not_answer_is_an_error_without_the_password() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        announced_queues("postgresql://tomas:sesame@127.0.0.1:9/tomas", QUEUES, connect_timeout_s=1)
    assert "sesame" not in str(caught.value)
