"""Time as an event: each partition of `ticks` is told, again and again, how far its events are done."""

from collections.abc import Iterator, Sequence
from itertools import cycle

from mode import Service

from stream_coupons.agents.users import Users
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.producer import Sender
from stream_coupons.kafka.records import Output
from stream_coupons.runtime.source import Host

TIMED = tuple(topic.name for topic in Users.reads if topic.has_brokers_time and topic is not topics.TICKS)
"""Topics whose events a tick must not overtake; their records say by the broker's clock when they were appended."""
MAX_TURNS = 16


def turns(partitions: int) -> list[Sequence[int]]:
    """Divide partitions into those that are told the time together.

    What a tick ends, and what is learnt of it, comes at once: with all partitions in one turn every decision behind it
    would wait.

    Examples
    --------
    >>> [list(turn) for turn in turns(3)]
    [[0], [1], [2]]
    """
    count = min(partitions, MAX_TURNS)
    return [range(first, partitions, count) for first in range(count)]


class Clock(Service):  # type: ignore[misc]
    """Writes ticks into the partitions that this worker owns.

    A tick says how far the partition's events are done, by the time of their append: a window must not be closed by it
    while a purchase that came in time waits in a backlog. Where that is not known, there is no tick. One that says an
    earlier time than another before it, as those of two workers may, ends nothing.

    Parameters
    ----------
    every_s : float
        Time between two ticks of a partition; 0 for no ticks.
    app : Host
        Its consumer is known only once it has started.
    """

    def __init__(self, every_s: float, partitions: int, sender: Sender, app: Host) -> None:
        super().__init__()
        self._every_s = every_s
        self._turns = turns(partitions)
        self._sender = sender
        self._app = app

    @Service.task  # type: ignore[untyped-decorator]
    async def _tick(self) -> None:
        if self._every_s == 0:
            return
        for turn in cycle(self._turns):
            await self.sleep(self._every_s / len(self._turns))
            if self.should_stop:
                return
            await self._sender.deliver(list(self._ticks(turn)))

    def _ticks(self, turn: Sequence[int]) -> Iterator[Output]:
        consumer = self._app.consumer
        for tp in consumer.assignment():
            if tp.topic == topics.TICKS.name and tp.partition in turn:
                at = consumer.reached([tp._replace(topic=other) for other in TIMED])
                if at is not None:
                    yield Output(tp.topic, tp.partition, str(tp.partition).encode(), encode(Tick(at=at)))
