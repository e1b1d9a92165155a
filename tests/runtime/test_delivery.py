"""The order or the transaction in which results of a turn are appended, and the worker after a failed transaction."""

import asyncio
from collections.abc import Collection, Mapping
from itertools import count
from typing import Any

import pytest
from aiokafka.errors import (
    IllegalGenerationError,
    InvalidTxnState,
    KafkaError,
    ProducerFenced,
    TopicAuthorizationFailedError,
    UnknownError,
    UnknownMemberIdError,
)
from aiokafka.structs import TopicPartition

from stream_coupons.kafka.producer import BATCH_BYTES, ZSTD, Placed
from stream_coupons.kafka.records import Membership, Output
from stream_coupons.runtime import delivery
from stream_coupons.runtime.delivery import PRODUCERS, AtLeastOnce, ExactlyOnce, TransactionUndone

CHANGES = [Output("changelog", 1, b"k", b"cell"), Output("changelog", 3, b"k", b"cell")]
OUTPUTS = [Output("issues", 2, b"k", b"issue")]
OFFSETS = {TopicPartition("browse", 1): 7, TopicPartition("browse", 3): 9, TopicPartition("cart", 3): 2}
TURN = CHANGES, OUTPUTS, OFFSETS
FIRST, SECOND = Membership("m", 1), Membership("m", 2)
JOINED = [*["start"] * PRODUCERS, "abort orphans"]


class Producer:
    """Notes what it commits; fails with `error` if there is one."""

    def __init__(self, number: int, log: list[Any], error: KafkaError | None) -> None:
        self.number, self.log, self.error = number, log, error

    async def start(self) -> None:
        self.log.append("start")

    async def stop(self) -> None:
        self.log.append("stop")

    async def abort_orphans(self) -> None:
        self.log.append("abort orphans")

    async def commit(
        self, batches: Collection[Placed], offsets: Mapping[TopicPartition, int], membership: Membership
    ) -> None:
        if self.error is not None:
            raise self.error
        counts = {(tp.topic, tp.partition): batch.record_count() for tp, batch in batches}
        self.log.append((self.number, counts, {tuple(tp): offset for tp, offset in offsets.items()}, membership))


def exactly_once(error: KafkaError | None = None) -> tuple[ExactlyOnce, list[Any]]:
    log: list[Any] = []
    numbers = count()
    return ExactlyOnce(
        "g", lambda _: Producer(next(numbers), log, error), lambda agent: log.append(("failed", agent)), 60.0
    ), log


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PAUSE_S", 0.0)


def test_one_transaction_holds_cells_outputs_and_offsets_of_all_partitions() -> None:
    async def run() -> list[Any]:
        delivering, log = exactly_once()
        await delivering.join("users", FIRST)
        await delivering.deliver("users", *TURN)
        assert delivering.is_able
        await delivering.on_stop()
        return log

    batches = {("changelog", 1): 1, ("changelog", 3): 1, ("issues", 2): 1}
    *joined, (_, *committed), stop, other_stop = asyncio.run(run())
    assert (joined, stop, other_stop) == (JOINED, "stop", "stop")
    assert committed == [batches, OFFSETS, FIRST]


def test_producers_of_an_agent_take_turns_so_that_none_waits_for_its_last_transaction() -> None:
    async def run() -> list[Any]:
        delivering, log = exactly_once()
        await delivering.join("users", FIRST)
        for _ in range(4):
            await delivering.deliver("users", *TURN)
        return [number for number, *_ in log[len(JOINED) :]]

    assert asyncio.run(run()) in ([0, 1, 0, 1], [1, 0, 1, 0])


def test_it_commits_as_the_member_that_owned_the_partitions_when_they_were_taken_over() -> None:
    async def run() -> list[Any]:
        delivering, log = exactly_once()
        await delivering.join("users", FIRST)
        await delivering.join("users", SECOND)
        await delivering.deliver("users", *TURN)
        return log

    *joined, (*_, membership) = asyncio.run(run())
    same = "the same producers, however often it rebalances"
    assert (joined, membership) == ([*JOINED, "abort orphans"], SECOND), same


def test_a_new_member_has_producers_of_its_own_since_its_former_ones_may_be_aborted() -> None:
    async def run() -> list[Any]:
        delivering, log = exactly_once()
        await delivering.join("users", FIRST)
        await delivering.join("users", Membership("n", 2))
        await delivering.deliver("users", *TURN)
        return log

    *joined, (number, *_) = asyncio.run(run())
    assert joined == [*JOINED, *["stop"] * PRODUCERS, *JOINED]
    assert number >= PRODUCERS


def test_a_worker_whose_transaction_failed_is_not_able_any_more() -> None:
    async def run() -> list[Any]:
        delivering, log = exactly_once(TopicAuthorizationFailedError())
        await delivering.join("users", FIRST)
        with pytest.raises(TopicAuthorizationFailedError):
            await delivering.deliver("users", *TURN)
        assert not delivering.is_able
        return log

    assert asyncio.run(run())[len(JOINED) :] == [("failed", "users")]


@pytest.mark.parametrize("error", [IllegalGenerationError, InvalidTxnState, ProducerFenced, UnknownError])
def test_an_aborted_transaction_is_given_up_and_what_is_left_open_is_aborted_before_the_next(error: Any) -> None:
    async def run() -> list[Any]:
        delivering, log = exactly_once(error())
        await delivering.join("users", FIRST)
        with pytest.raises(TransactionUndone):
            await delivering.deliver("users", *TURN)
        await delivering.join("users", SECOND)
        return log

    assert asyncio.run(run()) == [*JOINED, ("failed", "users"), *["stop"] * PRODUCERS, *JOINED]


def test_a_worker_whose_transaction_is_overdue_is_not_able_until_it_is_committed() -> None:
    async def run() -> None:
        answered = asyncio.Event()
        unable: list[bool] = []

        class Waiting(Producer):
            async def commit(self, *_: Any) -> None:
                await answered.wait()

        def note(agent: str) -> None:
            unable.append(agent == "users" and not delivering.is_able)
            if len(unable) == 2:
                answered.set()

        delivering = ExactlyOnce("g", lambda _: Waiting(0, [], None), note, 0.01)
        await delivering.join("users", FIRST)
        await delivering.deliver("users", *TURN)
        assert unable == [True, True], "counted once more after as long again"
        assert delivering.is_able

    asyncio.run(run())


@pytest.mark.parametrize("is_overdue", [False, True])
def test_a_worker_is_able_again_once_an_aborted_transaction_is_given_up(is_overdue: bool) -> None:
    """It may have nothing to write for the rest of its life: other workers may own all partitions from then on."""
    able: list[bool] = []

    class Aborted(Producer):
        async def commit(self, *_: Any) -> None:
            if is_overdue:
                await noted.wait()
            raise UnknownMemberIdError

        async def stop(self) -> None:
            able.append(delivering.is_able)

    def note(_: str) -> None:
        able.append(delivering.is_able)
        noted.set()

    noted = asyncio.Event()
    delivering = ExactlyOnce("g", lambda _: Aborted(0, [], None), note, 0.01 if is_overdue else 60.0)

    async def run() -> None:
        await delivering.join("users", FIRST)
        with pytest.raises(TransactionUndone):
            await delivering.deliver("users", *TURN)

    asyncio.run(run())
    assert able
    assert not any(able), "as long as the agent still owns its partitions"
    assert delivering.is_able


def test_at_least_once_appends_all_cells_before_any_output() -> None:
    class Sender:
        is_able = True

        def __init__(self) -> None:
            self.sent: list[list[object]] = []

        async def deliver(self, outputs: list[Output], batch_bytes: int = BATCH_BYTES, codec: int = 0) -> None:
            self.sent.append([*(output.topic for output in outputs), batch_bytes, codec])

    sender = Sender()
    asyncio.run(AtLeastOnce({"users": sender}, 5000).deliver("users", *TURN))
    assert sender.sent == [["changelog", "changelog", 5000, ZSTD], ["issues", BATCH_BYTES, 0]], "cells: one batch"
    sender.is_able = False
    others = {"users": sender, "budgets": Sender()}
    assert not AtLeastOnce(others, 5000).is_able, "who cannot send is not covered by others who can"
