"""The first input: simulated shoppers who react to the very coupons that come out of coupon-issues."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from stream_coupons import topics
from stream_coupons.clients import Publisher, Reader
from stream_coupons.codec import Decoder, encode
from stream_coupons.core.events import FeedbackEvent, Tick
from stream_coupons.demo.play import SLICE_S, Outcomes, Played
from stream_coupons.demo.system import LocalSystem
from stream_coupons.demo.watch import Watch
from stream_coupons.settings import Settings
from stream_coupons.simulation.shoppers import World

DAY_S = 86400.0


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
        world, partitions = self.world, self.system.settings.kafka.partitions
        outcomes = Outcomes(world.now)
        margins: list[tuple[float, float]] = []
        decode = Decoder(topics.ISSUES)
        reader = Reader(self.system.bootstrap, [topics.ISSUES.name], from_beginning=True)
        started, slices = time.monotonic(), (world.ends_at - world.now) / SLICE_S
        done = 0
        with self.system.publisher() as publisher:
            while world.now < world.ends_at:
                done += 1
                self._publish(publisher, world.advance(min(world.now + SLICE_S, world.ends_at)), outcomes)
                send_ticks(publisher, world.now, partitions)
                publisher.flush()
                due = started + self.duration_s * done / slices
                while True:
                    for record in reader.poll(max(min(due - time.monotonic(), 0.05), 0.0)):
                        self._receive(decode(record.value), outcomes)
                    if time.monotonic() >= due:
                        break
                self.watch.sample(world.now)
                self.on_slice(done / slices, world.now)
                if world.now // DAY_S > (world.now - SLICE_S) // DAY_S:
                    margins.append(
                        ((world.now - outcomes.starts_at) // DAY_S, world.statistics.incremental_margin_minor)
                    )
            self.system.wait_idle(60)
            for record in reader.poll(1.0):
                self._receive(decode(record.value), outcomes)
        reader.close()
        self.watch.sample(world.now, now=True)
        stats = world.statistics
        return Played(
            "learned",
            outcomes,
            stats.incremental_margin_minor,
            stats.discount_minor,
            margins,
            self.watch.counts.published,
        )

    def _publish(self, publisher: Publisher, events: list[tuple[str, Any]], outcomes: Outcomes) -> None:
        counts = self.watch.counts
        for topic, message in events:
            publisher.send(topics.BY_NAME[topic], message)
            counts.published += 1
            if isinstance(message, FeedbackEvent):
                outcomes.add_feedback(message)
                counts.fed_back += 1
                counts.clicked = len(outcomes.clicked)
                counts.redeemed = len(outcomes.redeemed)

    def _receive(self, issue: Any, outcomes: Outcomes) -> None:
        """What the notification service does: deduplicate on issue_id, then deliver."""
        if issue.issue_id in outcomes.issued_at:
            self.watch.counts.duplicates += 1
            return
        outcomes.add_issue(issue)
        self.watch.counts.issues += 1
        self.world.receive(issue)


def send_ticks(publisher: Publisher, at: float, partitions: int) -> None:
    """Tell every partition what time it is."""
    value = encode(Tick(at=at))
    for partition in range(partitions):
        publisher.send_bytes(topics.TICKS, str(partition).encode(), value, partition)
