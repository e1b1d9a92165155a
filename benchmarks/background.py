"""Work in a thread while a `with` block lasts."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stream_coupons.ops.interrupts import uninterrupted


@contextmanager
def in_background(work: Callable[[threading.Event], None], name: str) -> Iterator[list[BaseException]]:
    """Let a function run in a thread until the end of the block, and wait for its end.

    Parameters
    ----------
    work : callable
        Is given an event that is set at the end of the block; it may return before.
    name : str
        Name of the thread.

    Yields
    ------
    list of BaseException
        Empty, or what ended the function.

    Raises
    ------
    BaseException
        At the end of a block that raised nothing: what ended the function. Otherwise the block's error has it as a
        note.
    """
    over, failures = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            work(over)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name=name)
    try:
        try:
            with uninterrupted():  # else a signal amid the start would leave the thread behind, and the process with it
                thread.start()
            yield failures
        finally:
            over.set()
            if thread.is_alive():
                thread.join()
    except BaseException as error:
        for failure in failures:
            error.add_note(f"{name} had ended: {failure!r}")
        raise
    if failures:
        raise failures[0]
