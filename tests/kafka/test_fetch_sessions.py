"""A fetch in a session names what has changed and brings what one without a session would bring."""

import asyncio
import gc
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from hypothesis import given
from hypothesis import strategies as st

from stream_coupons.kafka import fetch_sessions
from stream_coupons.kafka.consumer import SessionClient
from stream_coupons.kafka.fetch_requests import decode_answer, encode_request
from stream_coupons.kafka.fetch_sessions import Priority, SessionFetcher

from .lenient.test_fetched import batch

CART, BROWSE, VECTORS = "cart", "browse", "vectors"
PRIORITIES = {CART: Priority.URGENT, BROWSE: Priority.WITH_URGENT, VECTORS: Priority.PATIENT}
PLACES = [TopicPartition(topic, partition) for topic in PRIORITIES for partition in range(2)]
UNKNOWN_SESSION = 70

names = st.sampled_from(["cart-events", "browse-events", "ticks"])
offsets = st.integers(0, 2**62)


@given(
    st.dictionaries(st.builds(TopicPartition, names, st.integers(0, 9)), offsets),
    st.lists(st.builds(TopicPartition, names, st.integers(0, 9)), unique=True),
    st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)),
)
def test_a_request_is_encoded_as_the_protocol_says(
    changed: dict[TopicPartition, int], forgotten: list[TopicPartition], session: tuple[int, int]
) -> None:
    found = FetchRequest_v11.decode(encode_request(500, 99, 7, 1, session, changed, forgotten))
    asked = {TopicPartition(name, row[0]): row[2] for name, rows in found.topics for row in rows}
    gone = [TopicPartition(name, partition) for name, rows in found.forgotten_topics_data for partition in rows]
    assert (asked, sorted(gone)) == (changed, sorted(forgotten))
    assert (found.session_id, found.session_epoch) == session
    assert (found.replica_id, found.max_wait_time, found.min_bytes, found.max_bytes) == (-1, 500, 1, 99)
    assert all((row[1], row[3], row[4]) == (-1, -1, 7) for _, rows in found.topics for row in rows)
    assert (found.isolation_level, found.rack_id) == (1, "")


aborted = st.one_of(st.none(), st.lists(st.tuples(offsets, offsets), max_size=2))
rows = st.tuples(
    st.integers(0, 9), st.integers(-1, 99), offsets, offsets, offsets, aborted, st.integers(-1, 9), st.binary()
)


@given(st.lists(st.tuples(names, st.lists(rows, max_size=3)), max_size=3), st.integers(0, 99), offsets)
def test_an_answer_is_decoded_as_the_protocol_says(topics: list[Any], error: int, session: int) -> None:
    data = FetchResponse_v11(0, error, session % 2**31, topics).encode()
    answer = decode_answer(data)
    expected = [(name, [(*row[:5], list(row[5] or ()), *row[6:]) for row in of_topic]) for name, of_topic in topics]
    assert answer == (11, error, session % 2**31, expected)


class Broker:
    """A broker with logs in memory, which keeps fetch sessions as KIP-227 says."""

    def __init__(self) -> None:
        self.ends = dict.fromkeys(PLACES, 0)
        self.sessions: dict[int, tuple[int, dict[TopicPartition, list[int]]]] = {}
        """By id the next epoch, and of each partition the offset to fetch from and the end told."""
        self.named: list[tuple[Any, int, int]] = []
        """Of each request its connection, and how many partitions it named and forgot."""
        self.opened = 0
        self.keeps_sessions = True
        self.is_away = False
        self.refused = asyncio.Semaphore(0)
        self.appended = asyncio.Event()

    def append(self, tp: TopicPartition, count: int = 1) -> None:
        self.ends[tp] += count
        self.appended.set()
        self.appended = asyncio.Event()

    def _find(self, request: Any) -> dict[TopicPartition, list[int]] | None:
        asked = {TopicPartition(name, row[0]): row[2] for name, rows in request.topics for row in rows}
        gone = [TopicPartition(name, number) for name, rows in request.forgotten_topics_data for number in rows]
        if request.session_epoch == 0:
            self.sessions.pop(request.session_id, None)
            self.opened += 1
            self.sessions[self.opened] = (1, {tp: [at, -1] for tp, at in asked.items()})
            return self.sessions[self.opened][1]
        epoch, known = self.sessions.get(request.session_id, (-1, {}))
        if epoch != request.session_epoch:
            return None
        self.sessions[request.session_id] = (epoch + 1, known)
        for tp in gone:
            del known[tp]
        for tp, at in asked.items():
            known[tp] = [at, known.get(tp, [0, -1])[1]]
        return known

    def _rows(self, known: dict[TopicPartition, list[int]]) -> list[Any]:
        found = []
        for tp, about in known.items():
            at, told = about
            end = self.ends[tp]
            if end > at or end != told:
                about[1] = end
                data = batch(at, ["a"] * (end - at)) if end > at else b""
                found.append((tp.topic, [(tp.partition, 0, end, end, 0, [], -1, data)]))
        return found

    async def send(self, node: int, request: Any, group: Any = None) -> Any:  # noqa: ARG002
        if self.is_away:
            self.refused.release()
            raise KafkaConnectionError
        sent = request.prepare({1: (4, 17)})
        found = FetchRequest_v11.decode(sent.encode())
        self.named.append((group, sum(len(rows) for _, rows in found.topics), len(found.forgotten_topics_data)))
        known = self._find(found)
        if known is None:
            return self._answered(sent, FetchResponse_v11(0, UNKNOWN_SESSION, 0, []))
        with suppress(TimeoutError):
            async with asyncio.timeout(found.max_wait_time / 1000):
                while not (rows := self._rows(known)):
                    await self.appended.wait()
        session = self.opened if found.session_epoch == 0 else found.session_id
        if not self.keeps_sessions:
            self.sessions.clear()
            session = 0
        return self._answered(sent, FetchResponse_v11(0, 0, session, rows))

    @staticmethod
    def _answered(sent: Any, answer: Any) -> Any:
        return sent.RESPONSE_TYPE.decode(BytesIO(answer.encode()))


class Reading:
    """A fetcher of all partitions of that broker."""

    def __init__(
        self,
        broker: Broker,
        priority_of: Callable[[str], Priority] | None = None,
        max_wait_ms: int = 50,
        retry_backoff_ms: int = 1,
    ) -> None:
        cluster = SimpleNamespace(leader_for_partition=lambda _: 0)
        client = SimpleNamespace(
            send=broker.send, cluster=cluster, _loop=asyncio.get_running_loop(), _metadata_max_age_ms=1000
        )
        subscriptions = SubscriptionState()
        subscriptions.assign_from_user(PLACES)
        self.assignment = subscriptions.subscription.assignment
        for tp in PLACES:
            self.assignment.state_value(tp).reset_to(0)
        self.fetcher = SessionFetcher(
            SessionClient(client),
            subscriptions,
            priority_of,
            isolation_level="read_committed",
            retry_backoff_ms=retry_backoff_ms,
            fetch_max_wait_ms=max_wait_ms,
        )
        self.taken: dict[TopicPartition, list[int]] = {tp: [] for tp in PLACES}

    async def take(self, timeout_s: float = 5.0) -> dict[TopicPartition, int]:
        """How many records of each partition come at a time."""
        fetched = await self.fetcher.fetched_records(PLACES, timeout_s)
        for tp, records in fetched.items():
            self.taken[tp] += [record.offset for record in records]
        return {tp: len(records) for tp, records in fetched.items()}

    async def take_all(self, broker: Broker) -> None:
        """Take until all that was appended was taken, once and in order."""
        while any(len(self.taken[tp]) < end for tp, end in broker.ends.items()):
            assert await self.take(), "nothing comes any more"
        assert self.taken == {tp: list(range(end)) for tp, end in broker.ends.items()}


def run(scenario: Callable[[Broker], Any]) -> None:
    async def running() -> None:
        await asyncio.wait_for(scenario(Broker()), 30.0)

    asyncio.run(running())


@pytest.mark.parametrize("keeps_sessions", [True, False])
def test_all_records_come_once_and_in_order(keeps_sessions: bool) -> None:
    async def scenario(broker: Broker) -> None:
        broker.keeps_sessions = keeps_sessions
        reading = Reading(broker)
        for number in range(40):
            broker.append(PLACES[number % len(PLACES)], number % 3 + 1)
            if number % 5:
                await reading.take_all(broker)
        await reading.take_all(broker)
        await reading.fetcher.close()
        named = [count for _, count, _ in broker.named]
        assert named[0] == len(PLACES)
        assert (max(named[1:]) < len(PLACES)) == keeps_sessions, "only what has changed is named"

    run(scenario)


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "discarded by a seek"])
def test_no_fetch_leaves_its_bytes_to_the_collector(taken: bool) -> None:
    async def scenario(broker: Broker) -> None:
        reading = Reading(broker)
        gc.collect()
        gc.disable()
        try:
            for tp in PLACES:
                broker.append(tp)
                if taken:
                    await reading.take_all(broker)
                    continue
                await reading.fetcher._create_fetch_waiter()
                reading.fetcher.seek_to(tp, broker.ends[tp])
            assert not [each for each in gc.get_objects() if isinstance(each, PartitionRecords)]
        finally:
            gc.enable()
        await reading.fetcher.close()

    run(scenario)


def test_a_session_that_the_broker_has_lost_is_begun_anew() -> None:
    async def scenario(broker: Broker) -> None:
        reading = Reading(broker)
        for tp in PLACES:
            broker.append(tp)
            await reading.take_all(broker)
            broker.sessions.clear()
        await reading.fetcher.close()

    run(scenario)


def test_a_request_that_failed_leaves_no_gap() -> None:
    async def scenario(broker: Broker) -> None:
        reading = Reading(broker)
        for tp in PLACES:
            broker.append(tp)
            await reading.take_all(broker)
            broker.is_away = True
            broker.append(tp)
            assert await reading.take(0.06) in ({}, {tp: 1})
            broker.is_away = False
        await reading.take_all(broker)
        await reading.fetcher.close()

    run(scenario)


def test_a_request_that_waits_to_be_sent_again_ends_with_the_fetcher() -> None:
    async def scenario(broker: Broker) -> None:
        reading = Reading(broker, PRIORITIES.__getitem__, retry_backoff_ms=60_000)
        broker.is_away = True
        for _ in Priority:
            await broker.refused.acquire()
        under_way = list(reading.fetcher._pending_tasks)
        await reading.fetcher.close()
        assert all(task.done() for task in under_way)

    run(scenario)


def test_after_a_seek_records_come_again() -> None:
    async def scenario(broker: Broker) -> None:
        reading = Reading(broker)
        broker.append(PLACES[0], 5)
        await reading.take_all(broker)
        reading.fetcher.seek_to(PLACES[0], 2)
        assert await reading.take() == {PLACES[0]: 3}
        assert reading.assignment.state_value(PLACES[0]).highwater == 5
        await reading.fetcher.close()

    run(scenario)


def test_the_end_of_a_partition_is_known_as_of_the_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(broker: Broker) -> None:
        reading = Reading(broker)
        broker.append(PLACES[0])
        await reading.take()
        monkeypatch.setattr(fetch_sessions.time, "time", lambda: 2_000_000_000.0)
        broker.append(PLACES[0])
        await reading.take()
        states = [reading.assignment.state_value(tp) for tp in PLACES]
        assert [state.highwater for state in states] == [2, 0, 0, 0, 0, 0]
        assert {state.timestamp for state in states} == {2_000_000_000_000}
        await reading.fetcher.close()

    run(scenario)


def test_what_was_appended_before_an_urgent_record_comes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_sessions, "PAUSE_S", dict.fromkeys(Priority, 1000.0) | {Priority.URGENT: 0.0})
    cart, browse, vectors = (TopicPartition(topic, 0) for topic in PRIORITIES)

    async def scenario(broker: Broker) -> None:
        reading = Reading(broker, PRIORITIES.__getitem__)
        for tp in (browse, vectors):
            broker.append(tp)
            assert await reading.take() == {tp: 1}, "whoever is idle is served at once"
            broker.append(tp)
        assert await reading.take(0.1) == {}, "they wait"
        broker.append(cart)
        assert await reading.take() == {cart: 1, browse: 1}
        assert {group for group, _, _ in broker.named} == set(Priority)
        await reading.fetcher.close()

    run(scenario)


def test_what_is_not_urgent_comes_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_sessions, "PAUSE_S", dict.fromkeys(Priority, 0.02))

    async def scenario(broker: Broker) -> None:
        reading = Reading(broker, PRIORITIES.__getitem__)
        for _ in range(10):
            broker.append(TopicPartition(VECTORS, 1))
            await reading.take_all(broker)
        await reading.fetcher.close()

    run(scenario)


def test_a_backlog_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_sessions, "PAUSE_S", dict.fromkeys(Priority, 1000.0) | {Priority.URGENT: 0.0})
    monkeypatch.setattr(fetch_sessions, "BACKLOG_BYTES", 100)

    async def scenario(broker: Broker) -> None:
        reading = Reading(broker, PRIORITIES.__getitem__)
        for _ in range(3):
            broker.append(TopicPartition(VECTORS, 0), 10)
            await reading.take_all(broker)
        await reading.fetcher.close()

    run(scenario)


def test_who_was_paused_does_not_wait_for_a_request_for_the_others() -> None:
    async def scenario(broker: Broker) -> None:
        reading = Reading(broker, PRIORITIES.__getitem__, max_wait_ms=60_000)
        paused = reading.assignment.state_value(PLACES[0])
        paused.pause()
        assert await reading.take(0.1) == {}
        assert broker.named, "the others are asked for"
        paused.resume()
        broker.append(PLACES[0])
        assert await reading.take() == {PLACES[0]: 1}
        await reading.fetcher.close()

    run(scenario)
