"""CPU per event by the age of the shop: the three agents and the learner in one process, without a broker.

    python -m benchmarks.ages
    python -m benchmarks.ages --events 200000 --ages 20

The stream is that of `profile`, in batches as small as live ones, with clicks and purchases of the coupons given. Event
time passes a day for every ten events of each shopper: let each age have whole days. Coupons end within the day, so
that from the second day on, labels come at an even rate. The learner publishes by the seconds that the events would
take at --rate, and the deciding agents read each snapshot. Deciding is the batches and the reading of snapshots,
learning is the examples and the packing of snapshots.
"""

import argparse
import heapq
import itertools
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from benchmarks.load.workload import Workload
from benchmarks.profile import Logs, Owner, drive
from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.keyed import output, sender_of
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.inputs import FeedbackEvent, Tick
from stream_coupons.core.rules import AttributionRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.records import Output, Record
from stream_coupons.models.learner import Trainer
from stream_coupons.observability.metrics import Metrics
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.settings import Settings
from stream_coupons.testing import feedback
from stream_coupons.worker.knowledge import CurrentKnowledge
from stream_coupons.worker.memory import collect_rarely

WINDOW_S = 6 * 3600.0
"""Time from issue to expiry of every coupon."""
GRACE_S = 3600.0
ANSWERS: tuple[tuple[Literal["click", "purchase"], float, float], ...] = (
    ("click", 0.3, 60.0),
    ("purchase", 0.1, 600.0),
)
"""Kind of feedback, share of the coupons that it comes on, and seconds from the issue."""
PARTS = ("batches", "reading", "examples", "packing")
"""Parts of the CPU time: the first two are of the deciding process, the others of the learning one."""
BATCH = 16
"""Records that an agent takes at a time, at most: all that one live batch of events leads to."""


class Shop:
    """Agents, the learner and what lies between them; `spent_s` is the CPU time by part."""

    def __init__(self, workload: Workload, partitions: int) -> None:
        settings = workload.settings(Settings(attribution=AttributionRules(grace_s=GRACE_S)))
        self._every_s, self._publish_at = settings.learning.publish_every_s, 0.0
        self._tick_every_s, self._ticks = settings.worker.tick_every_s / partitions, 0
        self._partitions, self._logs = partitions, Logs()
        self._known = CurrentKnowledge(settings.rules(PUBLIC_KEY), Metrics(CollectorRegistry()))
        for coupon in workload.catalogue():
            self._known.take_coupon((coupon.coupon_id, replace(coupon, redeem_within_s=WINDOW_S)))
        agents = [kind(self._known.now, partitions) for kind in (Users, Budgets, Neighbours)]
        self._owners = [Owner(agent, partitions) for agent in agents]
        self._trainer = Trainer(settings.learning)
        self._chance = random.Random(workload.seed)
        self._answers: list[tuple[float, str, FeedbackEvent]] = []
        self._examples: list[Record] = []
        self._decode_issue, self._decode_example = Decoder(topics.ISSUES), Decoder(topics.EXAMPLES)
        self.spent_s = dict.fromkeys(PARTS, 0.0)
        self.snapshot_bytes = 0

    @contextmanager
    def _spending(self, part: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.spent_s[part] += time.process_time() - began

    def take(self, batch: Sequence[Record], at: float, live_s: float) -> None:
        """Apply a batch of events, learn from the labels that it led to, and publish the models if it is time.

        Parameters
        ----------
        batch : sequence of Record
            Events of the shop.
        at : float
            Event time that is reached, UTC epoch seconds.
        live_s : float
            Time since the shop opened at the rate of the events, seconds.
        """
        records = [*batch, *self._answers_until(at), *self._ticks_until(live_s, at)]
        with self._spending("batches"):
            drive(self._owners, records, self._logs, BATCH, self._route)
        with self._spending("examples"):
            for record in self._examples:
                origin = sender_of(record, self._partitions)
                self._trainer.learn(self._decode_example(record.value), record.offset, origin)
        self._examples.clear()
        if live_s >= self._publish_at:
            self._publish_at = live_s + self._every_s
            self._publish()

    def record(self, topic: topics.Topic, message: Struct) -> Record:
        """Return a message as the next record of its topic."""
        key = topic.key_of(message)
        return self._logs.append(topic.name, topics.partition_for(key, self._partitions), key, encode(message))

    def state_bytes(self) -> float:
        """Return the mean size of a shopper's state record, bytes."""
        users = self._owners[0].batches
        cells = itertools.chain.from_iterable(users.cells(partition).items() for partition in users.owned)
        sizes = [len(data) for key, data in cells if not key.startswith(SHARED_PREFIX)]
        return sum(sizes) / len(sizes)

    def _answers_until(self, at: float) -> Iterator[Record]:
        while self._answers and self._answers[0][0] <= at:
            yield self.record(topics.FEEDBACK, heapq.heappop(self._answers)[2])

    def _ticks_until(self, live_s: float, at: float) -> Iterator[Record]:
        while self._ticks * self._tick_every_s <= live_s:
            partition = self._ticks % self._partitions
            self._ticks += 1
            yield self._logs.append(topics.TICKS.name, partition, str(partition).encode(), encode(Tick(at=at)))

    def _route(self, sent: Output) -> None:
        if sent.topic == topics.EXAMPLES.name:
            self._examples.append(self._logs.append(sent.topic, 0, sent.key or b"", sent.value or b"", sent.headers))
        elif sent.topic == topics.ISSUES.name:
            issue = self._decode_issue(sent.value)
            for kind, share, after_s in ANSWERS:
                if self._chance.random() < share:
                    at, event_id = issue.issued_at + after_s, f"{kind}-{issue.issue_id}"
                    answer = feedback(issue, kind, at=at, event_id=event_id)
                    heapq.heappush(self._answers, (at, event_id, answer))

    def _publish(self) -> None:
        with self._spending("packing"):
            snapshots = [output(snapshot, 1) for snapshot in self._trainer.snapshots()]
        with self._spending("reading"):
            for snapshot in snapshots:
                read = self._known.read_snapshot(snapshot.key, snapshot.value)
                assert read is not None, "a snapshot of this program is refused"
                self._known.take_snapshot(read)
                self.snapshot_bytes = len(snapshot.value or b"")


def main() -> None:
    """Play the events and print a line for each part of the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000, help="source events (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=40.0, help="events a second (default: %(default)s)")
    parser.add_argument("--ages", type=int, default=10, help="lines (default: %(default)s)")
    parser.add_argument("--shoppers", type=int, default=1_000, help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=3, help="events in a batch (default: %(default)s)")
    options = parser.parse_args()
    workload = Workload(events=options.events, shoppers=options.shoppers)
    shop, stream, at = Shop(workload, Settings().kafka.partitions), workload.stream(), 0.0
    collect_rarely()  # as a worker does
    print("minutes  deciding  learning us/event |", *(f"{part:>8}" for part in PARTS), "| bytes: state  snapshot")
    size = options.events // options.ages // options.batch * options.batch
    for number in range(1, options.ages + 1):
        for first in range((number - 1) * size, number * size, options.batch):
            batch = []
            for topic, event in itertools.islice(stream, options.batch):
                batch.append(shop.record(topic, event))
                at = max(at, event.occurred_at)
            shop.take(batch, at, first / options.rate)
        us = [shop.spent_s[part] / size * 1e6 for part in PARTS]
        shop.spent_s = dict.fromkeys(PARTS, 0.0)
        print(
            f"{number * size / options.rate / 60:7.1f} {sum(us[:2]):9.0f} {sum(us[2:]):9.0f}          |",
            *(f"{each:8.0f}" for each in us),
            f"| {shop.state_bytes():12,.0f} {shop.snapshot_bytes:9,}",
            flush=True,
        )


if __name__ == "__main__":
    main()
