"""Simulated shoppers against a running system: they react to the very coupons that come out of coupon-issues."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from stream_coupons import topics
from stream_coupons.clients import Publisher, Reader
from stream_coupons.codec import Decoder, encode
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.events import CouponIssue, FeedbackEvent, Tick
from stream_coupons.demo.play import DAY_S, SLICE_S, Outcomes, Played
from stream_coupons.demo.system import LocalSystem
from stream_coupons.demo.watch import Watch
from stream_coupons.settings import Settings
from stream_coupons.simulation.shoppers import World

TICK_EVERY_S = 600.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Pace:
    """How simulated time follows the clock.

    Parameters
    ----------
    speed : float
        Simulated seconds a second.
    step_s : float
        Simulated time passes in whole steps of it; at most an hour.
    ticks_behind_s : float
        By how much real time ticks run behind events.
    settle_s : float
        How long it has to be quiet before the loop ends.
    clock : callable
        Monotonic seconds.
    """

    speed: float
    step_s: float = 1.0
    ticks_behind_s: float = 0.0
    settle_s: float = 0.0
    clock: Callable[[], float] = time.monotonic


class ClosedLoop:
    """A world that publishes what happens in it and hears what is issued, until its end.

    Parameters
    ----------
    world : World
        At its start.
    publisher, reader
        To all topics; of coupon-issues and, to notice those of others, of ticks.
    partitions : int
        Of `ticks`.
    pace : Pace
        How fast the world lives.
    """

    def __init__(self, world: World, publisher: Publisher, reader: Reader, partitions: int, pace: Pace) -> None:
        self.world = world
        self.outcomes = Outcomes(world.now)
        self.events: Counter[str] = Counter()
        self.ticks = 0
        self.coupons_published = 0
        self.unreadable = 0
        self.foreign_tick_at: float | None = None
        self._publisher = publisher
        self._reader = reader
        self._partitions = partitions
        self._pace = pace
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
        world, pace = self.world, self._pace
        began_at, started_at = pace.clock(), world.now
        active_at = began_at
        while world.now < world.ends_at or self._marks or pace.clock() - active_at < pace.settle_s:
            passed = (pace.clock() - began_at) * pace.speed // pace.step_s * pace.step_s
            planned = min(started_at + passed, world.ends_at)
            if world.now < planned:
                self._advance(min(planned, world.now + SLICE_S))
                active_at = pace.clock()
            self._tick()
            self._publisher.flush()
            if self.hear(POLL_S if world.now == planned else 0.0):
                active_at = pace.clock()
            yield world.now

    def _advance(self, until: float) -> None:
        for topic, message in self.world.advance(until):
            self._publisher.send(topics.BY_NAME[topic], message)
            self.events[topic] += 1
            if isinstance(message, FeedbackEvent):
                self.outcomes.add_feedback(message)
        self._marks.append((self._pace.clock(), until))

    def _tick(self) -> None:
        """Send the time that it was a moment ago."""
        marks, at = self._marks, self._ticked_at
        while marks and marks[0][0] <= self._pace.clock() - self._pace.ticks_behind_s:
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
                self.outcomes.add_issue(message)
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
    """Settings that suit a simulated month within a minute: event time is simulated, so no clock may tick.

    A redemption is worth 3.00 beyond its margin here: this shop wants its coupons used.
    """
    change = msgspec.structs.replace
    return change(
        base,
        worker=change(base.worker, tick_every_s=0.0),
        kafka=change(base.kafka, commit_interval_s=0.3, session_timeout_s=6.0, heartbeat_interval_s=1.0),
        neighbourhood=change(base.neighbourhood, cells=1, publish_every_s=6 * 3600.0),
        attribution=change(base.attribution, grace_s=3600.0),
        policy=change(base.policy, redemption_worth_minor=300.0, alternatives=6, proposal_timeout_s=12 * 3600.0),
        learning=change(base.learning, publish_every_s=0.5),
    )


@dataclass(slots=True)
class LivePlay:
    """Plays a world against a running system.

    Parameters
    ----------
    duration_s : float
        How long the whole may take; simulated time is stretched to it.
    on_slice : callable
        Called with the share done and the event time, for display and faults.
    """

    system: LocalSystem
    world: World
    watch: Watch
    duration_s: float
    on_slice: Callable[[float, float], None]

    def play(self) -> Played:
        """Play to the world's end, then wait until the system is idle and all windows are closed."""
        world, system = self.world, self.system
        started_at, length_s = world.now, world.ends_at - world.now
        margins: list[tuple[float, float]] = []
        with (
            Reader(system.connection, [topics.ISSUES.name], from_beginning=True) as reader,
            system.publisher() as publisher,
        ):
            pace = Pace(length_s / self.duration_s, step_s=SLICE_S)
            loop = ClosedLoop(world, publisher, reader, system.settings.kafka.partitions, pace)
            for now in loop.steps():
                self._count(loop)
                self.watch.sample(now)
                self.on_slice((now - started_at) / length_s, now)
                day = (now - started_at) // DAY_S
                if day > len(margins):
                    margins.append((day, world.statistics.incremental_margin_minor))
            system.wait_idle(60)
            while loop.hear(1.0):
                continue
        self._count(loop)
        self.watch.sample(world.now, now=True)
        margin, discount = world.statistics.incremental_margin_minor, world.statistics.discount_minor
        return Played("learned", loop.outcomes, margin, discount, margins, loop.events.total())

    def _count(self, loop: ClosedLoop) -> None:
        counts, done = self.watch.counts, loop.world.statistics
        counts.published, counts.fed_back = loop.events.total(), loop.events[topics.FEEDBACK.name]
        counts.issues, counts.duplicates = done.issues, done.duplicates
        counts.clicked, counts.redeemed = done.clicks, done.redemptions
