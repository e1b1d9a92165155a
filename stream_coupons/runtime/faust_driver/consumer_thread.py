"""The thread in which Faust's consumer talks to the broker: connection, heartbeats, positions."""

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.structs import TopicPartition
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from stream_coupons.kafka.consumer import new_consumer
from stream_coupons.kafka.contact import connect
from stream_coupons.kafka.membership_lease import MembershipLease
from stream_coupons.kafka.records import Membership

HELD_BACK_PAUSE_S = 0.2


def shares(left: Mapping[TP, int], most: int) -> dict[TP, int]:
    """Return how many records to take of each partition, in proportion to what is left of it.

    One at least where there is any: whatever stands still for long ends the worker.

    Parameters
    ----------
    left : mapping
        Records left, by partition.
    most : int
        About the most records in all.

    Examples
    --------
    >>> shares({TP("browse", 0): 900, TP("cart", 0): 95, TP("ticks", 0): 5}, 100)
    {TP(topic='browse', partition=0): 90, TP(topic='cart', partition=0): 9, TP(topic='ticks', partition=0): 1}
    """
    total = sum(left.values())
    return {tp: max(most * n // total, 1) for tp, n in left.items() if n}


METADATA_MAX_AGE_MS = 10_000
"""Longest time between two requests for metadata.

A leader of the group that lost its connection before it knew the topics assigns nothing to anybody, and assigns anew
once it knows them."""


class BatchConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread that talks to the broker; heartbeats go on while our loop is busy."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        conf = self.app.conf
        self.lease = MembershipLease(float(conf.broker_session_timeout), float(conf.broker_rebalance_timeout))

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        """Faust's own would drop its co-partitioning assignor for an application without Faust tables."""
        conf = self.app.conf
        self._assignor = self.app.assignor
        return new_consumer(
            transport.connection,
            transport.priority_of,
            self.lease,
            self.transport.contact,
            patience_s=float(conf.broker_commit_interval),  # until then nothing counts as done anyway
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=transport.connection.instance_id or None,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset=conf.consumer_auto_offset_reset,
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=math.inf,  # who has no partitions fetches nothing; the watchdog ends a loop that hangs
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            isolation_level="read_committed",  # whatever is promised now, it may have been another guarantee before
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
        )

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None = None,
    ) -> dict[TP, list[Any]]:
        """Return fetched records; of more than fit, a fair share of each partition.

        aiokafka empties one partition before it looks at the next, and of a backlog it holds megabytes of each. So what
        agents tell each other comes first: else a decision would wait for the end of the backlog. All else comes in
        shares by what is left of it, as it would have come without a backlog. Topics whose circuits are open are left
        where they are; once nothing else is to be fetched, there is nothing to wait for.
        """
        active_partitions = {tp for tp in active_partitions if self.transport.may_fetch(tp.topic)}
        if not active_partitions:  # aiokafka takes none for all
            await asyncio.sleep(HELD_BACK_PAUSE_S)
            return {}
        fetched = await self._fetch_active(consumer, active_partitions, timeout, max_records)
        self.transport.note_fetched({tp.topic for tp in fetched})
        return fetched

    async def _fetch_active(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None,
    ) -> dict[TP, list[Any]]:
        filled = {
            tp
            for tp, answer in consumer._fetcher._records.items()
            if tp in active_partitions and isinstance(answer, FetchResult)
        }
        told = {tp for tp in filled if tp.topic in self.transport.between_agents}
        fetched: dict[TP, list[Any]] = {}
        if max_records is not None and sum(map(self._left, filled - told)) > max_records:
            if told:
                fetched |= await super()._fetch_records(consumer, told, 0.0, max_records)
            # Of those, too, that the broker is being asked for: others must not run ahead of them.
            left = {tp: self._left(tp) for tp in active_partitions if tp.topic not in self.transport.between_agents}
            for tp, share in shares(left, max_records).items():
                if tp in filled:
                    fetched |= await super()._fetch_records(consumer, {tp}, 0.0, share)
        return fetched or dict(await super()._fetch_records(consumer, active_partitions, timeout, max_records))

    def _left(self, tp: TP) -> int:
        """Return how many records of a partition are still to be taken, as far as it is known."""
        state = self._state_of(tp)
        return 0 if state is None else max((state.highwater or 0) - state.position, 0)

    async def seek_to_start(self) -> dict[TP, int]:
        """Seek every partition to what is committed, or to its first record where nothing ever was."""
        return dict(await self.call_thread(self._seek_to_start))

    async def _seek_to_start(self) -> dict[TP, int]:
        consumer = self._ensure_consumer()
        assigned = sorted(consumer.assignment())
        starts = await self._committed_offsets(assigned)
        if fresh := [tp for tp in assigned if tp not in starts]:
            await consumer.seek_to_beginning(*fresh)
            starts |= {TP(*tp): await consumer.position(tp) for tp in fresh}
        for tp, offset in starts.items():
            consumer.seek(TopicPartition(*tp), offset)
        return starts

    async def committed_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        """Return the offsets that the group has committed, as the broker states now."""
        return dict(await self.call_thread(self._committed_offsets, [TopicPartition(*tp) for tp in tps]))

    async def _committed_offsets(self, tps: list[TopicPartition]) -> dict[TP, int]:
        committed = await self._ensure_consumer()._coordinator.fetch_committed_offsets(tps) if tps else {}
        return {TP(tp.topic, tp.partition): at.offset for tp, at in committed.items() if at.offset >= 0}

    async def on_start(self) -> None:
        """Connect, as soon as a broker answers."""
        await connect(super().on_start, lambda: self._ensure_consumer().stop())

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Report no slow partition: Faust does not see our fetches, and the watchdog finds what stands still.

        Parameters
        ----------
        now : float
            Monotonic seconds.
        tp : TP
            A partition.
        """

    def rejoin(self) -> None:
        """Join the group again."""
        self.thread_loop.call_soon_threadsafe(self._ensure_consumer()._coordinator.request_rejoin)

    def membership(self) -> Membership:
        """Return the membership that the coordinator gave last."""
        coordinator = self._ensure_consumer()._coordinator
        return Membership(str(coordinator.member_id), int(coordinator.generation))

    @property
    def is_coordinated(self) -> bool:
        """True if it is a member of its group and the coordination goes on."""
        coordinator = None if self._consumer is None else self._consumer._coordinator
        return coordinator is not None and coordinator.generation > 0 and not coordinator._coordination_task.done()

    def position_of(self, tp: TP) -> int | None:
        """Return the next offset to fetch, without waiting; None while it is not known."""
        state = self._state_of(tp)
        return None if state is None else int(state.position)

    def end_of(self, tp: TP) -> tuple[int, float] | None:
        """Return the last known end of a partition and the time of that (epoch seconds); None while it is not known."""
        state = self._state_of(tp)
        if state is None or state.timestamp is None:
            return None
        told_at = state.timestamp / 1000.0  # first: the other thread may just now set a later end, and then its time
        return state.highwater, told_at

    def _state_of(self, tp: TP) -> Any:
        """Return the client's state of a partition; None without a known position, or if another worker owns it."""
        assignment = self._ensure_consumer()._subscription.subscription.assignment
        state = None if assignment is None else assignment.state_value(TopicPartition(*tp))
        return state if state is not None and state.has_valid_position else None
