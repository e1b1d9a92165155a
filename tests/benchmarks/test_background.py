"""Work in a thread while a block lasts."""

import signal
import threading

import pytest

from benchmarks.background import in_background
from tests.integration.builders import wait_until


def test_work_is_told_of_the_end_of_the_block_and_waited_for() -> None:
    done = list[str]()

    def work(over: threading.Event) -> None:
        over.wait()
        done.append(threading.current_thread().name)

    with in_background(work, "work"):
        assert not done
    assert done == ["work"]


def test_what_ends_the_work_is_seen_at_once_and_raised_at_the_end() -> None:
    def work(over: threading.Event) -> None:  # noqa: ARG001 - the signature of works
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), in_background(work, "work") as failures:
        wait_until(lambda: bool(failures), "the end of the work", within_s=10.0)


def test_an_error_of_the_block_comes_first() -> None:
    def work(over: threading.Event) -> None:
        over.wait()
        raise OSError("later")

    with pytest.raises(KeyError) as raised, in_background(work, "work"):
        raise KeyError("first")
    assert raised.value.__notes__ == ["work had ended: OSError('later')"]


def test_a_signal_amid_the_start_leaves_no_work_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    start = threading.Thread.start

    def work(over: threading.Event) -> None:
        if over.wait(10.0):
            ended.set()

    def interrupted_start(thread: threading.Thread) -> None:
        start(thread)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(threading.Thread, "start", interrupted_start)
    with pytest.raises(KeyboardInterrupt), in_background(work, "work"):
        pytest.fail("the block began")
    assert ended.is_set()
