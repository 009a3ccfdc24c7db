"""Signals become one exception; inside a deferred block they wait."""

from __future__ import annotations

import os
import signal

import pytest

from tomas.demo.interrupts import Interrupted, Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_raises(number: signal.Signals) -> None:
    with Interrupts(), pytest.raises(Interrupted, match=number.name):
        os.kill(os.getpid(), number)


def test_a_deferred_signal_is_raised_after_the_block() -> None:
    done = []

    def block(interrupts: Interrupts) -> None:
        with interrupts.deferred():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("all of it")

    with Interrupts() as interrupts, pytest.raises(Interrupted):
        block(interrupts)
    assert done == ["all of it"]


def test_a_dropped_signal_is_counted_and_forgotten() -> None:
    with Interrupts() as interrupts:
        with interrupts.deferred(drop=True):
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.count == 1
        with interrupts.deferred():
            pass


def test_handlers_of_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Interrupts():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
