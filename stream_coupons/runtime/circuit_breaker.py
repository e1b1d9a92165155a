"""Slow down a topic of which most records are bad, and no other; at full speed again when good records come.

Every bad record is a dead letter, which can be sent again. The breaker keeps one bad release, of a sender or of our
own, from draining a whole topic into dead letters before anybody has looked. An open circuit lets one fetch of its
topic through every `PROBE_EVERY_S`; a batch of mostly good records closes it.
"""

import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from stream_coupons.core.reasons import Rejection
from stream_coupons.runtime.steps import Result

log = logging.getLogger(__name__)

PROBE_EVERY_S = 10.0
"""Seconds between two fetches of a topic whose circuit is open; far less than `worker.stalled_after_s`."""

OF_COUPONS = frozenset({Rejection.LATE, Rejection.UNKNOWN_ISSUE, Rejection.WRONG_COUPON})
"""Records refused for these are well-formed: the coupon is at fault, and no decision must wait for that."""


@dataclass(slots=True)
class _Latest:
    """The latest batches of a topic: their records, and the bad ones by reason."""

    batches: deque[tuple[int, Counter[str]]] = field(default_factory=deque)
    count: int = 0
    bad: Counter[str] = field(default_factory=Counter)

    def add(self, count: int, bad: Counter[str], window: int) -> None:
        self.batches.append((count, bad))
        self.count += count
        self.bad.update(bad)
        while self.count - self.batches[0][0] >= window:
            old_count, old_bad = self.batches.popleft()
            self.count -= old_count
            self.bad.subtract(old_bad)


@dataclass(slots=True)
class _OpenCircuit:
    """An open circuit: why, and when the next fetch is let through (seconds of the breaker's clock)."""

    reason: str
    probe_at: float


class CircuitBreaker:
    """The circuits of the topics that an agent reads; a record refused for its coupon is not bad.

    Parameters
    ----------
    agent : str
        The agent, for the log.
    window : int
        Latest records of a topic that are judged, at least.
    max_ratio : float
        Share of bad records above which the topic's circuit opens. 1 never opens.
    on_change : callable, optional
        Called with topic, commonest reason, and whether the circuit is open now.
    """

    def __init__(
        self,
        agent: str,
        window: int,
        max_ratio: float,
        on_change: Callable[[str, str, bool], object] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agent = agent
        self._window = window
        self._max_ratio = max_ratio
        self._on_change = on_change
        self._clock = clock
        self._latest: defaultdict[str, _Latest] = defaultdict(_Latest)
        self._open: dict[str, _OpenCircuit] = {}

    def may_fetch(self, topic: str) -> bool:
        """Return whether a topic may be fetched now. Any thread may ask."""
        circuit = self._open.get(topic)
        return circuit is None or self._clock() >= circuit.probe_at

    def note_fetched(self, topic: str) -> None:
        """Hold a topic with an open circuit back until its next probe. Any thread may call."""
        circuit = self._open.get(topic)
        if circuit is not None:
            circuit.probe_at = self._clock() + PROBE_EVERY_S

    def watch(self, results: Iterable[Result]) -> None:
        """Judge batches that were delivered: open and close circuits."""
        count, clients = Counter[str](), Counter[tuple[str, str]]()
        bad: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for result in results:
            for counted in (result.applied, result.duplicates, result.replays):
                count.update(counted)
            for (topic, reason), dead in result.dead.items():
                count[topic] += dead
                if reason not in OF_COUPONS:
                    bad[topic][reason] += dead
            clients.update(result.refused_of)
        for topic, records in count.items():
            if topic in self._open:
                if not self._is_spoilt(records, bad[topic]):
                    self._close(topic)
                continue
            latest = self._latest[topic]
            latest.add(records, bad[topic], self._window)
            if latest.count >= self._window and self._is_spoilt(latest.count, latest.bad):
                client = max((found for found in clients if found[0] == topic), key=clients.__getitem__, default=None)
                self._trip(topic, self._latest.pop(topic), "" if client is None else client[1])

    def _is_spoilt(self, count: int, bad: Counter[str]) -> bool:
        return bad.total() > self._max_ratio * count

    def _trip(self, topic: str, latest: _Latest, client: str) -> None:
        reason, most = latest.bad.most_common(1)[0]
        self._open[topic] = _OpenCircuit(reason, self._clock() + PROBE_EVERY_S)
        self._on_change(topic, reason, True)
        log.error(
            "%s reads %s only every %.0f s: %d of its last %d records are bad, %d of them because of %s%s. They are in "
            "dead-letters; other topics go on. Fix the sender: good records end this",
            *(self._agent, topic, PROBE_EVERY_S, latest.bad.total(), latest.count, most, reason),
            f", most of the latest from client {client!r}" if client else "",
        )

    def _close(self, topic: str) -> None:
        circuit = self._open.pop(topic)
        self._on_change(topic, circuit.reason, False)
        log.warning("%s reads %s at full speed again: good records have come", self._agent, topic)
