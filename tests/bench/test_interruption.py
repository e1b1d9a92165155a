"""Ctrl-C once, and never amid what must not be left half done."""

import signal

import pytest

from stream_coupons.lab.bench.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_and_the_others_do_not(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruption():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_signal_waits_for_the_end_of_what_is_held() -> None:
    done = []
    with Interruption() as interruption:

        def start() -> None:
            with interruption.held():
                signal.raise_signal(signal.SIGINT)
                done.append("all of it")

        with pytest.raises(KeyboardInterrupt):
            start()
        with interruption.held():
            done.append("the way out")
    assert done == ["all of it", "the way out"]
