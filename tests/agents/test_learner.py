"""The learner goes on from its snapshots, whatever lies in their topic."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka.errors import UnknownMemberIdError
from faust.types import TP
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from stream_coupons.agents.guardrails import FollowedCampaign
from stream_coupons.agents.learner import Latest, Learner
from stream_coupons.agents.learner_pace import Pace
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.measurement.lift_sums import LiftChange, LiftSums
from stream_coupons.core.messages.catalogue import Guardrail
from stream_coupons.core.messages.learning import LiftBrake, ModelSnapshot
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.rules import PolicyRules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.records import MAX_NUMBER, ORIGIN_HEADER, Membership, Record
from stream_coupons.models.learner import Trainer
from stream_coupons.models.serving import compile_snapshot
from stream_coupons.observability.metrics import Metrics
from stream_coupons.runtime.delivery import ExactlyOnce, Offsets, TransactionUndone
from stream_coupons.runtime.source import Chunk
from stream_coupons.settings import LearningSettings, Settings
from stream_coupons.testing import campaign
from stream_coupons.worker.knowledge import CurrentKnowledge
from tests.models.builders import examples


def trained(*domains: str) -> Trainer:
    trainer = Trainer(LearningSettings())
    for offset, domain in enumerate(domains):
        trainer.learn(examples(1, 1, domain)[0], offset, None)
    return trainer


def test_a_domain_whose_snapshot_does_not_fit_starts_anew_and_the_others_go_on() -> None:
    latest = {snapshot.domain: snapshot for snapshot in trained("good", "spoilt").snapshots()}
    latest["spoilt"] = msgspec.structs.replace(latest["spoilt"], checksum=0)
    metrics, nothing = Metrics(CollectorRegistry()), Any

    async def resume() -> Trainer:
        async def ask() -> Latest:
            return latest, {}

        return await Learner(Settings(), nothing, metrics, ask, nothing)._resume()  # type: ignore[arg-type]

    trainer = asyncio.run(resume())
    assert {domain: model.offset for domain, model in trainer.models.items()} == {"good": 0}
    assert metrics.snapshots_refused._value.get() == 1
    assert trainer.learn(examples(2, 1, "spoilt")[0], 2, None)


def test_origins_that_no_agent_of_ours_reads_are_left_out_of_what_goes_on() -> None:
    trainer, nothing = trained("ecommerce"), Any
    trainer.models["ecommerce"].origins = {"ticks:1": (5, 0), "x" * 200 + ":0": (5, 0), "ticks:4": (5, 0)}
    [snapshot] = trainer.snapshots()

    async def resume() -> Trainer:
        async def ask() -> Latest:
            return {"ecommerce": snapshot}, {}

        return await Learner(Settings(), nothing, Metrics(CollectorRegistry()), ask, nothing)._resume()  # type: ignore[arg-type]

    assert asyncio.run(resume()).models["ecommerce"].origins == {"ticks:1": (5, 0)}


def told(origin: bytes | None, offset: int = 0, **about: Any) -> Record:
    headers = () if origin is None else (("origin", origin),)
    value = msgspec.json.encode(msgspec.to_builtins(examples(1, 1)[0]) | about)
    return Record(topics.EXAMPLES.name, 0, offset, 0, b"ecommerce", value, headers)


FURTHEST = b"ticks:0:%d:0" % MAX_NUMBER
STRANGERS = {
    "no origin": told(None),
    "an offset that no log has": told(b"ticks:0:%d:0" % (MAX_NUMBER + 1)),
    "a partition that no topic has": told(b"ticks:%d:0:0" % Settings().kafka.partitions),
    "a partition that the learner's own topic has not": told(b"training-examples:1:0:0"),
    "a topic that no agent reads": told(b"coupon-issues:0:0:0"),
    "a topic of a long name": told(b"x" * 1_000_000 + b":0:0:0"),
    "a long domain": told(b"ticks:0:1:0", domain="x" * 65),
    "no domain": told(b"ticks:0:1:0", domain=""),
    "other features": told(b"ticks:0:1:0", feature_schema="another"),
}


@pytest.mark.parametrize("record", STRANGERS.values(), ids=STRANGERS)
def test_an_example_that_no_agent_of_ours_sent_is_a_dead_letter_and_teaches_nothing(record: Record) -> None:
    nothing, trainer = Any, Trainer(LearningSettings())
    learner = Learner(Settings(), nothing, Metrics(CollectorRegistry()), nothing, nothing)  # type: ignore[arg-type]
    learner._learn(trainer, record)
    assert [dict(letter.headers)["reason"] for letter in learner._letters] == [b"invalid"]
    assert trainer.models == {}


def test_forged_origins_do_not_make_a_snapshot_outgrow_its_topic() -> None:
    nothing, trainer = Any, Trainer(LearningSettings())
    learner = Learner(Settings(), nothing, Metrics(CollectorRegistry()), nothing, nothing)  # type: ignore[arg-type]
    forged = [b"%d" % number + b"x" * 1_000_000 + b":0:0:0" for number in range(40)]
    many = [b"%b:%d:0:0" % (name, home) for name in (b"ticks", b"mine") for home in range(1000)]
    for offset, origin in enumerate([b"ticks:0:5:0", *forged, *many]):
        learner._learn(trainer, told(origin, offset))
    [snapshot] = trainer.snapshots()
    assert snapshot.origins.keys() == {f"ticks:{home}" for home in range(Settings().kafka.partitions)}
    assert len(encode(snapshot)) < topics.SNAPSHOTS.max_message_bytes


def test_whatever_origin_is_believed_is_served() -> None:
    nothing, trainer = Any, Trainer(LearningSettings())
    learner = Learner(Settings(), nothing, Metrics(CollectorRegistry()), nothing, nothing)  # type: ignore[arg-type]
    for offset, origin in enumerate([b"ticks:1:5:0", FURTHEST]):
        learner._learn(trainer, told(origin, offset))
        [snapshot] = trainer.snapshots()
        assert compile_snapshot(snapshot).version == offset + 1


def test_it_is_starved_once_what_it_learnt_is_unpublished_for_longer_than_a_request_may_take() -> None:
    nothing, settings = Any, Settings()
    learner = Learner(settings, nothing, Metrics(CollectorRegistry()), nothing, nothing)  # type: ignore[arg-type]
    learner._publish_at = time.monotonic() - settings.kafka.produce_timeout_s - 1.0
    assert not learner.is_starved, "nothing waits"
    learner._unacknowledged.append((nothing, []))
    assert learner.is_starved
    learner._publish_at = time.monotonic()
    assert not learner.is_starved


def test_it_is_starved_while_it_falls_behind_though_it_leaves_out_what_it_may() -> None:
    nothing = Any
    learner = Learner(Settings(), nothing, Metrics(CollectorRegistry()), nothing, nothing)  # type: ignore[arg-type]
    assert not learner.is_starved
    learner._pace.is_overrun = True
    assert learner.is_starved


class Group:
    """As far as the learner deals with it: what is delivered and acknowledged."""

    is_transactional = False

    def __init__(self) -> None:
        self.rebalancing = False
        self.consumer = self
        self.delivered: list[Any] = []
        self.acknowledged: list[Any] = []
        self.given_up: list[Any] = []

    def committed(self, names: list[str], partition: int) -> dict[str, int]:
        assert partition == 0
        return dict.fromkeys(names, 7)

    async def deliver(self, agent: str, changes: Any, outputs: Any, offsets: Offsets) -> None:  # noqa: ARG002
        self.delivered.append(offsets)
        self.changes, self.outputs = changes, outputs

    def acknowledge(self, message: Any, chunks: list[Chunk], *, is_committed: bool = False) -> None:  # noqa: ARG002
        (self.acknowledged if chunks else self.given_up).append(message)


def test_a_rebalance_does_not_wait_for_the_next_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_coupons.agents.learner.LOOK_EVERY_S", 0.0)
    group, nothing = Group(), Any
    learner = Learner(Settings(), group, Metrics(CollectorRegistry()), nothing, group)  # type: ignore[arg-type]
    learner._trainer = trained("ecommerce")
    learner._publish_at = time.monotonic() + 1000.0
    learner._unacknowledged.append(("message", [Chunk(TP(topics.EXAMPLES.name, 0), [told(b"ticks:0:1:0")], 0, 1, 1)]))

    async def turns() -> None:
        await learner._turn()
        assert group.acknowledged == [], "it is not time"
        group.rebalancing = True
        await learner._turn()
        assert group.delivered == [{(topics.EXAMPLES.name, 0): 1}]
        assert group.acknowledged == ["message"]
        await learner._turn()
        assert len(group.delivered) == 1, "there is nothing more to publish"

    asyncio.run(turns())


def test_a_snapshot_whose_transaction_was_aborted_is_made_again_after_joining_the_group_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stream_coupons.agents.learner.LOOK_EVERY_S", 0.0)
    rejoined: list[bool] = []
    later = SimpleNamespace(value=[])

    class Aborting(Group):
        async def deliver(self, *_: Any) -> None:
            raise TransactionUndone

    group, nothing = Aborting(), Any
    learner = Learner(Settings(), group, Metrics(CollectorRegistry()), nothing, group)  # type: ignore[arg-type]
    learner.inbox.rejoin = lambda: rejoined.append(True)
    learner._trainer, learner._publish_at = trained("ecommerce"), 0.0
    learner._unacknowledged.append(("message", [Chunk(TP(topics.EXAMPLES.name, 0), [told(b"ticks:0:1:0")], 0, 1, 1)]))
    learner.inbox.assign(frozenset({0}), Membership("m", 1))
    learner._owned = learner.inbox.ownership

    async def turns() -> None:
        await learner._turn()
        assert rejoined == [True]
        assert not learner.is_ready
        await hand_over(learner, later)
        await learner._turn()

    asyncio.run(turns())
    assert learner._trainer is None, "models that learnt what is read again are not kept"
    assert group.acknowledged == []
    assert group.given_up == [later, "message"], "the rebalance waits for all messages"


@pytest.mark.parametrize("partitions", [frozenset[int](), frozenset({0})], ids=["stands by", "owns the models"])
def test_a_learner_that_the_group_went_on_without_is_ready_and_able_again_with_nothing_to_publish(
    monkeypatch: pytest.MonkeyPatch, partitions: frozenset[int]
) -> None:
    monkeypatch.setattr("stream_coupons.agents.learner.LOOK_EVERY_S", 0.0)

    class Producer:
        async def start(self) -> None: ...

        async def stop(self) -> None: ...

        async def abort_orphans(self) -> None: ...

        async def commit(self, *_: Any) -> None:
            raise UnknownMemberIdError

    async def latest() -> Latest:
        return {}, {}

    group, delivery = Group(), ExactlyOnce("g", lambda _: Producer(), lambda _: None, 60.0)  # type: ignore[arg-type, return-value]
    learner = Learner(Settings(), delivery, Metrics(CollectorRegistry()), latest, group)  # type: ignore[arg-type]

    async def turns() -> None:
        learner.inbox.assign(frozenset({0}), Membership("m", 1))
        await learner._turn()
        learner._trainer, learner._publish_at = trained("ecommerce"), 0.0
        learner._unacknowledged.append(("late", [Chunk(TP(topics.EXAMPLES.name, 0), [told(b"ticks:0:1:0")], 0, 1, 1)]))
        await learner._turn()
        assert not learner.is_ready
        learner.inbox.assign(partitions, Membership("n", 3))
        await learner._turn()
        assert learner.is_ready
        assert delivery.is_able

    asyncio.run(turns())
    assert group.given_up == ["late"]


def losing(domain: str) -> LiftTotals:
    """Totals of 400 shoppers who order once, 200 of them at a margin that a coupon lowers."""
    sums = LiftSums()
    for number in range(400):
        row = (1, 5, 0, 0, 0, 0, 0, 100 * (300 + number % 7 - 100 * (number % 2)), 1)
        sums.add(LiftChange(domain, 0, 2 * (number // 2 % 4) + (number + 1) % 2, None, row))
    products = sums.products()
    return LiftTotals(domain=domain, partition=0, at=9.0, version=sums.version, products=products, buyers=sums.buyers)


def test_a_domain_whose_coupons_lose_is_braked_in_its_next_snapshot_although_it_learnt_nothing() -> None:
    group, nothing, settings = Group(), Any, Settings(policy=PolicyRules(holdout_ratio=0.5))
    metrics = Metrics(CollectorRegistry())
    learner = Learner(settings, group, metrics, nothing, group)  # type: ignore[arg-type]
    learner._trainer = trained("ecommerce", "travel")
    learner._trainer.snapshots()
    learner.lift.take(losing("travel"))
    chunk = Chunk(TP(topics.EXAMPLES.name, 0), [told(b"ticks:0:1:0")], 0, 1, 1)

    def published() -> list[ModelSnapshot]:
        learner._unacknowledged.append(("message", [chunk]))
        asyncio.run(learner._publish())
        return [Decoder(topics.SNAPSHOTS)(one.value, limit=2**31) for one in group.outputs]

    assert published() == [], "the totals that were there at the start are not all read"
    learner.knows_lift = True
    [snapshot] = published()
    assert (snapshot.domain, snapshot.brake) == ("travel", LiftBrake(period=1, given_ratio=0.1))
    assert metrics.lift_brake.labels("travel")._value.get() == 1
    assert metrics.lift.labels("travel", "high")._value.get() < 0
    known = CurrentKnowledge(settings.rules(PUBLIC_KEY), Metrics(CollectorRegistry()))
    known.log_end = 2
    read = known.read_snapshot(topics.SNAPSHOTS.key_of(snapshot), encode(snapshot))
    assert read is not None
    known.take_snapshot(read)
    assert (known.now().brake("travel").is_on, known.now().brake("ecommerce").is_on) == (True, False)


def test_the_owner_of_the_models_holds_a_campaign_that_loses_once_by_a_change_and_then_its_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group, nothing = Group(), Any
    metrics = Metrics(CollectorRegistry())
    learner = Learner(Settings(), group, metrics, nothing, group)  # type: ignore[arg-type]
    monkeypatch.setattr("stream_coupons.agents.learner.LOOK_EVERY_S", 0.0)
    before = campaign("spring", holdout_ratio=0.5, guardrails=[Guardrail(metric="lift")])
    learner.guard.knows_all = lambda: True
    learner.guard.take_campaign(FollowedCampaign("spring", before, encode(before)))
    learner.guard.take_lift(replace(losing("shop"), campaign_id="spring", holdout_ratio=0.5))

    async def turns() -> None:
        await learner._turn()
        assert group.delivered == [], "another process owns the models"
        learner._trainer = trained("shop")
        learner.inbox.assign(frozenset({0}), Membership("m", 1))
        learner._owned = learner.inbox.ownership
        for _ in range(3):
            await learner._turn()

    asyncio.run(turns())
    [offsets] = group.delivered
    assert offsets == {TP(topics.EXAMPLES.name, 0): 7}, "it acts as the present member of the group"
    [change], [record] = group.changes, group.outputs
    assert (change.topic, record.topic) == (topics.CAMPAIGN_CHANGES.name, topics.CAMPAIGNS.name)
    assert Decoder(topics.CAMPAIGNS)(record.value) == replace(before, state="held")
    written = Decoder(topics.CAMPAIGN_CHANGES)(change.value)
    assert (written.verb, written.before, written.after) == ("hold", before, replace(before, state="held"))
    assert written.reason.startswith("lift in shop is -")
    assert metrics.guardrail_actions.labels("spring", "lift", "hold")._value.get() == 1


class OneLog:
    """Examples in one log, handed on a message at a time, and all that a learner asks of its application."""

    def __init__(self, count: int) -> None:
        self.consumer = self
        self.rebalancing = False
        self.records = [
            Record(
                topics.EXAMPLES.name,
                0,
                offset,
                0,
                b"ecommerce",
                encode(example),
                ((ORIGIN_HEADER, b"ticks:0:%d:0" % offset),),
            )
            for offset, example in enumerate(examples(1, count))
        ]
        self.published: list[int] = []
        self.acknowledged = 0
        self._taken = 0

    def message(self, size: int) -> Any:
        """The next records as one message."""
        chunk = Chunk(TP(topics.EXAMPLES.name, 0), self.records[:size], 0, self.records[size - 1].offset + 1, 0)
        del self.records[:size]
        return SimpleNamespace(value=[chunk])

    def take(self, message: Any) -> list[Chunk]:
        self._taken = message.value[0].end
        return list(message.value)

    def taken(self, names: list[str], partition: int) -> dict[str, int]:
        assert partition == 0
        return {name: self._taken if name == topics.EXAMPLES.name else 0 for name in names}

    async def ends(self, names: list[str], partition: int) -> dict[str, int]:
        assert partition == 0
        end = self._taken + len(self.records)
        return {name: end if name == topics.EXAMPLES.name else 0 for name in names}

    async def join(self, *_: Any) -> None:
        """Nothing to be told of."""

    is_transactional = False

    async def deliver(self, _agent: str, _changes: Any, _outputs: Any, offsets: Offsets) -> None:
        self.published.append(offsets[TP(topics.EXAMPLES.name, 0)])

    def acknowledge(self, _message: Any, chunks: list[Chunk], *, is_committed: bool = False) -> None:
        assert not is_committed
        self.acknowledged = chunks[-1].end if chunks else self.acknowledged


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0.001)


async def hand_over(learner: Learner, message: Any) -> None:
    """Pass a message on as the Faust agent does."""

    async def events() -> AsyncIterator[Any]:
        yield SimpleNamespace(message=message)

    await learner.inbox.consume(events())


def test_it_publishes_once_when_it_is_asked_to_and_not_before_all_is_learnt_that_was_there() -> None:
    async def run() -> OneLog:
        log = OneLog(6)

        async def latest() -> Latest:
            return {}, {}

        settings = Settings(learning=LearningSettings(publish_every_s=1e6))
        learner = Learner(settings, log, Metrics(CollectorRegistry()), latest, log)  # type: ignore[arg-type]
        learner.publish_soon()  # it owns nothing yet
        learner.inbox.assign(frozenset({0}), Membership("m", 1))
        await learner.start()
        await until(lambda: learner.is_ready)
        await hand_over(learner, log.message(2))
        await until(lambda: log._taken == 2)
        learner.publish_soon()
        await asyncio.sleep(0.02)
        assert log.published == [], "four examples were appended before it was asked"
        await hand_over(learner, log.message(4))
        await until(lambda: log.acknowledged == 6)
        await asyncio.sleep(0.02)
        await learner.stop()
        return log

    assert asyncio.run(run()).published == [6]


def test_it_reads_the_snapshots_again_only_where_another_one_can_have_learnt_since() -> None:
    async def run() -> list[int]:
        log, reads = OneLog(6), 0

        async def latest() -> Latest:
            nonlocal reads
            reads += 1
            return {}, {}

        settings = Settings(learning=LearningSettings(publish_every_s=1e6))
        learner = Learner(settings, log, Metrics(CollectorRegistry()), latest, log)  # type: ignore[arg-type]
        await learner.start()
        counts = []
        for membership in [Membership("m", 1), Membership("m", 2), Membership("m", 4), Membership("other", 5)]:
            learner.inbox.assign(frozenset({0}), membership)
            await until(lambda: learner.is_ready)
            counts.append(reads)
        await learner.stop()
        return counts

    assert asyncio.run(run()) == [1, 1, 2, 3]


def test_examples_that_a_rebalance_delivers_again_are_learnt_once_and_published() -> None:
    async def run() -> tuple[OneLog, Learner]:
        log = OneLog(6)
        records = list(log.records)

        async def latest() -> Latest:
            return {}, {}

        settings = Settings(learning=LearningSettings(publish_every_s=1e6))
        learner = Learner(settings, log, Metrics(CollectorRegistry()), latest, log)  # type: ignore[arg-type]
        await learner.start()
        learner.inbox.assign(frozenset({0}), Membership("m", 1))
        await until(lambda: learner.is_ready)
        await hand_over(learner, log.message(4))
        await until(lambda: learner.taken == 4)
        learner.inbox.assign(frozenset({0}), Membership("m", 2))
        await until(lambda: learner.is_ready)
        log.records = records
        await hand_over(learner, log.message(6))
        await until(lambda: learner.taken == 10)
        learner.publish_soon()
        await until(lambda: log.acknowledged == 6)
        await learner.stop()
        return log, learner

    log, learner = asyncio.run(run())
    assert log.published == [6]
    assert learner._trainer is not None
    assert learner._trainer.models["ecommerce"].offset == 5
    assert learner._metrics.duplicates.labels(topics.EXAMPLES.name)._value.get() == 4


def test_a_learner_that_is_behind_leaves_out_negatives_from_its_next_snapshot_on() -> None:
    group, nothing, metrics = Group(), Any, Metrics(CollectorRegistry())
    learner = Learner(Settings(), group, metrics, nothing, group)  # type: ignore[arg-type]
    trainer = learner._trainer = Trainer(LearningSettings())
    about = {"head": "visit", "predicted": 0.001}
    quiet = [told(b"ticks:0:%d:0" % n, n, **about, label=False, example_id=f"{n}:visit") for n in range(400)]
    chunk = Chunk(TP(topics.EXAMPLES.name, 0), quiet[:20], 0, 20, 1)
    for record in chunk.records:
        learner._learn(trainer, record)
    learner._pace = Pace(0.0, now=lambda: 1e9)
    learner._pace.take(1e9)
    learner._pace.take(1e9 - 60.0)
    learner._unacknowledged.append(("message", [chunk]))
    asyncio.run(learner._publish())
    [snapshot] = (Decoder(topics.SNAPSHOTS)(one.value, limit=2**31) for one in group.outputs)
    assert (snapshot.examples, snapshot.thinning) == (20, 1)
    assert metrics.model_thinning.labels("ecommerce")._value.get() == 1
    for record in quiet[20:]:
        learner._learn(trainer, record)
    bought = told(b"ticks:0:400:0", 400, **about, label=True, example_id="400:visit")
    assert learner._learn(trainer, bought)
    counts = [counter.labels("ecommerce", "visit")._value.get() for counter in (metrics.examples, metrics.left_out)]
    assert sum(counts) == 401
    assert counts[0] < 60
    assert metrics.records.labels(topics.EXAMPLES.name)._value.get() == 401
    assert trainer.models["ecommerce"].offset == 400
    assert not learner._learn(trainer, quiet[399]), "a copy"
    assert metrics.duplicates.labels(topics.EXAMPLES.name)._value.get() == 1


def test_the_first_click_of_a_coupon_is_published_after_a_fifth_of_the_usual_time() -> None:
    nothing = Any
    learner = Learner(Settings(), nothing, Metrics(CollectorRegistry()), nothing, Group())  # type: ignore[arg-type]
    trainer = learner._trainer = Trainer(LearningSettings())

    def is_due_after(seconds: float) -> bool:
        learner._plan(0.0)
        learner._publish_at -= seconds
        learner._early_at -= seconds
        return learner._is_due()

    clicks = [told(b"ticks:0:%d:0" % n, n, label=n % 2 == 1, example_id=f"{n}:click") for n in range(400)]
    learner._learn(trainer, clicks[0])
    assert not is_due_after(1.01), "it was not clicked"
    learner._learn(trainer, clicks[1])
    assert is_due_after(1.01)
    assert not is_due_after(0.5)
    learner._plan(packing_s=0.3)
    learner._early_at -= 2.0
    assert not learner._is_due(), "packing would take more than a hundredth of the time"
    trainer.snapshots()
    assert not is_due_after(1.01)
    for record in clicks[2:]:
        learner._learn(trainer, record)
    trainer.snapshots()
    learner._learn(trainer, told(b"ticks:0:400:0", 400, label=True, example_id="400:click"))
    assert not is_due_after(1.01), "it has been clicked often"
    assert is_due_after(5.01)
