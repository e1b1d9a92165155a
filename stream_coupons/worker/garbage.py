"""The intervals at which Python collects cycles of dead objects."""

import gc


def collect_rarely() -> None:
    """Look at what is new as often as by default, at what is old hardly ever.

    Thousands of live states have no cycles; by default a sixth of the time goes into walking them. What does have
    cycles, some thousand objects a second, are tasks and futures that died young: to walk 100,000 of them at once takes
    0.2 s, in which no decision is made.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 10, 10_000)
