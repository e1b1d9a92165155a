"""The composition root: settings, topics, tables, metrics, models and agents become a Faust application."""

import tempfile
import time
from collections.abc import Hashable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Protocol

import faust
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faust.types import TP
from mode import Service
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from stream_coupons import topics
from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.agents.learner import READS, Learner
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.reporting import BatchReporter, BudgetReporter
from stream_coupons.agents.users import Users
from stream_coupons.agents.wire import sources
from stream_coupons.codec import encode
from stream_coupons.connection import Connection
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.events import ModelSnapshot, Tick
from stream_coupons.endpoint import Endpoint
from stream_coupons.known import CurrentKnowledge
from stream_coupons.metrics import Metrics
from stream_coupons.models.snapshots import with_possible_origins
from stream_coupons.runtime.batch import Batches
from stream_coupons.runtime.changelog import KafkaChangelog, ends_of
from stream_coupons.runtime.circuit_breaker import CircuitBreaker
from stream_coupons.runtime.consumer import BatchTransport
from stream_coupons.runtime.delivery import RETRY_PAUSE_MS, AtLeastOnce, Delivery, ExactlyOnce
from stream_coupons.runtime.follower import Follower, Read, Reading
from stream_coupons.runtime.inbox import Inbox
from stream_coupons.runtime.lane import Lane
from stream_coupons.runtime.producer import Sender, new_producer
from stream_coupons.runtime.records import Output
from stream_coupons.runtime.stores import MemoryStores, Stores
from stream_coupons.settings import Guarantee, Settings, Store, WorkerSettings
from stream_coupons.topics import Topic

TABLE_OF = {"users": "users", "neighbours": "cells", "budgets": "coupons"}
AGENTS = (*TABLE_OF, "learner")
REPORT_EVERY_S = 1.0
LIVE_WITHIN_S = 30.0
"""Seconds for which the event loop may hang before a worker counts as dead; the longest pauses take a few."""
BESIDE_A_CELL_BYTES = 4096
"""Room in a changelog's record for its key, and for what the runtime notes at the end of a batch."""

TIMED = tuple(topic.name for topic in Users.reads if topic.has_brokers_time and topic is not topics.TICKS)
"""Whose events a tick must not overtake, and whose records say by the broker's clock when they were appended."""

NOT_IN_THE_GROUP: Mapping[Hashable, int] = {"membership": 0}
"""Getting into the group is work, too."""


class Loop(Protocol):
    """What a Faust agent hands its chunks to."""

    inbox: Inbox

    @property
    def is_ready(self) -> bool:
        """Whether it can take chunks."""


class CouponApp:
    """All parts of one worker."""

    def __init__(self, settings: Settings, key: DrawKey) -> None:
        self.settings = settings
        self.beat_at: float | None = None
        """When the event loop last turned (monotonic); None until it runs."""
        self.metrics = Metrics(CollectorRegistry())
        self.known = CurrentKnowledge(settings.rules(key), self.metrics)
        self._observe = BatchReporter(self.metrics)
        self.faust = _new_faust(settings)
        self.clock_sender = self._new_sender("clock")
        self.delivery = self._new_delivery()
        self.stores = open_stores(settings.worker)
        self.catalogue = self._new_follower(
            topics.CATALOG, Reading(self.known.read_coupon, self.known.take_coupon, settle=self.known.compile)
        )
        self.snapshots = self._new_follower(
            topics.SNAPSHOTS,
            Reading(self.known.read_snapshot, self.known.take_snapshot, prepare=self._prepare_for_snapshots),
        )
        self._add_services(self.clock_sender, self.catalogue, self.snapshots)
        if isinstance(self.delivery, ExactlyOnce):
            self._add_services(self.delivery)
        self.budgets = Budgets(self.known.now, settings.kafka.partitions)
        self.lanes = [
            self._add_owner(
                Users(self.known.now, settings.kafka.partitions, has_clock=settings.worker.tick_every_s > 0)
            ),
            self._add_owner(self.budgets),
            self._add_owner(Neighbours(self.known.now, settings.kafka.partitions)),
        ]
        self.learner = Learner(settings, self.delivery, self.metrics, self._latest_snapshots, self.faust)
        self._add_agent("learner", tuple(topic.name for topic in READS), self.learner)
        self._add_services(self.learner, Clock(self), Reporter(self))

    def _new_producer(self, **options: Any) -> AIOKafkaProducer:
        kafka = self.settings.kafka
        largest = max(topic.max_message_bytes for topic in topics.ALL)
        return new_producer(kafka, kafka.produce_timeout_s, largest, **options)

    def _count_failure(self, agent: str) -> None:
        self.metrics.batch_failures.labels(agent).inc()

    def _is_member(self) -> bool:
        return bool(self.faust.consumer.is_member)

    def _new_sender(self, name: str) -> Sender:
        late_after_s = self.settings.kafka.produce_timeout_s
        return Sender(name, self._new_producer, self._count_failure, late_after_s, self._is_member)

    def _new_delivery(self) -> Delivery:
        kafka = self.settings.kafka
        if kafka.guarantee is Guarantee.AT_LEAST_ONCE:
            senders = {name: self._new_sender(name) for name in AGENTS}
            self._add_services(*senders.values())
            return AtLeastOnce(senders)
        timeout_ms = int(kafka.transaction_timeout_s * 1000)
        return ExactlyOnce(
            lambda name: self._new_producer(
                transactional_id=name, transaction_timeout_ms=timeout_ms, retry_backoff_ms=RETRY_PAUSE_MS
            ),
            kafka.group_id,
            self._count_failure,
        )

    def _new_follower(self, topic: Topic, reading: Reading[Read]) -> Follower[Read]:
        return Follower(self.settings.kafka, topic.name, topic.max_message_bytes, reading)

    async def _prepare_for_snapshots(self, consumer: AIOKafkaConsumer) -> None:
        """Know which domains there are, and how far a snapshot can have learnt that was appended by now."""
        await self.catalogue.wait_caught_up()
        ends = await consumer.end_offsets([TopicPartition(topic.name, 0) for topic in READS])
        self.known.log_ends = {tp.topic: end for tp, end in ends.items()}

    def _add_services(self, *services: Service) -> None:
        for service in services:
            self.faust.service(service)

    def _add_agent(self, name: str, names: tuple[str, ...], loop: Loop) -> None:
        channel = self.faust.topic(*names, key_serializer="raw", value_serializer="raw")

        async def body(stream: Any) -> None:
            # Acknowledging is the loop's: Faust would also do it for a chunk whose handler raised.
            await loop.inbox.consume(stream.noack().events())

        async def assign(_app: Any, assigned: set[TP], **_: Any) -> None:
            partitions = frozenset(tp.partition for tp in assigned if tp.topic in names)
            loop.inbox.assign(partitions, self.faust.consumer.membership())

        self.faust.agent(channel, name=name)(body)
        self.faust.on_partitions_assigned.connect(assign, weak=False)
        self.faust.transport.agents |= dict.fromkeys(names, name)
        self.faust.transport.takers.append(lambda: loop.is_ready and self._has_knowledge())

    def _has_knowledge(self) -> bool:
        return self.catalogue.is_caught_up and self.snapshots.is_caught_up

    def _add_owner(self, agent: KeyedAgent[Any]) -> Lane[Any]:
        """An agent that owns states: its topics, its changelog, its lane."""
        kafka, worker = self.settings.kafka, self.settings.worker
        changelog = topics.changelog(TABLE_OF[agent.name])
        batches: Batches[Any] = Batches(
            agent,
            topics.TICKS.name,
            topics.partition_for,
            kafka.partitions,
            keeps_outputs=not self.delivery.is_transactional,
            max_cell_bytes=changelog.max_message_bytes - BESIDE_A_CELL_BYTES,
        )
        breaker = CircuitBreaker(
            agent.name,
            worker.bad_window_records,
            worker.max_bad_ratio,
            lambda topic, reason, is_open: self.metrics.stopped.labels(agent.name, topic, reason).set(is_open),
        )
        lane: Lane[Any] = Lane(
            batches,
            KafkaChangelog(
                kafka,
                changelog.name,
                self.stores.of(agent.name),
                self.metrics.changelog_skipped.labels(agent.name).inc,
            ),
            self.delivery,
            self._observe,
            breaker,
            worker.batch_records,
            self.faust,
        )
        self._add_agent(agent.name, agent.topics, lane)
        self.faust.transport.breakers |= dict.fromkeys(agent.topics, breaker)
        self._add_services(lane)
        return lane

    async def _latest_snapshots(self) -> dict[str, ModelSnapshot]:
        await self.snapshots.refresh()
        kafka, snapshots = self.settings.kafka, self.known.snapshots
        named = {source for snapshot in snapshots.values() for source in snapshot.origins}
        ends = await ends_by_source(kafka, named & sources(kafka.partitions))
        return {domain: with_possible_origins(snapshot, ends) for domain, snapshot in snapshots.items()}

    def open_port(self) -> None:
        """Serve metrics and readiness, as long as the process lasts.

        Readiness is looked at when it is asked for: one that hangs reports nothing itself.

        Raises
        ------
        BadConfig
            If the port is taken; so this comes before the group is joined.
        """
        self.metrics.ready.set_function(self.is_ready)
        # Memory, CPU time and descriptors, which an injected registry lacks.
        ProcessCollector(registry=self.metrics.registry)
        PlatformCollector(registry=self.metrics.registry)
        worker = self.settings.worker
        if worker.metrics_port:
            probes = {"/ready": self.why_not_ready, "/live": self.why_not_live}
            Endpoint(worker.metrics_host, worker.metrics_port, self.metrics.registry, probes)

    def close(self) -> None:
        """Give back what is not given back by stopping."""
        self.stores.close()

    def progress(self) -> Mapping[Hashable, int]:
        """What is done of every partition that is behind; nothing where there is no work, or it stands on purpose.

        By partition: a loop that hangs must not be covered by others that get on. Done is what is committed, and of the
        learner's partitions what is learnt, too: it commits only when a snapshot is due.
        """
        consumer = self.faust._consumer
        away = {} if self._is_in_group() else NOT_IN_THE_GROUP
        if consumer is None or not consumer.is_coordinated or not all(takes() for takes in self.faust.transport.takers):
            return away
        ends = {tp: consumer.highwater(tp) for tp in consumer.assignment()}
        done = {tp: consumer.committed([tp.topic], tp.partition).get(tp.topic, 0) for tp in ends}
        learnt = dict.fromkeys((topic.name for topic in READS), self.learner.taken)
        may_fetch = self.faust.transport.may_fetch
        behind = [tp for tp, end in ends.items() if end is not None and end > done[tp] and may_fetch(tp.topic)]
        return {**away, **{tp: done[tp] + learnt.get(tp.topic, 0) for tp in behind}}

    def _is_in_group(self) -> bool:
        """Whether this worker is in its group and was heard of within a session: no broker, no group.

        aiokafka looks for a broker that is gone for ever, and calls itself a member meanwhile.
        """
        # Not by Faust's property, which would make a consumer in the thread that asks.
        consumer = self.faust._consumer
        return consumer is not None and consumer.is_coordinated and consumer.is_member

    def is_ready(self) -> bool:
        """Whether this worker is in its group, has recovered state, catalogue and models, can write, and is to stay."""
        return not self.why_not_ready()

    def why_not_ready(self) -> list[str]:
        """What is missing for being ready."""
        loops: dict[str, Loop] = {**{lane.name: lane for lane in self.lanes}, "learner": self.learner}
        missing = {
            "it is on its way out": self.faust.should_stop,
            "it is not in its group, or no broker has answered for a session": not self._is_in_group(),
            "what it sends is not written": not (self.clock_sender.is_able and self.delivery.is_able),
            "it has not read catalogue and models to the end": not self._has_knowledge(),
            "learner stands still: what it has learnt is not published": self.learner.is_late,
            **{f"{name} has not recovered its state": not loop.is_ready for name, loop in loops.items()},
        }
        return [why for why, is_missing in missing.items() if is_missing]

    def why_not_live(self) -> list[str]:
        """Return what only a restart can help: an event loop that hangs. A missing broker is waited for instead.

        A part of the loop's work that stalls ends the process by itself; see `watchdog`.
        """
        silent_s = 0.0 if self.beat_at is None else time.monotonic() - self.beat_at
        return [f"its event loop has hung for {silent_s:.0f} s"] if silent_s > LIVE_WITHIN_S else []


class Clock(Service):  # type: ignore[misc]
    """Writes a tick into every partition of `ticks` that this worker owns, so that time is an event like any other.

    It says how far the partition's events are done, by the time of their append: a window must not be closed by a tick
    while a purchase that came in time waits in a backlog. Where that is not known, there is no tick. One that says an
    earlier time than another before it, as those of two workers may, ends nothing.
    """

    def __init__(self, parts: CouponApp) -> None:
        super().__init__()
        self._parts = parts

    @Service.task  # type: ignore[untyped-decorator]
    async def _tick(self) -> None:
        every_s = self._parts.settings.worker.tick_every_s
        if every_s == 0:
            return
        while not self.should_stop:
            await self.sleep(every_s)
            await self._parts.clock_sender.deliver(list(self._ticks()))

    def _ticks(self) -> Iterator[Output]:
        consumer = self._parts.faust.consumer
        for name, partition in consumer.assignment():
            if name == topics.TICKS.name:
                at = consumer.reached([TP(other, partition) for other in TIMED])
                if at is not None:
                    yield Output(name, partition, str(partition).encode(), encode(Tick(at=at)))


class Reporter(Service):  # type: ignore[misc]
    """Sets the gauges that no batch sets: lag, readiness, ages, budgets. Lag shows also when all stands still."""

    def __init__(self, parts: CouponApp) -> None:
        super().__init__()
        self._parts = parts
        self._budgets = BudgetReporter(parts.metrics)
        self._reported: set[TP] = set()

    @Service.task  # type: ignore[untyped-decorator]
    async def _report(self) -> None:
        while not self.should_stop:
            await self.sleep(REPORT_EVERY_S)
            parts = self._parts
            parts.beat_at = time.monotonic()
            parts.known.report_ages()
            self._report_budgets(parts.faust.consumer)
            self._report_lag(parts.faust.consumer)

    def _report_budgets(self, consumer: Any) -> None:
        parts = self._parts
        owned = {tp.partition for tp in consumer.assignment() if tp.topic == topics.PROPOSALS.name}
        count = parts.settings.kafka.partitions
        self._budgets(parts.known.now().catalogue, parts.budgets.ledgers, owned, count)

    def _report_lag(self, consumer: Any) -> None:
        gauge, owned = self._parts.metrics.lag, consumer.assignment()
        for tp in self._reported - owned:
            gauge.remove(tp.topic, str(tp.partition))
        self._reported &= owned
        for tp in owned:
            end = consumer.highwater(tp)
            if end is not None:
                lag = max(end - consumer.committed([tp.topic], tp.partition).get(tp.topic, 0), 0)
                gauge.labels(tp.topic, str(tp.partition)).set(lag)
                self._reported.add(tp)


async def ends_by_source(connection: Connection, names: AbstractSet[str]) -> dict[str, int]:
    """Return the next offset of each source, by its name `topic:partition`."""
    places = {name: TopicPartition(topic, int(home)) for name in names for topic, _, home in [name.rpartition(":")]}
    ends = await ends_of(connection, list(places.values())) if places else {}
    return {name: ends[tp] for name, tp in places.items()}


def open_stores(worker: WorkerSettings) -> Stores:
    """Where a worker with these settings keeps its cells.

    Raises
    ------
    BadConfig
        If what it takes is not installed, or its folder cannot be made.
    """
    if worker.store is Store.MEMORY:
        return MemoryStores()
    try:
        from stream_coupons.runtime.rocks import RocksStores

        return RocksStores(Path(worker.store_dir or tempfile.gettempdir()), worker.store_cache_mib)
    except ImportError:
        raise BadConfig(
            "worker.store = 'rocksdb' needs the extra rocksdb, from the clone: pip install -e '.[rocksdb]'"
        ) from None
    except OSError as error:
        raise BadConfig(f"worker.store_dir: cannot make a folder in {worker.store_dir}: {error.strerror}") from None


def _new_faust(settings: Settings) -> faust.App:
    kafka = settings.kafka
    app = faust.App(
        kafka.group_id,
        broker=[f"kafka://{address}" for address in kafka.bootstrap.split(",")],
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        web_tables_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 * topics.MIB,
        broker_commit_interval=kafka.commit_interval_s,
        broker_session_timeout=kafka.session_timeout_s,
        broker_heartbeat_interval=kafka.heartbeat_interval_s,
        broker_rebalance_timeout=kafka.rebalance_timeout_s,
        broker_request_timeout=kafka.request_timeout_s,
        broker_max_poll_records=settings.worker.batch_records,
        stream_buffer_maxsize=8,
        stream_wait_empty=True,
    )
    between_agents = [topic.name for topic in topics.BETWEEN_AGENTS]
    app.transport = BatchTransport(app.conf.broker_consumer, app, kafka, between_agents)
    return app
