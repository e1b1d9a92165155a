"""Memory of a process that keeps states: when Python looks for dead cycles, and where blocks are allocated."""

import ctypes
import gc
from contextlib import suppress

MMAP_THRESHOLD, ARENA_MAX = -3, -8
"""Parameters `M_MMAP_THRESHOLD` and `M_ARENA_MAX` of glibc's mallopt(3)."""


def collect_rarely() -> None:
    """Look at what is new as often as by default, at what is old hardly ever.

    Thousands of live states have no cycles; by default a sixth of the time goes into walking them. What does have
    cycles, some thousand objects a second, are tasks and futures that died young: to walk 100,000 of them at once takes
    0.2 s, in which no decision is made.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 10, 10_000)


def keep_one_heap() -> None:
    """Let all threads use one heap without large blocks, where the allocator is glibc's.

    To be called before a second thread starts. By default each thread has a heap, and memory freed in one cannot be
    used by another. Models are unpacked by any thread of a pool, so each of these heaps grows by what a model takes.

    Large blocks go back to the system once they are free. By itself it does so from 128 KiB on, until the first is
    freed: then from the size of that one on, up to 32 MiB. What a recovery fetches then lies among states, which stay,
    and each rebalance leaves other holes.
    """
    with suppress(AttributeError):  # another allocator
        for parameter, value in ((ARENA_MAX, 1), (MMAP_THRESHOLD, 1024 * 1024)):
            ctypes.CDLL(None).mallopt(parameter, value)
