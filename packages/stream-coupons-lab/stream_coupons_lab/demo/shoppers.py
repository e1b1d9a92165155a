"""Simulated shoppers against a running system: they react to the very coupons that come out of coupon-issues."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

import msgspec

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.settings import Settings
from stream_coupons_lab.simulation.behaviour import DAY_S
from stream_coupons_lab.simulation.shoppers import World

PARTITIONS = 2
NEVER_S = 1e6
TICK_EVERY_S = 600.0
POLL_S = 0.05
SLICE_S = 3600.0
"""Most simulated time that a world passes in one step."""
TICKS_BEHIND_S = 2.0
"""Real time by which ticks run behind events: no window may close before the feedback in it has come through, which
takes the system longer in event time the faster that passes."""
SETTLE_S = 3.0
"""Silence before the loop ends."""


class ClosedLoop:
    """A world that publishes what happens in it and hears what is issued, until its end.

    Parameters
    ----------
    world : World
        At its start.
    publisher, reader
        To all topics; of coupon-issues and, to notice those of others, of ticks.
    partitions : int
        Number of partitions of `ticks`.
    speed : float
        Simulated seconds per second.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        world: World,
        publisher: Publisher,
        reader: Reader,
        partitions: int,
        speed: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.world = world
        self.events: Counter[str] = Counter()
        self.ticks = 0
        self.coupons_published = 0
        self.unreadable = 0
        self.foreign_tick_at: float | None = None
        self._publisher = publisher
        self._reader = reader
        self._partitions = partitions
        self._speed = speed
        self._clock = clock
        self._ticked_at = world.now
        self._marks: deque[tuple[float, float]] = deque()
        self._decode = {topic.name: Decoder(topic) for topic in (topics.ISSUES, topics.TICKS)}

    def publish_catalogue(self) -> None:
        """Publish the world's coupons and wait until the broker has them."""
        for coupon in self.world.catalogue():
            self._publisher.send(topics.CATALOG, coupon)
            self.coupons_published += 1
        self._publisher.flush()

    def steps(self) -> Iterator[float]:
        """Live to the world's end and let the last coupons come in; yields the simulated time after every step."""
        world, clock = self.world, self._clock
        began_at, started_at = clock(), world.now
        active_at = began_at
        while world.now < world.ends_at or self._marks or clock() - active_at < SETTLE_S:
            planned = min(started_at + (clock() - began_at) * self._speed, world.ends_at)
            if world.now < planned:
                self._advance(min(planned, world.now + SLICE_S))
                active_at = clock()
            self._tick()
            self._publisher.flush()
            if self.hear(POLL_S if world.now == planned else 0.0):
                active_at = clock()
            yield world.now

    def _advance(self, until: float) -> None:
        for topic, message in self.world.advance(until):
            self._publisher.send(topics.BY_NAME[topic], message)
            self.events[topic] += 1
        self._marks.append((self._clock(), until))

    def _tick(self) -> None:
        """Send the time that it was a moment ago."""
        marks, at = self._marks, self._ticked_at
        while marks and marks[0][0] <= self._clock() - TICKS_BEHIND_S:
            _, at = marks.popleft()
        if at - self._ticked_at >= TICK_EVERY_S or self._ticked_at < at == self.world.ends_at:
            send_ticks(self._publisher, at, self._partitions)
            self.ticks += self._partitions
            self._ticked_at = at

    def hear(self, timeout_s: float = POLL_S) -> int:
        """Hand the coupons that have come to their shoppers; return how many there were."""
        heard = 0
        for record in self._reader.poll(timeout_s):
            try:
                message = self._decode[record.topic](record.value)
            except BadMessage:
                self.unreadable += 1
                continue
            if isinstance(message, CouponIssue):
                self.world.receive(message)
                heard += 1
            elif message.at > self.world.ends_at + DAY_S:
                self.foreign_tick_at = message.at
        return heard


def send_ticks(publisher: Publisher, at: float, partitions: int) -> None:
    """Tell every partition what time it is."""
    value = encode(Tick(at=at))
    for partition in range(partitions):
        publisher.send_bytes(topics.TICKS, str(partition).encode(), value, partition)


def settings_for_shoppers(base: Settings) -> Settings:
    """Return settings for simulated weeks within a minute.

    Event time is simulated, so no clock may tick, and models are published when they are asked for. Two partitions are
    enough for two workers, and offsets are committed often, since simulated time waits for them.
    """
    change = msgspec.structs.replace
    return change(
        base,
        worker=change(base.worker, tick_every_s=0.0),
        kafka=change(
            base.kafka,
            partitions=PARTITIONS,
            commit_interval_s=0.01,
            session_timeout_s=6.0,
            heartbeat_interval_s=1.0,
        ),
        neighbourhood=change(base.neighbourhood, cells=1, publish_every_s=6 * 3600.0),
        attribution=change(base.attribution, grace_s=3600.0),
        policy=change(base.policy, redemption_worth_minor=0.0, trigger_timeout_s=12 * 3600.0),
        learning=change(base.learning, publish_every_s=NEVER_S),
    )
