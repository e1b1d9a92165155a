"""Faust's consumer, but one message per fetch for each agent instead of one per record.

A message costs some 80 us on its way through Faust's conductor, streams and agents, and a fetch finds a record or two
in each of a dozen partitions. So a message holds chunks: what was fetched of each partition that the agent reads.

Delivery: the chunks of a partition form a chain, each beginning where the one before it ended. A loop takes a chunk
only if it is the next link, and acknowledges it when its effects are appended; what is committed is the end of the last
link acknowledged. Whatever gets lost between here and the loop therefore breaks the chain and is fetched again. Faust
0.15.3 needs that: it drops messages below the highest offset that it has seen, and its streams skip, and acknowledge,
what reaches them at the wrong moment of a rebalance. Its own path costs some 50 us a record and commits past records in
flight.

Offsets without a record for us (transaction markers, aborted records, compaction) are passed and committed, so that lag
reaches zero.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP
from mode.utils.futures import notify

from stream_coupons.kafka.contact import retry
from stream_coupons.kafka.records import Membership, Record
from stream_coupons.runtime.faust_driver.consumer_thread import BatchConsumerThread
from stream_coupons.runtime.source import Chunk

FETCH_AGAIN_PAUSE_S = 0.02
FETCH_TIMEOUT_S = 1.0
LEASE_CHECKED_EVERY_S = 0.2


class ThrownOut(Exception):
    """The group went on while chunks were in hand: the process was paused, or the network was cut or slow."""


class NoReadOffsets(dict[TP, int | None]):
    """The highest offsets seen, below which Faust drops messages without a line in the log: always empty."""

    def __missing__(self, tp: TP) -> None:
        """Nothing was seen."""

    def __setitem__(self, tp: TP, offset: int | None) -> None:
        """Nothing is remembered: links of a chain that is handed on again lie below, and must pass."""


class BatchConsumer(Consumer):  # type: ignore[misc]
    """Delivers messages whose value is a list of `Chunk`; see the module's text for the guarantee."""

    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._read_offset = NoReadOffsets()
        self._epoch = 0
        self._seeks = 0
        self._sought_in: int | None = None
        self._is_fetching = False
        self._rewinding: list[TP] = []
        self._handed: dict[TP, int] = {}
        self._taken: dict[TP, int] = {}
        self._done: dict[TP, int] = {}
        self._reached: dict[TP, float] = {}

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def is_member(self) -> bool:
        """True while the group cannot have given this worker's partitions away."""
        return self._thread.lease.is_held(time.monotonic())

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish what is in hand; end a worker that the group leaves behind meanwhile.

        Another worker then owns what it has in hand: it must neither be sent, nor wait for the next assignment. Records
        that are on their way to the broker may still arrive, so this process must not own their partitions again soon.
        Only a transaction fences them. While no coordinator answers, the group cannot go on either: that is waited for.
        """
        leaving = asyncio.ensure_future(super().on_partitions_revoked(revoked))
        try:
            while not leaving.done():
                if self._unacked_messages and self._thread.lease.is_lost and not self.transport.is_fenced:
                    await self.app.crash(ThrownOut("the group has given away the partitions of what is in hand"))
                    break
                await asyncio.wait([leaving], timeout=LEASE_CHECKED_EVERY_S)
            await leaving
        finally:
            leaving.cancel()
        self._epoch += 1

    def rejoin(self) -> None:
        """Join the group again, which assigns partitions anew."""
        self._thread.rejoin()

    def membership(self) -> Membership:
        """Return the membership that the coordinator gave last."""
        return self._thread.membership()

    @property
    def is_coordinated(self) -> bool:
        """True if it is in its group, and the coordination goes on: aiokafka's routine can end for good."""
        return self._thread.is_coordinated

    def _is_current(self, chunk: Chunk) -> bool:
        """Return whether a chunk is of the present assignment.

        One fetched before is delivered again, here or elsewhere: it must not be applied twice.
        """
        return chunk.epoch == self._epoch

    def _read_alike(self, tp: TP) -> list[TP]:
        """Return the partitions of this worker whose chunks come in the same messages as those of this one."""
        agents = self.transport.agents
        return [each for each in self.assignment() if agents[each.topic] == agents[tp.topic]]

    def on_buffer_full(self, tp: TP) -> None:
        """Fetch nothing more for an agent that does not keep up."""
        for each in self._read_alike(tp):
            super().on_buffer_full(each)

    def on_buffer_drop(self, tp: TP) -> None:
        """Fetch for it again."""
        for each in self._read_alike(tp):
            super().on_buffer_drop(each)

    async def perform_seek(self) -> None:
        """Begin every chain where the group has committed to, or at the first record."""
        self._seeks += 1
        epoch = self._epoch
        await retry("offsets cannot be read", self._seek_to_start, lambda: not self.should_stop)
        self._sought_in = epoch

    async def _seek_to_start(self) -> None:
        starts = await self._thread.seek_to_start()
        self._handed, self._taken, self._done = dict(starts), dict(starts), dict(starts)
        self._reached = {}
        self._committed_offset.update(starts)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand on what is fetched, all of a fetch at once.

        Faust's own waits some turns of the event loop for each message, in each of which other work may lie.
        """
        try:
            while not self.should_stop and not fetcher.should_stop:
                messages = [message async for _, message in self.getmany(FETCH_TIMEOUT_S)]
                if messages:
                    # Whoever stops the flow must not wait until a full buffer has room.
                    await self.wait_first(self._hand_on(messages), self.suspend_flow.wait())
        except (asyncio.CancelledError, *self.consumer_stopped_errors):
            # A worker that leaves amid a rebalance would crash on this, and leave with an error.
            if not self.app.should_stop:
                raise

    async def _hand_on(self, messages: Sequence[Any]) -> None:
        for message in messages:
            await self.callback(message)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 - Faust's signature
        """Fetch what is there and hand it on, a message per agent; what cannot be handed on is fetched again."""
        while not self.should_stop and not self._is_wanted():
            await self.sleep(FETCH_AGAIN_PAUSE_S)
        if self.should_stop:
            return
        epoch = self._epoch
        await self._prepare()
        seeks = self._seeks
        self._is_fetching = True
        fetched, active = await self._wait_next_records(timeout)
        if self.should_stop:
            return
        messages: dict[str, Any] = {}
        for tp, records in fetched.items():
            is_due = active is None or tp in active or tp in self._buffered_partitions
            is_stale = (
                self._seeks != seeks
                or self._epoch != epoch
                or not self.flow_active
                # Streams skip what reaches them before the rebalance has ended, and say nothing.
                or self.app.rebalancing
            )
            if not records:
                continue
            if is_stale or not is_due or tp not in self._handed:
                await self._fetch_again(tp, records[0].offset)
            else:
                agent = self.transport.agents[tp.topic]
                if agent not in messages:
                    messages[agent] = self._new_message(tp, records[-1])
                messages[agent].value.append(self._to_chunk(tp, records))
        self._is_fetching = False
        for message in messages.values():
            yield message.tp, message

    async def _prepare(self) -> None:
        """Bring positions in line with what was handed on, before the next fetch."""
        if self._sought_in != self._epoch:
            await self.perform_seek()
        elif self._is_fetching:
            # The last call was cancelled: what it fetched went nowhere, and not all of it may have been sought again.
            for tp in list(self._taken):
                await self._rewind(tp)
        else:
            self._pass_gaps()

    def _is_wanted(self) -> bool:
        """Return whether the flow is on and the loops can take chunks: each has the state of its partitions."""
        return self.flow_active and all(wants() for wants in self.transport.takers)

    def _pass_gaps(self) -> None:
        """Count as done what was fetched and held no record for us, where nothing is under way.

        While a seek is, the position is the one before it, and what lies between is no gap.
        """
        for tp, handed in self._handed.items():
            if tp in self._rewinding:
                continue
            position = self._thread.position_of(tp)
            if position is not None and position > handed == self._taken.get(tp) == self._done.get(tp):
                self._handed[tp] = self._taken[tp] = self._done[tp] = position

    async def _fetch_again(self, tp: TP, offset: int) -> None:
        """Seek back to records that the position has passed: this worker would lose them otherwise."""
        position = self._thread.position_of(tp) if tp in self.assignment() else None
        # Whoever seeks back lowers first what is handed on. His seek may still be under way, and the position the old
        # one: a seek behind his to these records would lose what lies between.
        offset = min(offset, self._handed.get(tp, offset))
        if position is not None and position > offset:
            await self._thread.seek_wait({TopicPartition(*tp): offset})
        await self.sleep(FETCH_AGAIN_PAUSE_S)

    async def _rewind(self, tp: TP) -> None:
        """Hand on again, from the last link that was taken."""
        taken = self._taken.get(tp)
        if taken is not None and tp in self.assignment():
            self._seeks += 1
            self._handed[tp] = taken
            self._rewinding.append(tp)
            try:
                await self._thread.seek_wait({TopicPartition(*tp): taken})
            finally:
                self._rewinding.remove(tp)

    def _new_message(self, tp: TP, record: Any) -> Any:
        message = self._to_message(tp, record)
        message.key, message.value = None, []
        return message

    def _to_chunk(self, tp: TP, fetched: list[Any]) -> Chunk:
        records = [
            Record(tp.topic, tp.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in fetched
        ]
        chunk = Chunk(tp, records, self._handed[tp], records[-1].offset + 1, self._epoch)
        self._handed[tp] = chunk.end
        return chunk

    def take(self, message: Any) -> list[Chunk]:
        """Return the chunks that are the next links of their chains; a missing link is handed on again first."""
        return [chunk for chunk in message.value if self._take(chunk)]

    def taken(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """Return, by topic, the offset behind the last record of a partition that a loop took; 0 if none was."""
        return {topic: self._taken.get(TP(topic, partition), 0) for topic in topics}

    async def ends(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """Return, by topic, the offset behind the last record of a partition, as the broker states now."""
        ends = await self.highwaters(*(TP(topic, partition) for topic in topics))
        return {tp.topic: end or 0 for tp, end in ends.items()}

    def _take(self, chunk: Chunk) -> bool:
        if not self._is_current(chunk):
            return False
        if self._taken.get(chunk.tp) != chunk.previous:
            self.add_future(self._rewind(chunk.tp))
            return False
        self._taken[chunk.tp] = chunk.end
        return True

    def acknowledge(self, message: Any, chunks: Sequence[Chunk], *, is_committed: bool = False) -> None:
        """Let the ends of chunks be committed: all their effects are appended.

        Parameters
        ----------
        message : faust.Message
            The message that they came in.
        chunks : sequence of Chunk
            Those of its chunks that were taken.
        is_committed : bool
            True if a transaction has committed the ends already.
        """
        message.acked = True
        self._unacked_messages.discard(message)
        notify(self._waiting_for_ack)  # a rebalance looks again only every second otherwise
        for chunk in chunks:
            if self._is_current(chunk) and chunk.tp in self._done:
                self._done[chunk.tp] = max(self._done[chunk.tp], chunk.end)
                if (appended_at := chunk.records[-1].appended_at) is not None:
                    self._reached[chunk.tp] = appended_at
                if is_committed:
                    self._committed_offset[chunk.tp] = chunk.end

    def reached(self, tps: Sequence[TP]) -> float | None:
        """Return the append time up to which these partitions are done, in epoch seconds; later records may not be.

        None while that is not known. What is read is not enough: after a crash it would be read again.
        """
        for tp in tps:
            end = self._thread.end_of(tp)
            if tp in self._done and end is not None and self._done[tp] >= end[0]:
                self._reached[tp] = end[1]
        return min(self._reached[tp] for tp in tps) if all(tp in self._reached for tp in tps) else None

    def ack(self, message: Any) -> bool:
        """Hand the chunks of a message on again: only a stream that skipped it calls this."""
        for chunk in message.value:
            if self._is_current(chunk):
                self.add_future(self._rewind(chunk.tp))
        return False

    async def commit_and_end_transactions(self) -> None:
        """Commit what is done, at the end of a rebalance or of the process; Faust skips it while a commit goes on.

        What is done and not committed its next owner applies again: at least once it sends the outputs again.
        """
        while await self.maybe_wait_for_commit_to_finish():
            pass
        await super().commit_and_end_transactions()

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        return [tp for tp in self._done if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        """Return the next offset to commit, if there is any."""
        return self._done.get(tp) or None

    def committed(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """Return, by topic, the offset from which a partition is delivered after a restart, as far as it is known."""
        offsets = ((topic, self._committed_offset.get(TP(topic, partition))) for topic in topics)
        return {topic: offset for topic, offset in offsets if offset is not None}

    async def committed_offsets(self, tps: Iterable[TP]) -> Mapping[TP, int]:
        """Return the offsets that the group has committed, as the broker states now; none where it never did."""
        return await self._thread.committed_offsets(tps)
