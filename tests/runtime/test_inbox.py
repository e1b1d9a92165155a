"""Ownership and chunks, in the order in which they came."""

import asyncio
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from stream_coupons.kafka.records import Membership, Record
from stream_coupons.runtime.inbox import NOTHING, Inbox, Ownership
from stream_coupons.runtime.source import Chunk

OWNED = frozenset({0, 1})


def event(offset: int, records: int = 2) -> Any:
    tp = TP("t", 0)
    chunk = Chunk(tp, [Record(*tp, offset + n, 0, b"k", b"v") for n in range(records)], offset, offset + records, 0)
    return SimpleNamespace(message=SimpleNamespace(tp=tp, value=[chunk]))


async def events(*all_of_them: Any) -> Any:
    for one in all_of_them:
        yield one


def test_a_partition_is_kept_only_by_the_same_member_in_the_next_generation() -> None:
    before = Ownership(OWNED, Membership("a", 4))
    assert Ownership(frozenset({1, 2}), Membership("a", 5)).keeps(before) == {1}
    assert Ownership(OWNED, Membership("a", 6)).keeps(before) == set(), "somebody may have owned it in generation 5"
    assert Ownership(OWNED, Membership("b", 5)).keeps(before) == set(), "the coordinator may have begun anew"
    assert Ownership(OWNED, Membership("a", 1)).keeps(NOTHING) == set()


def test_chunks_come_together_up_to_the_limit() -> None:
    async def run() -> list[list[int]]:
        inbox = Inbox()
        await inbox.consume(events(event(0), event(2), event(4)))
        return [[message.value[-1].end for message in await inbox.get(limit)] for limit in (3, 100)]

    assert asyncio.run(run()) == [[2, 4], [6]]


def test_a_new_ownership_comes_before_the_chunks_that_wait_and_wakes_whoever_waits() -> None:
    async def run() -> None:
        inbox = Inbox()
        await inbox.consume(events(event(0)))
        inbox.assign(OWNED, Membership("a", 1))
        assert await inbox.get(10) == []
        assert inbox.ownership.partitions == OWNED
        assert len(await inbox.get(10)) == 1
        waiting = asyncio.create_task(inbox.get(10))
        await asyncio.sleep(0)
        inbox.assign(frozenset(), Membership("a", 2))
        assert await asyncio.wait_for(waiting, 5) == []

    asyncio.run(run())


def test_when_the_time_is_up_nothing_is_taken_and_nothing_lost() -> None:
    async def run() -> None:
        inbox = Inbox()
        assert await inbox.get(10, 0.0) == []
        await inbox.consume(events(event(0)))
        assert len(await inbox.get(10, 0.0)) == 1

    asyncio.run(run())
