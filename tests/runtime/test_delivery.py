"""What a parcel's parts are appended in, and that no transaction is committed of which a record was refused."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced
from aiokafka.producer.message_accumulator import BatchBuilder

from stream_coupons.runtime import delivery
from stream_coupons.runtime.delivery import AtLeastOnce, ExactlyOnce, Parcel
from stream_coupons.runtime.records import Output

CHANGE, OUTPUT = Output("changelog", 1, b"k", b"cell"), Output("issues", 2, b"k", b"issue")
PARCELS = [Parcel(1, [CHANGE], [OUTPUT], {"browse": 7}), Parcel(3, [CHANGE], [], {"browse": 9, "cart": 2})]


class Producer:
    """Notes what it is told; `refused` topics and fenced producers fail."""

    def __init__(self, name: str, log: list[Any], refused: set[str]) -> None:
        self.name, self.log, self.refused = name, log, refused

    async def start(self) -> None:
        self.log.append((self.name, "start"))

    async def stop(self) -> None:
        self.log.append((self.name, "stop"))

    async def begin_transaction(self) -> None:
        self.log.append((self.name, "begin"))

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(10_000, 0)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> Awaitable[None]:  # noqa: ARG002
        self.log.append((self.name, topic))

        async def answer() -> None:
            if topic in self.refused:
                raise MessageSizeTooLargeError

        return asyncio.ensure_future(answer())

    async def send_offsets_to_transaction(self, offsets: dict[Any, int], group: str) -> None:
        named = {(tp.topic, tp.partition): offset for tp, offset in offsets.items()}
        self.log.append((self.name, group, named))
        if "fenced" in self.refused:
            raise ProducerFenced

    async def commit_transaction(self) -> None:
        self.log.append((self.name, "commit"))


def exactly_once(refused: set[str]) -> tuple[ExactlyOnce, list[Any]]:
    log: list[Any] = []
    return ExactlyOnce(lambda name: Producer(name, log, refused), "g", lambda agent: log.append(("failed", agent))), log


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PAUSE_S", 0.0)


def test_a_transaction_holds_cells_outputs_and_offsets_of_one_partition() -> None:
    async def run() -> list[Any]:
        delivering, log = exactly_once(set())
        await delivering.take_over("users", [1, 3])
        assert log == [("g-users-1", "start"), ("g-users-3", "start")], "one transactional id per agent and partition"
        log.clear()
        await delivering.deliver("users", PARCELS)
        assert delivering.is_able
        return [entry[1:] for entry in log if entry[0] == "g-users-1"]

    steps = asyncio.run(run())
    assert steps[0] == ("begin",)
    assert steps[-1] == ("commit",)
    assert set(map(str, steps[1:-1])) == {"('changelog',)", "('issues',)", "('g', {('browse', 1): 7})"}


@pytest.mark.parametrize("refused", ["issues", "fenced"])
def test_nothing_is_committed_of_which_a_part_was_refused(refused: str) -> None:
    async def run() -> list[Any]:
        delivering, log = exactly_once({refused})
        await delivering.take_over("users", [1])
        with pytest.raises((MessageSizeTooLargeError, ProducerFenced)):
            await delivering.deliver("users", PARCELS[:1])
        assert not delivering.is_able
        return log

    log = asyncio.run(run())
    assert ("g-users-1", "commit") not in log
    assert ("failed", "users") in log


def test_who_lets_go_disconnects_and_who_takes_over_again_fences_anew() -> None:
    async def run() -> list[Any]:
        delivering, log = exactly_once(set())
        await delivering.take_over("users", [1])
        await delivering.take_over("users", [1])
        await delivering.release("users", [1, 2])
        return log

    assert asyncio.run(run()) == [("g-users-1", what) for what in ("start", "stop", "start", "stop")]


def test_at_least_once_appends_all_cells_before_any_output() -> None:
    class Sender:
        is_able = True

        def __init__(self) -> None:
            self.sent: list[list[object]] = []

        async def deliver(self, outputs: list[Output], whole_bytes: int = 0) -> None:
            self.sent.append([*(output.topic for output in outputs), whole_bytes])

    sender = Sender()
    asyncio.run(AtLeastOnce({"users": sender}, 5000).deliver("users", PARCELS))
    assert sender.sent == [["changelog", "changelog", 5000], ["issues", 0]], "cells of a partition are one batch"
    sender.is_able = False
    others = {"users": sender, "budgets": Sender()}
    assert not AtLeastOnce(others, 5000).is_able, "who cannot send is not covered by others who can"
