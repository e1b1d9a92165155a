"""A running system under the load of shoppers who answer, and what must hold once a fault has healed."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from benchmarks.background import in_background
from benchmarks.cluster_faults.supervised import SupervisedSystem
from loopback.clients import send_packed
from loopback_kafka import BrokerProcess
from stream_coupons.core.draws import stable_hash
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import BudgetHold, Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.inputs import FeedbackEvent
from stream_coupons.core.money.purses import Purse, PurseTotals
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import admin, topics
from stream_coupons.kafka.clients import Publisher, Reader
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.runtime.steps import SHARED_PREFIX
from stream_coupons.settings import Settings, Store
from stream_coupons_lab.demo.system import LocalSystem, WorkerProcess
from stream_coupons_lab.simulation.shoppers import World, WorldSettings
from tests.integration.builders import (
    DAY_S,
    IDLE_WITHIN_S,
    records,
    send_ticks,
    settings,
    total,
    violations,
    wait_until,
)

YEARS_S = 1000 * DAY_S
DAYS = 400
"""More than shoppers live through while a fault lasts: the load must not end before it."""

EVENTS_BETWEEN_FAULTS = 100
PAUSE_S = 0.1
"""After each simulated hour: several trials share a machine, and are to wait for faults, not for each other."""

CHAIN = (topics.ISSUES, topics.DECISIONS)
COUNTED_AS_APPLIED = {(topics.FEEDBACK.name, Rejection.UNKNOWN_ISSUE)}
"""Refused only after it has waited: it counts as applied when it comes."""

BUDGET_OF_CAMPAIGN = 20_000
Money = Literal["purchase", "refund", "cancel"]

FIGURES: list[dict[str, Any]] = []
"""What every trial that passed its check has counted."""


def settings_under_faults(**about: Any) -> Settings:
    """Many decisions, some of them explored, so that no two runs of a step decide alike by accident.

    Trials with either guarantee have a store each, so that both stores meet every fault.
    """
    exact = about.get("guarantee") is Guarantee.EXACTLY_ONCE
    usual: dict[str, Any] = {"store": Store.ROCKSDB if exact else Store.MEMORY, "exploration_ratio": 0.2}
    return settings(triggers=frozenset({"browse", "cart"}), **(usual | about))


def unhurried(**about: Any) -> Settings:
    """Settings that suit an answer which takes simulated days: an hour of the shoppers passes in some 50 ms.

    A trial's own ticks do not wait for a backlog, as those of workers do: after an outage they may overtake feedback
    older by milliseconds, which is more simulated time than the usual grace.
    """
    usual = settings_under_faults(**{"max_issues_per_window": 20, "reorder_suppress_s": 0} | about)
    attribution = msgspec.structs.replace(usual.attribution, grace_s=YEARS_S)
    return msgspec.structs.replace(usual, attribution=attribution)


class Trial:
    """Simulated shoppers against a running system.

    Attributes
    ----------
    published : Counter
        Records by topic.
    refused : Counter
        Those of them that must end in dead letters, by (topic, reason).
    issues : dict
        What a consumer that deduplicates has seen, by id.
    figures : dict
        What a trial measures besides what every trial does.
    """

    def __init__(self, system: SupervisedSystem, world: World, publisher: Publisher, reader: Reader) -> None:
        self.system = system
        self.world = world
        self.published: Counter[str] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()
        self.issues: dict[str, CouponIssue] = {}
        self.kills = 0
        self.figures: dict[str, Any] = {}
        self._sending = threading.Lock()
        self._publisher = publisher
        self._reader = reader
        self._decode = Decoder(topics.ISSUES)

    def play(self, share: float) -> None:
        """Live on until this share of the world's days is over, as fast as it goes, and hand out what is issued."""
        started_at = self.world.settings.start_at
        until = started_at + share * (self.world.ends_at - started_at)
        while self.world.now < until:
            self.play_an_hour(until)

    def play_an_hour(self, until: float) -> None:
        """Live on for a simulated hour, but not beyond a time."""
        for topic, event in self.world.advance(min(self.world.now + 3600.0, until)):
            self.send(topics.BY_NAME[topic], event)
            for later in corrections(event):
                self.send(topics.FEEDBACK, later)
        self.tick(self.world.now)
        self.hand_out()

    def send(self, topic: topics.Topic, event: Struct) -> None:
        """Send one event, besides those of the world."""
        self.send_bytes(topic, topic.key_of(event), encode(event))

    def send_bytes(
        self,
        topic: topics.Topic,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        refused_as: str | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Send any bytes; say why they will be refused, if they will."""
        with self._sending:  # the load's thread sends too
            self._publisher.send_bytes(topic, key, value, partition, headers)
            self._count(topic, refused_as)

    def send_packed(self, topic: topics.Topic, mebibytes: int, refused_as: str | None) -> None:
        """Send a batch of some kilobytes that unpacks to too much, and is read as one record."""
        with self._sending:
            send_packed(self.system.settings.kafka.bootstrap, topic.name, 0, "zstd", mebibytes)
            self._count(topic, refused_as)

    def _count(self, topic: topics.Topic, refused_as: str | None) -> None:
        self.published[topic.name] += 1
        if refused_as is not None:
            self.refused[topic.name, refused_as] += 1

    def add_coupons(self, coupons: list[Coupon]) -> None:
        """Add to the catalogue, and wait until every worker has it."""
        for coupon in coupons:
            self.send(topics.CATALOG, coupon)
        self.flush()
        count = len(self.world.catalogue()) + len(coupons)
        wait_until(
            lambda: all(worker_total(worker, "catalogue_coupons") == count for worker in self.system.workers),
            f"{count} coupons in every worker's catalogue",
        )

    def flush(self) -> None:
        """Wait until the broker has all that was sent."""
        self._publisher.flush()

    def tick(self, at: float) -> None:
        """Tell every partition what time it is, behind all that was sent."""
        send_ticks(self.system, self._publisher, at)

    def hand_out(self, wait_s: float = 0.05) -> None:
        """Give shoppers the coupons that have come."""
        for record in self._reader.poll(wait_s):
            issue = self._decode(record.value)
            self.issues.setdefault(issue.issue_id, issue)
            self.world.receive(issue)

    @contextmanager
    def load(self, pause_s: float = PAUSE_S) -> Iterator[None]:
        """Live on in the background while the block runs, as long as there are days left.

        Parameters
        ----------
        pause_s : float
            After each simulated hour.

        Raises
        ------
        AssertionError
            If the world's days were over before the block: the fault would have met no load.
        """

        def live(over: threading.Event) -> None:
            while not over.is_set() and self.world.now < self.world.ends_at:
                self.play_an_hour(self.world.ends_at)
                over.wait(pause_s)

        with in_background(live, "load"):
            yield
        assert self.world.now < self.world.ends_at, "the load ended before the fault: give the world more days"

    def wait_for_work(self) -> None:
        """Wait until events are sent again, and done, after what a fault held up: the next fault is to meet work.

        A worker that the fault made leave is started anew.
        """
        sent, done = self.published.total(), total(self.system, "records_total")

        def goes_on() -> bool:
            self.system.check()
            is_sent = self.published.total() > sent + EVENTS_BETWEEN_FAULTS
            return is_sent and total(self.system, "records_total") > done + EVENTS_BETWEEN_FAULTS

        wait_until(goes_on, "events sent and done", within_s=120.0)

    def kill(self, index: int) -> None:
        """SIGKILL a worker."""
        self.system.kill(index)
        self.kills += 1

    def check(self) -> None:
        """Wait until the system is idle by itself; then nothing is lost, given twice, changed or overspent."""
        began = time.monotonic()
        self.system.wait_idle(IDLE_WITHIN_S)
        idle_after_s = time.monotonic() - began
        found = violations(self.system)
        assert found == [], found
        assert changed_copies(self.system) == []
        letters = refusals(self.system)
        assert letters == self.refused, f"dead letters {letters}, expected {self.refused}"
        self._check_published()
        issues = [issue.issue_id for issue in valid(self.system, topics.ISSUES)]
        decisions = valid(self.system, topics.DECISIONS)
        assert set(issues) == {one.decision_id for one in decisions if one.result == "given"}
        assert len(set(issues)) > 10
        if self.system.settings.kafka.guarantee is Guarantee.EXACTLY_ONCE:
            assert doubled(self.system) == [], "a reader of what is committed must see no copy"
        FIGURES.append(
            {
                "seed": self.world.settings.seed,
                "events": self.published.total(),
                "kills": self.kills,
                "restarts": self.system.restarts,
                "issues": len(set(issues)),
                "issued twice": len(issues) - len(set(issues)),
                "replays": int(total(self.system, "replays_total")),
                "violations": len(found),
                "idle after s": round(idle_after_s, 1),
                **self.figures,
            }
        )

    def _check_published(self) -> None:
        """What was published is in the topics; twice at most what had to be sent again."""
        inputs = {topic.name for topic in topics.INPUTS}
        sent = Counter({name: count for name, count in self.published.items() if name in inputs})
        found = Counter({name: len(records(self.system, name)) for name in sent})
        assert sent <= found
        assert (found - sent).total() <= self._publisher.sent_again

    def check_sums(self) -> None:
        """Every record was applied, or counted as a duplicate, or is a dead letter, and the sum is exact (I3).

        Only where no worker has ended: what one counted last before it was killed nobody knows.
        """
        assert (self.kills, self.system.restarts) == (0, 0)
        for topic in topics.READ_BY_AGENTS:
            counts = {
                name: total(self.system, f"{name}_total", topic=topic.name)
                for name in ("records", "duplicates", "replays", "dead_letters")
            }
            assert counts["dead_letters"] == sum(
                count
                for (name, reason), count in self.refused.items()
                if (name, reason) not in COUNTED_AS_APPLIED
                if name == topic.name
            ), (topic.name, counts)
            assert sum(counts.values()) == len(records(self.system, topic.name)), (topic.name, counts)


def corrections(event: Struct) -> Iterator[FeedbackEvent]:
    """What is reported later of some purchases: other amounts, refunds, cancellations, and purchases after these."""
    if not isinstance(event, FeedbackEvent) or event.kind != "purchase":
        return
    draw = stable_hash(event.event_id) % 8
    kinds: dict[int, tuple[tuple[Money, int | None], ...]] = {
        0: (("purchase", 0), ("purchase", event.discount_minor)),
        1: (("refund", (event.discount_minor or 0) // 2),),
        2: (("cancel", None),),
        3: (("cancel", None), ("purchase", event.discount_minor)),
    }
    for number, (kind, amount) in enumerate(kinds.get(draw, ()), start=1):
        yield msgspec.structs.replace(
            event,
            event_id=f"{event.event_id}-{number}",
            occurred_at=event.occurred_at + number,
            kind=kind,
            discount_minor=amount,
        )


class CampaignWorld(World):
    """A world whose coupons belong to a campaign with a small budget, every second one with a budget of its own."""

    def __init__(self, settings: WorldSettings, hold: BudgetHold) -> None:
        super().__init__(settings)
        self.campaign = Campaign(
            campaign_id="shared",
            budget_minor=BUDGET_OF_CAMPAIGN,
            budget_hold=hold,
            starts_at=settings.start_at,
            ends_at=self.ends_at,
        )
        self._coupons = [
            msgspec.structs.replace(
                one,
                campaign_id=self.campaign.campaign_id,
                budget_hold=hold,
                budget_minor=one.budget_minor if number % 2 else None,
            )
            for number, one in enumerate(self._coupons)
        ]
        self._by_id = {one.coupon_id: one for one in self._coupons}

    def campaigns(self) -> list[Campaign]:
        """The one campaign."""
        return [self.campaign]


@contextmanager
def trial(
    broker: BrokerProcess,
    folder: Path,
    seed: int,
    settings_: Settings | None = None,
    workers: int = 2,
    days: int = 2,
) -> Iterator[Trial]:
    """A trial on an empty broker, with workers that are ready and a supervisor that starts those that end anew."""
    world = World(WorldSettings(seed=seed, shoppers=60, days=days, coupons=12))
    system = SupervisedSystem(broker, settings_ or settings_under_faults(), folder, workers)
    with trial_of(system, world) as running:
        yield running


@contextmanager
def trial_of(system: SupervisedSystem, world: World) -> Iterator[Trial]:
    """A trial of a system that is not started yet with a world of its own."""
    system.prepare(world.catalogue(), world.campaigns())
    with (
        system,
        system.publisher() as publisher,
        Reader(system.connection, [topics.ISSUES.name], from_beginning=True) as reader,
    ):
        system.wait_ready()
        yield Trial(system, world, publisher, reader)


def refusals(system: LocalSystem) -> Counter[tuple[str, str]]:
    """Dead letters by (topic, reason); copies of one, which a crash may leave, count once."""
    letters = set()
    for record in records(system, topics.DEAD_LETTERS.name):
        headers = {name: value.decode() for name, value in record.headers}
        place = tuple(headers[name] for name in ("topic", "reason", "partition", "offset"))
        letters.add((*place, record.key, record.value))
    return Counter((topic, reason) for topic, reason, *_ in letters)


def valid(system: LocalSystem, topic: topics.Topic) -> list[Any]:
    """All messages of a topic but what is none."""
    decode, found = Decoder(topic), []
    for record in records(system, topic.name):
        with suppress(BadMessage):
            found.append(decode(record.value))
    return found


def worker_total(worker: WorkerProcess, metric: str) -> float:
    """A metric of one worker summed over its labels."""
    return sum(value for (name, _), value in worker.scrape().items() if name == f"stream_coupons_{metric}")


def is_ready(worker: WorkerProcess) -> bool:
    """Whether a worker says that it is ready; one that says nothing is not."""
    return worker.scrape().get(("stream_coupons_ready", ())) == 1.0


def purses(system: LocalSystem, account_id: str) -> Purse:
    """What all partitions together hold of an account, by the state that was saved last."""
    key, latest = f"{SHARED_PREFIX}{account_id}".encode(), {}
    for record in records(system, topics.changelog("users").name):
        if record.key == key:
            latest[record.partition] = msgspec.msgpack.decode(record.value, type=Purse)
    names = [name for name in PurseTotals.__struct_fields__ if name != "version"]
    return Purse(**{name: sum(getattr(purse, name) for purse in latest.values()) for name in names})


def are_taken(system: LocalSystem, topic: topics.Topic, prefix: str) -> bool:
    """Whether all records of a topic whose key begins so are done and committed."""
    done = committed(system, topic)
    mine = [record for record in records(system, topic.name) if (record.key or b"").startswith(prefix.encode())]
    return all(record.offset < done.get(record.partition, 0) for record in mine)


def committed(system: LocalSystem, topic: topics.Topic) -> dict[int, int]:
    """The next offset that the workers have not committed, by partition of a topic."""
    with admin.admin_client(system.connection) as client:
        offsets = admin.committed_offsets(client, system.settings.kafka)
    return {tp.partition: position.offset for tp, position in offsets.items() if tp.topic == topic.name}


def copies_of_decisions(system: LocalSystem) -> Iterator[tuple[str, Any, list[tuple[Any, Any]]]]:
    """(topic, identity, keys and bytes of all copies) of every decision, as a reader of what is committed sees them."""
    for topic in CHAIN:
        decode = Decoder(topic)
        copies: dict[Any, list[tuple[Any, Any]]] = {}
        for record in records(system, topic.name):
            try:
                message = decode(record.value)
            except BadMessage:
                continue
            identity = getattr(message, "issue_id", None) or message.decision_id
            copies.setdefault(identity, []).append((record.key, record.value))
        for identity, seen in copies.items():
            yield topic.name, identity, seen


def changed_copies(system: LocalSystem) -> list[tuple[str, Any]]:
    """(topic, identity) of every decision whose copies are not the same bytes."""
    return [(topic, identity) for topic, identity, seen in copies_of_decisions(system) if len(set(seen)) > 1]


def doubled(system: LocalSystem) -> list[tuple[str, Any]]:
    """(topic, identity) of every decision that is there more than once."""
    return [(topic, identity) for topic, identity, seen in copies_of_decisions(system) if len(seen) > 1]
