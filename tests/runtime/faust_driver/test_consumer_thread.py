import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import NoError
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from loopback.clients import create_topic
from loopback_kafka import BrokerProcess
from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.runtime.faust_driver.application import Application
from stream_coupons.runtime.faust_driver.consumer_thread import BatchConsumerThread, shares

POLL = 100


class Numbers:
    """In place of the records of a partition, and of where the client stands in it: where the next one is."""

    paused = False
    has_valid_position = True

    def __init__(self, count: int) -> None:
        self.highwater = count
        self.next_fetch_offset = 0

    def __iter__(self) -> "Numbers":
        return self

    def __next__(self) -> int:
        if self.next_fetch_offset == self.highwater:
            raise StopIteration
        self.next_fetch_offset += 1
        return self.next_fetch_offset - 1

    @property
    def position(self) -> int:
        return self.next_fetch_offset

    def consumed_to(self, offset: int) -> None:
        """It stands there already."""


class Thread(BatchConsumerThread):
    """The thread without a broker; aiokafka's own fetcher hands out what is held."""

    def __init__(
        self, held: dict[TP, int], elsewhere: Mapping[TP, int] = {}, gone: frozenset[TP] = frozenset()
    ) -> None:
        self.held_back: set[str] = set()
        self.noted: set[str] = set()
        self.transport = SimpleNamespace(
            between_agents=frozenset({"answers"}),
            may_fetch=lambda topic: topic not in self.held_back,
            note_fetched=lambda topics: self.noted.update(topics),
        )
        self.consumer = SimpleNamespace(flow_active=True)
        self.states = {tp: Numbers(records) for tp, records in {**held, **elsewhere}.items()}
        fetcher = Fetcher.__new__(Fetcher)
        fetcher._records = OrderedDict((tp, self.held(tp, self.states[tp])) for tp in held)
        fetcher._closed = False
        fetcher._wait_consume_future = SimpleNamespace(done=lambda: True)
        fetcher._subscriptions = SimpleNamespace(
            reassignment_in_progress=False, fetch_context=nullcontext, is_assigned=lambda _: True
        )
        self.client = SimpleNamespace(_fetcher=fetcher, _closed=False)
        self.active = {*self.states, *gone}

    @staticmethod
    def held(tp: TP, numbers: Numbers) -> FetchResult:
        assignment = SimpleNamespace(active=True, state_value=lambda _: numbers)
        return FetchResult(tp, assignment=assignment, partition_records=numbers, backoff=0)

    def _state_of(self, tp: TP) -> Numbers | None:
        return self.states.get(tp)

    def poll(self) -> dict[TP, int]:
        fetched = asyncio.run(self._fetch_records(self.client, self.active, 0.0, POLL))
        return {tp: len(records) for tp, records in fetched.items()}


BROWSE, CART, ANSWERS, TICKS = (TP(topic, 0) for topic in ("browse", "cart", "answers", "ticks"))


def test_a_topic_whose_circuit_is_open_is_left_where_it_is_and_the_others_are_taken() -> None:
    thread = Thread({BROWSE: 60, CART: 300, ANSWERS: 10})
    thread.held_back = {"cart"}
    assert thread.poll() == {BROWSE: 60, ANSWERS: 10}
    assert thread.noted == {"browse", "answers"}
    thread.held_back = {"cart", "browse", "answers"}
    assert thread.poll() == {}
    thread.held_back = set()
    assert thread.poll() == {CART: POLL}


def test_what_fits_is_taken_at_once() -> None:
    assert Thread({BROWSE: 60, CART: 30, ANSWERS: 10}).poll() == {BROWSE: 60, CART: 30, ANSWERS: 10}


def test_answers_do_not_wait_for_the_end_of_a_backlog() -> None:
    assert Thread({BROWSE: 9000, CART: 1000, ANSWERS: 70}).poll() == {ANSWERS: 70, BROWSE: 90, CART: 10}


def test_a_backlog_is_read_as_it_came() -> None:
    thread = Thread({CART: 1000, BROWSE: 9000})
    taken: dict[TP, int] = dict.fromkeys((CART, BROWSE), 0)
    while left := 10_000 - sum(taken.values()):
        for tp, count in thread.poll().items():
            taken[tp] += count
        if left > 2 * POLL:
            assert abs(taken[CART] / 1000 - taken[BROWSE] / 9000) < 0.02
    assert taken == {CART: 1000, BROWSE: 9000}


def test_nothing_stands_still_while_there_is_a_backlog() -> None:
    assert Thread({BROWSE: 1_000_000, TICKS: 3}).poll() == {BROWSE: 99, TICKS: 1}


def test_what_is_here_does_not_run_ahead_of_what_is_asked_for() -> None:
    assert Thread({CART: 1000}, elsewhere={BROWSE: 9000}).poll() == {CART: 10}


def test_a_partition_that_was_just_given_away_is_in_nobodys_way() -> None:
    assert Thread({BROWSE: 9000, CART: 1000}, gone=frozenset({TICKS})).poll() == {BROWSE: 90, CART: 10}


@given(
    st.dictionaries(st.builds(TP, st.sampled_from("abc"), st.integers(0, 3)), st.integers(0, 10**9)),
    st.integers(1, 5000),
)
def test_shares_are_no_more_than_there_is_and_than_was_asked_for(left: dict[TP, int], most: int) -> None:
    found = shares(left, most)
    assert sum(found.values()) <= most + len(left)
    assert found.keys() == {tp for tp, n in left.items() if n}
    assert all(share >= 1 and (share <= left[tp] or sum(left.values()) < most) for tp, share in found.items())


class Member(BatchConsumerThread):
    """Makes its consumer, and counts the answers to its heartbeats, in place of a thread."""

    def __init__(self, app: Application) -> None:
        self.app, self.transport, self.lease = app, app.transport, self
        self.answers: list[Any] = []
        self.has_five = asyncio.Event()

    def is_held(self, _at: float) -> bool:
        return True

    def note(self, _sent_at: float, error: Any) -> None:
        self.answers.append(error)
        if len(self.answers) == 5:
            self.has_five.set()


@pytest.mark.kafka
def test_a_member_that_has_nothing_to_fetch_for_days_stays_in_its_group(
    broker: BrokerProcess, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a learner that stands by: aiokafka lets a member leave that fetches nothing for a while."""
    monkeypatch.setattr(SubscriptionState, "fetcher_idle_time", 10 * 86400.0)
    create_topic(broker.bootstrap, unique, 1)
    app = Application(KafkaSettings(bootstrap=broker.bootstrap, heartbeat_interval_s=0.1), unique, 10, [])

    async def be_a_member() -> list[Any]:
        member = Member(app)
        consumer = member._create_worker_consumer(app.transport)
        consumer.subscribe([unique])
        await consumer.start()
        try:
            await asyncio.wait_for(member.has_five.wait(), 30.0)
        finally:
            await consumer.stop()
        return member.answers

    assert set(asyncio.run(be_a_member())) == {NoError}
