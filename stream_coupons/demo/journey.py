"""The second input: Complete Journey, real baskets and campaigns, replayed in time order through the running system.

Topics are not ordered among each other, so what must be seen in order is published slice by slice: up to the start of a
campaign everything is sent and applied before its issues are scored, and a slice is applied before the tick that closes
its windows. Nothing is scored with what came later.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

import msgspec

from stream_coupons import topics
from stream_coupons.clients import Reader
from stream_coupons.codec import Decoder
from stream_coupons.core.events import CouponIssue, TrainingExample
from stream_coupons.datasets.completejourney import CompleteJourney, Message
from stream_coupons.demo.shoppers import send_ticks
from stream_coupons.demo.system import LocalSystem
from stream_coupons.demo.watch import Watch
from stream_coupons.settings import Settings

DAY_S = 86400.0
SLICE_S = 14 * DAY_S
MAX_WINDOW_S = 120 * DAY_S
POLL_EVERY = 5000


def settings_for_journey(base: Settings) -> Settings:
    """Settings that suit a year of baskets: an order is the only event there is, so it is the trigger."""
    change = msgspec.structs.replace
    return change(
        base,
        worker=change(base.worker, tick_every_s=0.0),
        kafka=change(base.kafka, commit_interval_s=0.2, session_timeout_s=10.0),
        neighbourhood=change(base.neighbourhood, publish_every_s=7 * DAY_S),
        attribution=change(base.attribution, grace_s=DAY_S, early_feedback_s=30 * DAY_S),
        policy=change(
            base.policy,
            triggers=frozenset({"order"}),
            cooldown_s=14 * DAY_S,
            redemption_worth_minor=100.0,
            proposal_timeout_s=30 * DAY_S,
        ),
        profile=change(base.profile, half_life_s=28 * DAY_S),
        learning=change(base.learning, publish_every_s=0.5),
    )


@dataclass(slots=True)
class JourneyResult:
    """What the system predicted and what it would have given."""

    predictions: list[tuple[str, float, float, bool]] = field(default_factory=list)
    """(issue_id, decided_at, P(redeem) as it stood then, redeemed) of every historical issue."""
    own_issues: Counter[str] = field(default_factory=Counter)
    """Own issues by kind of campaign."""
    own_coupons: Counter[str] = field(default_factory=Counter)
    own_discount_minor: int = 0


@dataclass(slots=True)
class JourneyReplay:
    """Replays the data set against a running system."""

    system: LocalSystem
    data: CompleteJourney
    watch: Watch
    on_slice: Callable[[float, float], None]

    def play(self) -> JourneyResult:
        """Replay to the end, close all windows, and read what the learner was told."""
        result = JourneyResult()
        kinds = {coupon.coupon_id: coupon.kind for coupon in self.data.catalogue()}
        reader = Reader(self.system.bootstrap, [topics.ISSUES.name, topics.EXAMPLES.name], from_beginning=True)
        decode = {topic.name: Decoder(topic) for topic in (topics.ISSUES, topics.EXAMPLES)}
        summary = self.data.summary()
        whole = summary["baskets"] + summary["issues"] + summary["redeemed"]
        partitions = self.system.settings.kafka.partitions
        names = {topics.FEEDBACK.name: "fed_back", topics.OBSERVED.name: "observed"}

        def read(timeout_s: float = 0.0) -> None:
            while records := reader.poll(timeout_s):
                for record in records:
                    self._take(decode[record.topic](record.value), kinds, result)

        with self.system.publisher() as publisher:
            end = 0.0
            for end, events in self._slices():
                for number, (topic, message) in enumerate(events):
                    publisher.send(topics.BY_NAME[topic], message)
                    self.watch.counts.published += 1
                    if topic in names:
                        setattr(self.watch.counts, names[topic], getattr(self.watch.counts, names[topic]) + 1)
                    if number % POLL_EVERY == POLL_EVERY - 1:
                        read()
                        self.watch.sample(message.occurred_at)
                        self.on_slice(self.watch.counts.published / whole, message.occurred_at)
                publisher.flush()
                self.system.wait_idle(120)
                send_ticks(publisher, end, partitions)
                publisher.flush()
                read()
                self.watch.sample(end)
                self.on_slice(self.watch.counts.published / whole, end)
            send_ticks(publisher, end + MAX_WINDOW_S, partitions)
        self.system.wait_idle(120)
        read(1.0)
        reader.close()
        self.watch.sample(end, now=True)
        return result

    def _slices(self) -> Iterator[tuple[float, list[tuple[str, Message]]]]:
        """(end, events) in time order: slices end where a campaign starts, and every fortnight."""
        boundaries = sorted(self.data.boundaries())
        first = boundaries[0] if boundaries else 0.0

        def slice_of(entry: tuple[str, Message]) -> tuple[int, int]:
            at = entry[1].occurred_at
            return sum(at > boundary for boundary in boundaries), int((at - first) // SLICE_S)

        for _, group in groupby(self.data.events(), key=slice_of):
            events = list(group)
            yield events[-1][1].occurred_at, events

    def _take(self, message: TrainingExample | CouponIssue, kinds: dict[str, str], result: JourneyResult) -> None:
        if isinstance(message, CouponIssue):
            self.watch.counts.issues += 1
            result.own_issues[kinds.get(message.coupon_id, "")] += 1
            result.own_coupons[message.title] += 1
            result.own_discount_minor += message.max_discount_minor
        elif message.head == "redeem" and message.observed:
            result.predictions.append((message.issue_id, message.decided_at, message.predicted, message.label))
