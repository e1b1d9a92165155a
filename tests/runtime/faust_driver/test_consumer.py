"""The chain of chunks: whatever is lost between the broker and the loop is fetched again, and never skipped."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiokafka.errors import IllegalGenerationError, NoError, UnknownMemberIdError
from faust.types import TP

from stream_coupons.kafka.membership_lease import MembershipLease
from stream_coupons.runtime.faust_driver import consumer
from stream_coupons.runtime.faust_driver.consumer import BatchConsumer, NoReadOffsets, ThrownOut

HERE, THERE, ELSEWHERE = TP("coupon-feedback", 0), TP("coupon-feedback", 1), TP("lease-reports", 0)
AGENTS = {HERE.topic: "users", ELSEWHERE.topic: "budgets"}


class Fetched(NamedTuple):
    """A record, appended a second after the one before it."""

    offset: int
    timestamp: int
    key: bytes = b""
    value: bytes = b""
    headers: tuple[Any, ...] = ()


class Log:
    """The thread that talks to the broker, over logs in memory; two records are fetched at a time."""

    def __init__(self, logs: dict[TP, list[int]], committed: dict[TP, int]) -> None:
        self.logs = logs
        self.committed = committed
        self.positions = dict.fromkeys(logs, 0)
        self.gaps: dict[TP, int] = {}
        """Where the position stands after all records were fetched: behind markers, say."""
        self.now = 1000.0

    def end_of(self, tp: TP) -> tuple[int, float] | None:
        if tp not in self.logs:
            return None
        return max([self.gaps.get(tp, 0), *(offset + 1 for offset in self.logs[tp])]), self.now

    async def seek_to_start(self) -> dict[TP, int]:
        self.positions = {tp: self.committed.get(tp, 0) for tp in self.logs}
        return dict(self.positions)

    async def seek_wait(self, offsets: dict[Any, int]) -> None:
        self.positions |= {TP(tp.topic, tp.partition): offset for tp, offset in offsets.items()}

    def position_of(self, tp: TP) -> int:
        return self.positions[tp]

    def fetch(self) -> dict[TP, list[Any]]:
        fetched = {}
        for tp, log in self.logs.items():
            found = [offset for offset in log if offset >= self.positions[tp]][:2]
            if found:
                self.positions[tp] = found[-1] + 1
                fetched[tp] = [Fetched(o, o * 1000) for o in found]
            elif log:
                self.positions[tp] = max(self.positions[tp], self.gaps.get(tp, 0))
        return fetched


class Consumer(BatchConsumer):
    """The consumer without Faust around it."""

    should_stop = False

    def __init__(self, logs: dict[TP, list[int]], committed: dict[TP, int] | None = None) -> None:
        self.app = SimpleNamespace(rebalancing=False, should_stop=False)
        self.transport = SimpleNamespace(takers=[], agents=AGENTS)
        self.flow_active = True
        self._thread = Log(logs, committed or {})
        self._read_offset = NoReadOffsets()
        self._committed_offset = {}
        self._unacked_messages = set()
        self._buffered_partitions = set()
        self._epoch, self._seeks, self._sought_in, self._is_fetching = 0, 0, None, False
        self._rewinding = []
        self._handed, self._taken, self._done, self._reached = {}, {}, {}, {}
        self.during_fetch = lambda: None
        self.futures: list[Any] = []

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:  # noqa: ARG002, ASYNC109
        fetched = self._thread.fetch()
        self.during_fetch()
        return fetched, None

    def _to_message(self, tp: TP, record: Any) -> Any:  # noqa: ARG002
        return Message(tp)

    def assignment(self) -> set[TP]:
        return set(self._thread.logs)

    def add_future(self, coro: Any) -> Any:
        self.futures.append(coro)

    async def sleep(self, _n: float, **_: Any) -> None:
        """Take no time."""

    def get(self) -> list[Any]:
        """What is handed on by one fetch."""

        async def get() -> list[Any]:
            for future in self.futures:
                await future
            self.futures.clear()
            return [message async for _, message in self.getmany(0.0)]

        return asyncio.run(get())

    def take_all(self, messages: list[Any]) -> list[int]:
        """What a loop takes of these: the offsets."""
        taken = []
        for message in messages:
            chunks = self.take(message)
            self.acknowledge(message, chunks)
            taken += [record.offset for chunk in chunks for record in chunk.records]
        return taken

    def run(self) -> list[int]:
        """Take all that there is."""
        offsets: list[int] = []
        while messages := self.get() or (self.futures and self.get()):
            offsets += self.take_all(messages)
        return offsets


class BusyLog(Log):
    """The thread where it has much to do: calls wait in a queue, and their answers for the loop to come round."""

    def __init__(self, logs: dict[TP, list[int]]) -> None:
        super().__init__(logs, {})
        self.waiting: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()

    def call(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append((answer, function))
        return answer

    def call_next(self) -> Callable[[], None]:
        """Do what was asked for first; what is returned brings the loop the answer."""
        answer, function = self.waiting.popleft()
        return partial(answer.set_result, function())

    async def seek_wait(self, offsets: dict[Any, int]) -> None:
        await self.call(lambda: self.positions.update({TP(*tp): offset for tp, offset in offsets.items()}))


class BusyConsumer(Consumer):
    """The consumer with such a thread."""

    _thread: BusyLog

    def __init__(self, logs: dict[TP, list[int]]) -> None:
        super().__init__(logs)
        self._thread = BusyLog(logs)

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:  # noqa: ARG002, ASYNC109
        return await self._thread.call(self._thread.fetch), None

    def add_future(self, coro: Any) -> Any:
        self.futures.append(asyncio.ensure_future(coro))

    async def begin_fetch(self) -> asyncio.Task[list[Any]]:
        """Ask for what is next, and let the thread wait."""
        fetch = asyncio.ensure_future(self._messages())
        await asyncio.sleep(0)
        return fetch

    async def _messages(self) -> list[Any]:
        return [message async for _, message in self.getmany(0.0)]

    async def end(self, fetch: asyncio.Task[list[Any]]) -> list[Any]:
        """What is handed on, once the thread has done all that it was asked for."""
        while not fetch.done():
            while self._thread.waiting:
                self._thread.call_next()()
            await asyncio.sleep(0)
        return fetch.result()

    async def fetch(self) -> list[Any]:
        return await self.end(await self.begin_fetch())


class Message:
    """Faust's, as far as it is looked at."""

    def __init__(self, tp: TP) -> None:
        self.tp, self.acked = tp, False
        self.key: Any = None
        self.value: Any = None


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "FETCH_AGAIN_PAUSE_S", 0.0)


def test_all_records_are_taken_once_from_where_was_committed_or_from_the_first() -> None:
    reading = Consumer({HERE: [0, 1, 2, 3, 4], THERE: [5, 6, 7, 9]}, {THERE: 6})
    assert sorted(reading.run()) == [0, 1, 2, 3, 4, 6, 7, 9]
    assert (reading._new_offset(HERE), reading._new_offset(THERE)) == (5, 10)


def test_what_was_fetched_when_the_flow_stopped_is_fetched_again() -> None:
    reading = Consumer({HERE: [0, 1, 2], THERE: [7, 8]}, {THERE: 7})

    def stop() -> None:
        reading.flow_active = False

    reading.during_fetch = stop
    assert reading.get() == []
    assert reading._thread.positions == {HERE: 0, THERE: 7}
    reading.flow_active, reading.during_fetch = True, lambda: None
    assert sorted(reading.run()) == [0, 1, 2, 7, 8]


def test_what_was_fetched_before_a_rebalance_is_not_handed_on_after_it() -> None:
    reading = Consumer({HERE: list(range(6))})
    reading.take_all(reading.get())
    reading._thread.committed = {HERE: 1}

    def rebalance() -> None:
        reading._epoch += 1

    reading.during_fetch = rebalance
    assert reading.get() == []
    reading.during_fetch = lambda: None
    assert reading.run() == [1, 2, 3, 4, 5], "from what is committed, in order, without a gap"


def test_a_chunk_that_a_stream_skipped_is_handed_on_again_and_nothing_overtakes_it() -> None:
    reading = Consumer({HERE: list(range(8))})
    assert reading.take_all(reading.get()) == [0, 1]
    [skipped] = reading.get()
    assert reading.ack(skipped) is False
    assert reading._new_offset(HERE) == 2, "what was not applied is never committed"
    assert reading.run() == [2, 3, 4, 5, 6, 7]
    assert reading._new_offset(HERE) == 8


def test_a_chunk_that_vanished_is_noticed_by_the_next_one() -> None:
    reading = Consumer({HERE: list(range(8))})
    assert reading.take_all(reading.get()) == [0, 1]
    reading.get()
    assert reading.take_all(reading.get()) == []
    assert reading.run() == [2, 3, 4, 5, 6, 7]


def test_what_a_cancelled_fetch_took_along_is_fetched_again() -> None:
    reading = Consumer({HERE: list(range(4)), THERE: [3]})
    reading.take_all(reading.get())

    def cancel() -> None:
        raise asyncio.CancelledError

    reading.during_fetch = cancel
    with pytest.raises(asyncio.CancelledError):
        reading.get()
    reading.during_fetch = lambda: None
    assert reading.run() == [2, 3]


def test_what_a_fetch_brings_while_the_seek_back_waits_does_not_hide_what_lies_between() -> None:
    async def read() -> list[int]:
        taken = reading.take_all(await reading.fetch())
        [skipped] = await reading.fetch()
        fetch = await reading.begin_fetch()
        reading.ack(skipped)
        bring_answer = reading._thread.call_next()
        await asyncio.sleep(0)
        assert (reading._thread.positions[HERE], reading._handed[HERE]) == (6, 2), "the seek back waits"
        bring_answer()
        await asyncio.sleep(0)
        taken += reading.take_all(await reading.end(fetch))
        while messages := await reading.fetch():
            taken += reading.take_all(messages)
        return taken

    reading = BusyConsumer({HERE: list(range(10))})
    assert asyncio.run(read()) == list(range(10))
    assert reading._new_offset(HERE) == 10


def test_what_is_to_be_handed_on_again_is_no_gap_while_the_seek_back_waits() -> None:
    async def read() -> int | None:
        reading.take_all(await reading.fetch())
        [skipped] = await reading.fetch()
        reading.ack(skipped)
        await asyncio.sleep(0)
        fetch = await reading.begin_fetch()
        to_be_committed = reading._new_offset(HERE)
        assert reading.take_all(await reading.end(fetch)) == [2, 3]
        return to_be_committed

    reading = BusyConsumer({HERE: list(range(4))})
    assert asyncio.run(read()) == 2
    assert reading._new_offset(HERE) == 4


def test_what_is_left_when_seeking_again_is_cancelled_is_fetched_again() -> None:
    reading = Consumer({HERE: list(range(6)), THERE: list(range(6))})
    assert sorted(reading.take_all(reading.get())) == [0, 0, 1, 1]
    seeks: list[Any] = []

    async def seek_one_of_two(offsets: dict[Any, int]) -> None:
        if seeks:
            raise asyncio.CancelledError
        seeks.append(offsets)
        await Log.seek_wait(reading._thread, offsets)

    def stop() -> None:
        reading.flow_active = False

    reading.during_fetch, reading._thread.seek_wait = stop, seek_one_of_two
    with pytest.raises(asyncio.CancelledError):
        reading.get()
    del reading._thread.seek_wait
    reading.flow_active, reading.during_fetch = True, lambda: None
    assert sorted(reading.run()) == [2, 2, 3, 3, 4, 4, 5, 5]
    assert (reading._new_offset(HERE), reading._new_offset(THERE)) == (6, 6)


def test_offsets_without_records_are_committed_when_nothing_is_under_way() -> None:
    reading = Consumer({HERE: [0, 1]})
    reading._thread.gaps = {HERE: 5}
    [message] = reading.get()
    chunks = reading.take(message)
    assert chunks
    reading.get()
    reading.get()
    assert reading._new_offset(HERE) is None, "records before the markers are not done"
    reading.acknowledge(message, chunks)
    reading.get()
    assert reading._new_offset(HERE) == 5


def test_a_chunk_of_an_earlier_assignment_is_neither_taken_nor_committed() -> None:
    reading = Consumer({HERE: [0, 1]})
    [message] = reading.get()
    chunks = reading.take(message)
    assert chunks
    reading._epoch += 1
    reading.acknowledge(message, chunks)
    assert message.acked, "Faust waits for it no longer"
    assert reading._new_offset(HERE) is None
    assert not reading.take(message)


def test_who_waits_for_what_is_in_hand_is_told_when_it_is_acknowledged() -> None:
    """A rebalance would take a second longer: Faust looks again only then."""
    reading = Consumer({HERE: [0, 1]})
    [message] = reading.get()
    chunks = reading.take(message)

    async def acknowledge() -> bool:
        reading._waiting_for_ack = asyncio.get_running_loop().create_future()
        reading.acknowledge(message, chunks)
        return bool(reading._waiting_for_ack.done())

    assert asyncio.run(acknowledge())


def test_who_gives_partitions_back_commits_what_was_done_while_another_commit_went_on() -> None:
    reading = Consumer({HERE: [0, 1]})
    [message] = reading.get()
    chunks = reading.take(message)
    committed: list[int | None] = []

    async def force_commit(*_: Any, **__: Any) -> bool:
        committed.append(reading._new_offset(HERE))
        await asyncio.sleep(0)
        return True

    async def give_back() -> None:
        reading.app.client_only = False
        reading._commit_fut, reading.loop = None, asyncio.get_running_loop()
        reading.force_commit = force_commit
        by_the_clock = asyncio.ensure_future(reading.commit())
        await asyncio.sleep(0)
        reading.acknowledge(message, chunks)
        await reading.commit_and_end_transactions()
        await by_the_clock

    asyncio.run(give_back())
    assert committed == [None, 2]


@pytest.mark.parametrize(
    ("error", "is_fenced", "ends_worker"),
    [
        (UnknownMemberIdError, False, True),
        (IllegalGenerationError, False, True),
        (UnknownMemberIdError, True, False),
        (None, False, False),
    ],
)
@pytest.mark.parametrize("stated_after_s", [0.0, 0.05])
def test_a_worker_that_is_left_behind_amid_work_ends_and_one_that_hears_nothing_waits(
    error: Any, is_fenced: bool, ends_worker: bool, stated_after_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be stated before the revocation begins, or while that waits for what is in hand."""
    monkeypatch.setattr(consumer, "LEASE_CHECKED_EVERY_S", 0.005)
    ends: list[BaseException] = []

    async def revoke() -> None:
        reading, is_done = Consumer({HERE: [0]}), asyncio.Event()

        async def wait_for_what_is_in_hand(revoked: set[TP]) -> None:
            assert revoked == {HERE}
            await is_done.wait()
            reading._unacked_messages.clear()

        async def crash(reason: BaseException) -> None:
            ends.append(reason)
            is_done.set()

        monkeypatch.setattr(
            consumer.Consumer, "on_partitions_revoked", lambda _, revoked: wait_for_what_is_in_hand(revoked)
        )
        reading.app.crash = crash
        lease = reading._thread.lease = MembershipLease(60.0, 60.0)
        lease.note(time.monotonic() - 120.0, NoError)  # it has run out
        loop = asyncio.get_running_loop()
        if error is not None:
            loop.call_later(stated_after_s, lease.note, time.monotonic(), error)
        reading.transport.is_fenced = is_fenced
        reading._unacked_messages.add(Message(HERE))
        loop.call_later(0.2, is_done.set)
        await reading.on_partitions_revoked({HERE})
        assert reading._epoch == 1

    asyncio.run(revoke())
    assert [type(end) for end in ends] == [ThrownOut] * ends_worker


def test_nothing_is_fetched_before_every_loop_has_its_state() -> None:
    reading = Consumer({HERE: [0, 1]})
    answers = iter([False, False, True])
    reading.transport.takers.append(lambda: next(answers))
    assert len(reading.get()) == 1
    assert next(answers, "all asked") == "all asked"


def test_nothing_is_dropped_for_lying_below_what_was_read() -> None:
    read = NoReadOffsets()
    read[HERE] = 10
    assert read[HERE] is None


def drained(reading: Consumer, room: int, *, stops_flow: bool = False) -> list[Any]:
    """What reaches a buffer with so much room from one fetch."""

    async def drain() -> list[Any]:
        buffer: asyncio.Queue[Any] = asyncio.Queue(room)
        fetcher = SimpleNamespace(should_stop=False)
        reading.suspend_flow = asyncio.Event()

        async def callback(message: Any) -> None:
            if stops_flow and buffer.full():
                reading.suspend_flow.set()
            await buffer.put(message)

        async def wait_first(*waiting: Any) -> None:
            tasks = [asyncio.ensure_future(one) for one in waiting]
            _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            fetcher.should_stop = True

        reading.callback, reading.wait_first = callback, wait_first
        await asyncio.wait_for(reading._drain_messages(fetcher), 5.0)
        return [buffer.get_nowait() for _ in range(buffer.qsize())]

    return asyncio.run(drain())


def test_all_chunks_of_a_fetch_are_handed_on_together_in_a_message_for_each_agent() -> None:
    reading = Consumer({HERE: [0, 1], ELSEWHERE: [7], THERE: [3]})
    messages = drained(reading, 9)
    assert [[chunk.tp for chunk in message.value] for message in messages] == [[HERE, THERE], [ELSEWHERE]]
    assert reading.take_all(messages) == [0, 1, 3, 7]


def test_of_a_message_only_the_chunks_are_taken_that_are_next() -> None:
    reading = Consumer({HERE: list(range(4)), THERE: [5, 6, 7, 8]})
    [first] = reading.get()
    first.value = [chunk for chunk in first.value if chunk.tp == HERE]
    assert reading.take_all([first]) == [0, 1]
    assert reading.take_all(reading.get()) == [2, 3]
    assert reading.run() == [5, 6, 7, 8]


def test_an_agent_that_does_not_keep_up_is_fetched_nothing_more_and_others_are() -> None:
    reading = Consumer({HERE: [0], ELSEWHERE: [7], THERE: [3]})
    reading.app.in_recovery = False
    reading._active_partitions = {HERE, THERE, ELSEWHERE}
    reading.on_buffer_full(THERE)
    assert reading._get_active_partitions() == {ELSEWHERE}
    reading.on_buffer_drop(THERE)
    assert reading._get_active_partitions() == {HERE, THERE, ELSEWHERE}


def test_who_stops_the_flow_does_not_wait_for_a_full_buffer_and_what_had_no_room_comes_again() -> None:
    reading = Consumer({HERE: [0, 1], ELSEWHERE: [3]}, {ELSEWHERE: 3})
    assert reading.take_all(drained(reading, 1, stops_flow=True)) == [0, 1]
    reading._thread.committed[HERE] = 2
    reading._epoch += 1  # the flow goes on after a rebalance
    assert reading.run() == [3]


@pytest.mark.parametrize("is_leaving", [False, True])
def test_a_worker_that_leaves_amid_a_fetch_leaves_in_peace(is_leaving: bool) -> None:
    reading = Consumer({HERE: [0, 1]})
    reading.app.should_stop = is_leaving

    def cancel() -> None:
        raise asyncio.CancelledError

    reading.during_fetch = cancel
    with nullcontext() if is_leaving else pytest.raises(asyncio.CancelledError):
        assert drained(reading, 9) == []


def test_time_has_come_as_far_as_what_is_done_where_more_is_left() -> None:
    reading = Consumer({HERE: list(range(6))})
    assert reading.reached([HERE]) is None, "nothing is known of it yet"
    [message] = reading.get()
    assert reading.reached([HERE]) is None
    chunks = reading.take(message)
    assert reading.reached([HERE]) is None, "what is only read would be read again after a crash"
    reading.acknowledge(message, chunks)
    assert reading.reached([HERE]) == 1.0
    [message] = reading.get()
    assert reading.reached([HERE]) == 1.0
    reading.take_all([message])
    assert reading.reached([HERE]) == 3.0
    assert reading.take_all(reading.get()) == [4, 5]
    assert reading.reached([HERE]) == 1000.0, "the time at which the broker had no more"


def test_time_stands_for_what_came_since_and_goes_by_the_partition_that_is_furthest_behind() -> None:
    reading = Consumer({HERE: [0, 1], THERE: [], ELSEWHERE: list(range(10))})
    reading.take_all(reading.get())
    assert reading.reached([HERE, THERE]) == 1000.0
    assert reading.reached([HERE, THERE, ELSEWHERE]) == 1.0
    reading._thread.logs[HERE].append(2)
    reading._thread.now = 1005.0
    assert reading.reached([THERE]) == 1005.0
    assert reading.reached([HERE, THERE]) == 1000.0, "of the record that came since, it is not known when"
    assert reading.reached([HERE, TP("nobody's", 0)]) is None


def test_time_goes_on_behind_offsets_without_records() -> None:
    reading = Consumer({HERE: [0, 1]})
    reading._thread.gaps = {HERE: 5}
    reading.take_all(reading.get())
    assert reading.reached([HERE]) == 1.0
    reading.get()
    reading.get()
    assert reading.reached([HERE]) == 1000.0


def test_after_a_rebalance_it_is_not_known_how_far_time_has_come() -> None:
    reading = Consumer({HERE: list(range(6))})
    reading.take_all(reading.get())
    reading._epoch += 1
    reading.get()
    assert reading.reached([HERE]) is None
