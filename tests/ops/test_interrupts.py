"""Ctrl-C ends a loop between two items, or everything at once, and never amid the start of a process."""

import signal
from collections.abc import Iterator

import pytest

from stream_coupons.ops.interrupts import Interruptions, uninterrupted


def test_an_interruption_lets_the_work_on_an_item_end() -> None:
    done = []
    with Interruptions() as interruptions:
        for number in interruptions.each(range(5)):
            if number == 2:
                signal.raise_signal(signal.SIGINT)
            done.append(number)
    assert done == [0, 1, 2]
    assert interruptions.happened


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_cuts_the_wait_for_an_item_short(number: signal.Signals) -> None:
    def endless() -> Iterator[int]:
        yield 1
        signal.raise_signal(number)
        pytest.fail("the wait went on")

    with Interruptions() as interruptions:
        assert list(interruptions.each(endless())) == [1]
    assert interruptions.happened


def test_a_second_interruption_ends_the_work_at_once() -> None:
    with Interruptions() as interruptions:
        for _ in interruptions.each(range(5)):
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruptions():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_at_once_the_first_signal_interrupts_and_the_others_do_not(number: signal.Signals) -> None:
    with Interruptions(at_once=True):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        signal.raise_signal(number)


def test_a_signal_waits_for_the_end_of_what_must_not_be_interrupted() -> None:
    done = []

    def start() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with Interruptions(at_once=True), pytest.raises(KeyboardInterrupt):
        start()
    assert done == ["all of it"]
