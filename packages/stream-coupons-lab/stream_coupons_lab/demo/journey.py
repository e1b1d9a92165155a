"""The second input: Complete Journey, real baskets and campaigns, replayed in time order through the running system.

Topics are not ordered among each other, so what must be seen in order is published slice by slice: up to the start of a
campaign everything is sent and applied before its issues are scored, and a slice is applied before the tick that closes
its windows. Nothing is scored with what came later.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import msgspec

from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.codec import Decoder
from stream_coupons.settings import Settings
from stream_coupons_lab.datasets.completejourney import CompleteJourney, Message
from stream_coupons_lab.demo.shoppers import send_ticks
from stream_coupons_lab.demo.system import LocalSystem
from stream_coupons_lab.demo.watch import Watch

DAY_S = 86400.0
SLICE_S = 14 * DAY_S
MAX_WINDOW_S = 120 * DAY_S
POLL_EVERY = 5000


def settings_for_journey(base: Settings) -> Settings:
    """Settings that suit a year of baskets: an order is the only event there is, so it is the trigger.

    Nobody can react to our own decisions here, so they must not be learnt from as if nobody had cared: all shoppers are
    in the holdout. Every coupon is decided on, withheld, and compared with what was ordered all the same.
    """
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
            holdout_ratio=1.0,
            redemption_worth_minor=100.0,
            trigger_timeout_s=30 * DAY_S,
        ),
        profile=change(base.profile, half_life_s=28 * DAY_S),
        learning=change(base.learning, publish_every_s=0.5),
    )


@dataclass(slots=True)
class JourneyResult:
    """Predictions of the system, and the coupons that it withheld."""

    predictions: list[tuple[str, float, float, bool]] = field(default_factory=list)
    """(issue_id, decided_at, P(redeem) at decision time, redeemed) of every historical issue."""
    withheld: Counter[str] = field(default_factory=Counter)
    """Number of coupons withheld, by title."""
    withheld_discount_minor: int = 0
    """Maximum total discount of the withheld coupons, in minor units."""


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
        coupons = {coupon.coupon_id: coupon for coupon in self.data.catalogue()}
        reader = Reader(self.system.connection, [topics.EXAMPLES.name], from_beginning=True)
        decode = Decoder(topics.EXAMPLES)
        summary = self.data.summary()
        whole = summary["baskets"] + summary["issues"] + summary["redeemed"]
        partitions = self.system.settings.kafka.partitions
        names = {topics.FEEDBACK.name: "fed_back", topics.OBSERVED.name: "observed"}

        def read(records: Iterable[Any]) -> None:
            for record in records:
                self._take(decode(record.value), coupons, result)

        with self.system.publisher() as publisher:
            end = 0.0
            for end, events in self._slices():
                for number, (topic, message) in enumerate(events):
                    publisher.send(topics.BY_NAME[topic], message)
                    self.watch.counts.published += 1
                    if topic in names:
                        setattr(self.watch.counts, names[topic], getattr(self.watch.counts, names[topic]) + 1)
                    if number % POLL_EVERY == POLL_EVERY - 1:
                        read(reader.poll(0.0))
                        self.watch.sample(message.occurred_at)
                        self.on_slice(self.watch.counts.published / whole, message.occurred_at)
                publisher.flush()
                self.system.wait_idle(120)
                send_ticks(publisher, end, partitions)
                publisher.flush()
                read(reader.poll(0.0))
                self.watch.sample(end)
                self.on_slice(self.watch.counts.published / whole, end)
            send_ticks(publisher, end + MAX_WINDOW_S, partitions)
        self.system.wait_idle(120)
        read(reader.read_to_end())
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

    def _take(self, example: TrainingExample, coupons: Mapping[str, Coupon], result: JourneyResult) -> None:
        if example.withheld:
            coupon = coupons[example.coupon_id]
            result.withheld[coupon.title] += 1
            result.withheld_discount_minor += coupon.max_discount_minor
        elif example.head == "redeem" and example.observed:
            result.predictions.append((example.issue_id, example.decided_at, example.predicted, example.label))
