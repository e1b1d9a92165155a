"""Decisions on demand: an event is produced to its topic, and its result is awaited in the topics of the answers."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream_coupons.core.decision.pipeline import KINDS, issue_id
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.decisions import DecisionAnswer
from stream_coupons.core.messages.inputs import ShopEvent
from stream_coupons.core.reasons import NoCoupon
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, require_currency, require_not_ahead
from stream_coupons.kafka.connection import Format
from stream_coupons.kafka.letters import Letter, letter_of
from stream_coupons.kafka.records import ANSWER_HEADER, CLIENT_HEADER
from stream_coupons.ops.explain.candidate_verdicts import WORDS
from stream_coupons.settings import Settings
from stream_coupons_console.api.past import kept_issue
from stream_coupons_console.api.problems import NotTaken
from stream_coupons_console.index import FollowedRecord, Index

TOPICS: Mapping[str, topics.Topic] = {"browse": topics.BROWSE, "cart": topics.CART, "order": topics.ORDER}
"""Topic by kind of event."""
GIVEN, DUPLICATE = "given", "duplicate"
DECIDED_BEFORE = (DUPLICATE, NoCoupon.REPEATED)
"""Results of an event that was sent before."""
SENT_WITHIN_S = 3.0
"""Kafka has not taken an event that it has not acknowledged for so long."""
AWAITED = frozenset({topics.ANSWERS.name, topics.ISSUES.name, topics.DEAD_LETTERS.name})
"""Topics of the results."""
MAX_WAITING = 2_000
"""Requests that wait at a time; further ones are refused."""
MEANINGS: Mapping[str, str] = {
    **WORDS,
    GIVEN: "a coupon was given",
    DUPLICATE: "an event with this event_id was processed before, and its result is no longer kept",
    "no_trigger": "no decision is made on this kind of event: see policy.triggers",
    "erasure": "the shopper asked after this event to be forgotten",
    NoCoupon.REPEATED: "this event led to a coupon already, longer ago than event ids are remembered",
    NoCoupon.NO_CANDIDATE: "no coupon is valid and allowed for this shopper",
    NoCoupon.NOT_FINITE: "a feature or a prediction is not a finite number: a bug, or a forged message",
    NoCoupon.POLICY_FAILED: "the policy of another package failed: see the worker's log",
    NoCoupon.TIMED_OUT: "the event was older than policy.trigger_timeout_s at decision time",
}
"""Words for each result."""
_answer = msgspec.json.Decoder(DecisionAnswer).decode


def identity_of(event: ShopEvent) -> str:
    """Return the id of the decision on an event."""
    return issue_id(event.user_id, KINDS[type(event)], event.event_id)


class DecisionReply(NamedTuple):
    """Result of an event.

    Attributes
    ----------
    trigger_id : str
        `event_id` of the event.
    issue : bytes or None
        The coupon-issue as it was sent.
    """

    decision_id: str
    trigger_id: str
    user_id: str
    result: str
    issue: bytes | None

    @property
    def because(self) -> str:
        """The result in words."""
        return MEANINGS.get(self.result, self.result)


class Waiter:
    """One request that waits for the result of its event.

    Attributes
    ----------
    news : asyncio.Event
        Set whenever a record of the shopper has come.
    """

    def __init__(self, decision_id: str) -> None:
        self.decision_id = decision_id
        self.news = asyncio.Event()
        self.results: set[str] = set()
        self.letters: dict[str, Letter] = {}

    def take(self, record: FollowedRecord) -> None:
        """Take in a record of the shopper."""
        value = record.value or b""
        if record.topic == topics.DEAD_LETTERS.name:
            letter = letter_of(record)
            self.letters[letter.source] = letter
        elif record.topic == topics.ANSWERS.name and self.decision_id.encode() in value:
            self.results.add(_answer(value).result)
        self.news.set()


class DecisionDesk:
    """Sends events of the shop and waits for their results.

    Parameters
    ----------
    settings : Settings
        Of the workers.
    index : Index
        What is known of the system; it takes in each record before the desk does.
    """

    def __init__(self, settings: Settings, index: Index) -> None:
        self._settings, self._index = settings, index
        self._decoders = {kind: Decoder(topic) for kind, topic in TOPICS.items()}
        self._waiting: defaultdict[bytes, list[Waiter]] = defaultdict(list)
        self._count = 0
        self._starting = asyncio.Lock()
        self._producer: AIOKafkaProducer | None = None

    def take(self, record: FollowedRecord) -> None:
        """Take in a followed record, and wake the requests that wait for its shopper."""
        self._index.take(record)
        if record.topic in AWAITED:
            for waiter in self._waiting.get(record.key or b"", ()):
                waiter.take(record)

    def decode(self, kind: str, value: bytes) -> ShopEvent:
        """Return the event in some JSON, checked as workers check it.

        Raises
        ------
        BadMessage
            With the reason and the detail that a dead letter would have.
        """
        event: ShopEvent = self._decoders[kind](value)
        settings = self._settings
        require_currency(event, settings.shop)
        require_not_ahead(event, time.time(), settings.profile, settings.attribution)
        return event

    async def decide(self, event: ShopEvent, value: bytes, within_s: float) -> DecisionReply | None:
        """Send an event, unless its result is known, and return its result; None if it takes longer.

        Raises
        ------
        BadMessage
            If workers refused the event.
        NotTaken
            If Kafka did not take it.
        """
        user_id, decision_id, deadline = event.user_id, identity_of(event), asyncio.get_running_loop().time() + within_s
        with self._awaiting(user_id.encode(), decision_id) as waiter, suppress(TimeoutError):
            if (reply := self.known(decision_id)) is not None:
                return reply
            place = await self._send(TOPICS[KINDS[type(event)]], user_id.encode(), value)
            async with asyncio.timeout_at(deadline):
                while True:
                    waiter.news.clear()
                    if (letter := waiter.letters.get(place)) is not None:
                        raise BadMessage(letter.reason, letter.detail)
                    if (reply := self.known(decision_id)) is not None:
                        return reply
                    if waiter.results and GIVEN not in waiter.results:
                        break
                    await waiter.news.wait()
            result, issue = min(waiter.results - {DUPLICATE}, default=DUPLICATE), None
            if result in DECIDED_BEFORE:  # longer ago than the index keeps: reading the topic may take seconds
                issue = await kept_issue(self._settings, self._index, decision_id, user_id)
            return DecisionReply(decision_id, event.event_id, user_id, GIVEN if issue else result, issue)
        return None

    def known(self, decision_id: str) -> DecisionReply | None:
        """Return the result of an event as far as the index has it; None if it has none."""
        answer, shown = self._index.answers.get(decision_id), self._index.shown(decision_id)
        if shown is not None and shown.issue is not None:
            issue = self._index.decisions[decision_id].issue
            return DecisionReply(decision_id, shown.issue.trigger_id, shown.user_id, GIVEN, issue)
        if answer is not None and answer.result not in (GIVEN, *DECIDED_BEFORE):
            return DecisionReply(decision_id, answer.trigger_id, answer.user_id, answer.result, None)
        if shown is not None and shown.decision is not None and shown.result != GIVEN:
            return DecisionReply(decision_id, shown.decision.trigger_id, shown.user_id, shown.result, None)
        return None

    @contextmanager
    def _awaiting(self, key: bytes, decision_id: str) -> Iterator[Waiter]:
        if self._count >= MAX_WAITING:
            raise NotTaken(f"{MAX_WAITING:,} requests wait for a decision already")
        waiter = Waiter(decision_id)
        self._waiting[key].append(waiter)
        self._count += 1
        try:
            yield waiter
        finally:
            self._count -= 1
            self._waiting[key].remove(waiter)
            if not self._waiting[key]:
                del self._waiting[key]

    async def _send(self, topic: topics.Topic, key: bytes, value: bytes) -> str:
        """Produce an event, and return its place, topic:partition:offset.

        Raises
        ------
        NotTaken
        """
        from stream_coupons.kafka.producer import new_producer  # here, for it takes parts of Faust

        headers = [(ANSWER_HEADER, b"1"), (CLIENT_HEADER, b"console")]
        match self._settings.kafka.formats.get(topic.name, Format.PLAIN):
            case Format.CLOUDEVENTS:
                headers.append(("ce_specversion", b"1.0"))
            case Format.DEBEZIUM:
                value = b'{"op":"c","after":' + value + b"}"
        partition = topics.partition_for(key, self._settings.kafka.partitions)
        try:
            async with asyncio.timeout(SENT_WITHIN_S):
                producer = await self._connected(new_producer)
                sending = await producer.send(topic.name, value, key=key, partition=partition, headers=headers)
                sent = await asyncio.shield(sending)
        except (KafkaError, OSError, TimeoutError) as error:
            if isinstance(error, KafkaError) and not error.retriable:
                await self.close()  # its next record would lack the number of this one
            raise NotTaken(f"Kafka has not taken the event: {error!r}") from None
        return f"{topic.name}:{partition}:{sent.offset}"

    async def _connected(self, new_producer: Callable[..., AIOKafkaProducer]) -> AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                producer = new_producer(self._settings.kafka, SENT_WITHIN_S, topics.INPUT_BYTES)
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        """Disconnect; what was not acknowledged may be lost."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(producer.stop(), SENT_WITHIN_S)
