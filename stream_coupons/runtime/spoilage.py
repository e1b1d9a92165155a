"""When most of what comes in is bad, a sender is broken: stop, rather than drain a topic into dead letters."""

import logging
from collections import Counter, deque
from collections.abc import Iterable

from stream_coupons.core.reasons import Rejection
from stream_coupons.runtime.attempt import Result

log = logging.getLogger(__name__)

OF_COUPONS = frozenset({Rejection.LATE, Rejection.UNKNOWN_ISSUE, Rejection.WRONG_COUPON})
"""What is refused for these is well-formed: the coupon is at fault, and nobody's decisions must wait for that."""


class Spoilage:
    """The share of bad records among an agent's latest ones; what is refused for its coupon is not bad.

    Parameters
    ----------
    agent : str
        Whose input this is.
    window : int
        Records that are looked back on, at least; nothing is said of fewer.
    max_ratio : float
        Above it the agent stops. 1 never stops.

    Attributes
    ----------
    is_over : bool
        Whether the agent has stopped. It stays so until the process is started anew.
    """

    def __init__(self, agent: str, window: int, max_ratio: float) -> None:
        self.is_over = False
        self._agent = agent
        self._window = window
        self._max_ratio = max_ratio
        self._batches: deque[tuple[int, Counter[tuple[str, str]]]] = deque()
        self._count = 0
        self._bad: Counter[tuple[str, str]] = Counter()

    def is_over_with(self, results: Iterable[Result]) -> bool:
        """Whether the agent must stop before these batches are delivered: they stay unacknowledged then."""
        count, bad = 0, Counter[tuple[str, str]]()
        for result in results:
            count += result.applied.total() + result.duplicates.total() + result.replays.total() + result.dead.total()
            bad.update({cause: dead for cause, dead in result.dead.items() if cause[1] not in OF_COUPONS})
        self._batches.append((count, bad))
        self._count += count
        self._bad.update(bad)
        while self._count - self._batches[0][0] >= self._window:
            old_count, old_bad = self._batches.popleft()
            self._count -= old_count
            self._bad.subtract(old_bad)
        spoilt = self._bad.total()
        if self._count >= self._window and spoilt > self._max_ratio * self._count:
            self.is_over = True
            (topic, reason), most = self._bad.most_common(1)[0]
            log.error(
                "%s has stopped: %d of its last %d records are bad, %d of them from %s because of %s. Mend the sender. "
                "To send what is bad to dead-letters all the same, start again with worker.max_bad_ratio = 1",
                *(self._agent, spoilt, self._count, most, topic, reason),
            )
        return self.is_over
