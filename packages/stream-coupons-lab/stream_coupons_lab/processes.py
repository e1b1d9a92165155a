"""Processes that work for this one, and never outlive it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager

from stream_coupons.core.errors import BadConfig


@contextmanager
def processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """So many fresh processes; they end with the block, whatever they are at, and with this process if it is killed.

    They ignore Ctrl-C, which a terminal sends to all of them: the block decides when they end.

    Raises
    ------
    BadConfig
        If one of them was killed.
    """
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_serve)
    try:
        yield pool
    except BrokenExecutor:
        raise BadConfig(
            "a worker process was killed, for lack of memory perhaps; tune keeps what is done: go on with the same "
            "command and fewer --jobs"
        ) from None
    finally:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        pool.shutdown(cancel_futures=True)


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
