"""The composition root: settings, topics, tables, metrics, models and agents become a Faust application."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import faust
from faust.types import TP
from mode import Service
from prometheus_client import CollectorRegistry, start_http_server

from stream_coupons import topics
from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.agents.learner import Learner
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.reporting import BatchReporter, report_budgets
from stream_coupons.agents.users import Users
from stream_coupons.codec import encode
from stream_coupons.core.events import ModelSnapshot, Tick
from stream_coupons.known import CurrentKnowledge
from stream_coupons.metrics import Metrics
from stream_coupons.runtime.batch import Batches
from stream_coupons.runtime.consumer import BatchTransport
from stream_coupons.runtime.follower import Follower
from stream_coupons.runtime.lane import Lane
from stream_coupons.runtime.producer import Sender
from stream_coupons.runtime.records import Output
from stream_coupons.runtime.tables import StateTable
from stream_coupons.settings import Settings

APP_ID = "stream-coupons"
TABLE_OF = {"users": "users", "neighbours": "cells", "budgets": "coupons"}
REPORT_EVERY_S = 1.0


def create_app(settings: Settings) -> faust.App:
    """Wire everything; nothing is connected or started yet."""
    return CouponApp(settings).faust


class CouponApp:
    """All parts of one worker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(CollectorRegistry())
        self.known = CurrentKnowledge(settings.rules(), self.metrics)
        self._observe = BatchReporter(self.metrics)
        self.faust = _new_faust(settings)
        bootstrap = settings.kafka.bootstrap
        self.sender = Sender(
            bootstrap,
            settings.kafka.produce_timeout_s,
            max(topic.max_message_bytes for topic in topics.ALL),
            on_failure=lambda agent: self.metrics.batch_failures.labels(agent).inc(),
        )
        self.catalogue = Follower(
            bootstrap, topics.CATALOG.name, self.known.take_coupon, topics.CATALOG.max_message_bytes
        )
        self.snapshots = Follower(
            bootstrap, topics.SNAPSHOTS.name, self.known.take_snapshot, topics.SNAPSHOTS.max_message_bytes
        )
        self._add_services(self.sender, self.catalogue, self.snapshots)
        self.budgets = Budgets(self.known.now, settings.kafka.partitions)
        self.lanes = [
            self._add_owner(Users(self.known.now, settings.kafka.partitions)),
            self._add_owner(self.budgets),
            self._add_owner(Neighbours(self.known.now, settings.kafka.partitions)),
        ]
        self.learner = Learner(settings.learning, self.sender, self.metrics, self._latest_snapshots)
        self._add_agent("learner", (topics.EXAMPLES.name,), self.learner.consume)
        self._add_services(self.learner, Clock(self), Reporter(self))

    def _add_services(self, *services: Service) -> None:
        for service in services:
            self.faust.service(service)

    def _add_agent(self, name: str, names: tuple[str, ...], consume: Callable[[AsyncIterator[Any]], Any]) -> None:
        channel = self.faust.topic(*names, key_serializer="raw", value_serializer="raw")

        async def body(stream: Any) -> None:
            await self.catalogue.wait_caught_up()
            await self.snapshots.wait_caught_up()
            # Acknowledging is the lane's: Faust would also do it for a chunk whose handler raised.
            await consume(stream.noack().events())

        self.faust.agent(channel, name=name)(body)

    def _add_owner(self, agent: KeyedAgent[Any]) -> Lane[Any]:
        """An agent that owns a table: its topics, its table, its lane."""
        partitions = self.settings.kafka.partitions
        table = StateTable(self.faust, TABLE_OF[agent.name], partitions)
        self.faust.tables.add(table)
        batches: Batches[Any] = Batches(agent, table.load, topics.TICKS.name, topics.partition_for, partitions)
        table.when_recovered = batches.recover
        lane: Lane[Any] = Lane(batches, table, self.sender, self._observe, self.settings.worker.batch_records)
        self._add_agent(agent.name, agent.topics, lane.consume)
        self._add_services(lane)
        return lane

    async def _latest_snapshots(self) -> dict[str, ModelSnapshot]:
        await self.snapshots.refresh()
        return self.known.snapshots

    def is_ready(self) -> bool:
        """Whether this worker owns recovered state, knows catalogue and models, and can write."""
        followers = (self.catalogue, self.snapshots)
        return (
            self.sender.is_able
            and all(lane.is_ready for lane in self.lanes)
            and all(follower.is_caught_up for follower in followers)
        )


class Clock(Service):  # type: ignore[misc]
    """Writes a tick into every partition of `ticks` that this worker owns, so that time is an event like any other."""

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
            value = encode(Tick(at=time.time()))
            owned = [tp for tp in self._parts.faust.consumer.assignment() if tp.topic == topics.TICKS.name]
            ticks = [Output(topics.TICKS.name, tp.partition, str(tp.partition).encode(), value) for tp in owned]
            await self._parts.sender.deliver("clock", ticks)


class Reporter(Service):  # type: ignore[misc]
    """Sets the gauges that no batch sets: lag, readiness, ages, budgets. Lag shows also when all stands still."""

    def __init__(self, parts: CouponApp) -> None:
        super().__init__()
        self._parts = parts

    async def on_start(self) -> None:
        """Open the metrics port."""
        worker = self._parts.settings.worker
        if worker.metrics_port:
            start_http_server(worker.metrics_port, worker.metrics_host, self._parts.metrics.registry)

    @Service.task  # type: ignore[untyped-decorator]
    async def _report(self) -> None:
        while not self.should_stop:
            await self.sleep(REPORT_EVERY_S)
            parts = self._parts
            parts.metrics.ready.set(parts.is_ready())
            parts.known.report_ages()
            self._report_budgets(parts.faust.consumer)
            self._report_lag(parts.faust.consumer)

    def _report_budgets(self, consumer: Any) -> None:
        parts = self._parts
        owned = {tp.partition for tp in consumer.assignment() if tp.topic == topics.PROPOSALS.name}
        report_budgets(
            parts.metrics,
            parts.known.now().catalogue,
            parts.budgets.ledgers,
            owned,
            parts.settings.kafka.partitions,
        )

    def _report_lag(self, consumer: Any) -> None:
        for tp in consumer.assignment():
            if tp.topic not in topics.BY_NAME or tp.topic.endswith("-changelog"):
                continue
            end, next_offset = consumer.highwater(tp), consumer.committed(TP(tp.topic, tp.partition))
            if end is not None:
                lag = max(end - (next_offset or 0), 0)
                self._parts.metrics.lag.labels(tp.topic, str(tp.partition)).set(lag)


def _new_faust(settings: Settings) -> faust.App:
    kafka = settings.kafka
    app = faust.App(
        APP_ID,
        broker=[f"kafka://{address}" for address in kafka.bootstrap.split(",")],
        store="memory://",
        autodiscover=False,
        web_enabled=False,
        web_tables_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 * topics.MIB,
        broker_commit_interval=kafka.commit_interval_s,
        broker_session_timeout=kafka.session_timeout_s,
        broker_heartbeat_interval=kafka.heartbeat_interval_s,
        broker_rebalance_timeout=kafka.rebalance_timeout_s,
        broker_request_timeout=kafka.request_timeout_s,
        broker_max_poll_records=settings.worker.batch_records,
        stream_buffer_maxsize=64,
        stream_wait_empty=True,
    )
    app.transport = BatchTransport(app.conf.broker_consumer, app)
    return app
