"""How often Python looks for cycles of dead objects."""

import gc


def collect_rarely() -> None:
    """Look less often: by default it walks thousands of live states, which have no cycles, a sixth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 10, 10_000)
