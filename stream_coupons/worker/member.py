"""A process in a consumer group: what the deciding and the learning one have in common."""

import time
from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

from aiokafka import AIOKafkaProducer, TopicPartition
from mode import Service
from prometheus_client import CollectorRegistry

from stream_coupons.kafka import topics
from stream_coupons.kafka.producer import Sender, new_producer
from stream_coupons.kafka.settings import Guarantee
from stream_coupons.observability.metrics import Metrics
from stream_coupons.runtime.delivery import AtLeastOnce, Delivery, ExactlyOnce
from stream_coupons.runtime.faust_driver.application import Application
from stream_coupons.runtime.inbox import Inbox
from stream_coupons.runtime.source import Source
from stream_coupons.settings import Settings

REPORT_EVERY_S = 1.0
LIVE_WITHIN_S = 30.0
"""Seconds for which the event loop may hang before a process counts as dead; the longest pauses take a few."""

NOT_IN_THE_GROUP: Mapping[Hashable, int] = {"membership": 0}
"""Getting into the group is work, too."""


class Loop(Protocol):
    """The loop of an agent, which processes the chunks in its inbox."""

    inbox: Inbox

    @property
    def is_ready(self) -> bool:
        """True if it can take chunks."""


class Member:
    """One process in a consumer group.

    Parameters
    ----------
    group_id : str
        The consumer group.
    agents : sequence of str
        Names of the agents that write to Kafka.
    batch_records : int
        Most records fetched at once.

    Attributes
    ----------
    loops : dict
        The loops by agent.
    contact : Contact
        The brokers' last answer.
    metrics_port : int
        Port of its metrics and probes; 0 for none.
    beat_at : float or None
        Time of the event loop's last turn (monotonic); None before the first.
    """

    def __init__(self, settings: Settings, group_id: str, agents: Sequence[str], batch_records: int) -> None:
        self.settings = settings
        self.beat_at: float | None = None
        self.metrics_port = settings.worker.metrics_port
        self.loops: dict[str, Loop] = {}
        self._missing_since: dict[str, float] = {}
        self.metrics = Metrics(CollectorRegistry(), settings.shared_fingerprint, settings.kafka.namespace)
        between_agents = [topic.name for topic in topics.BETWEEN_AGENTS]
        self.faust = Application(settings.kafka, group_id, batch_records, between_agents)
        self.contact = self.faust.transport.contact
        self._group_id = group_id
        self.delivery = self._new_delivery(agents)

    def _new_producer(self) -> AIOKafkaProducer:
        kafka = self.settings.kafka
        largest = max(topic.max_message_bytes for topic in topics.ALL)
        return new_producer(kafka, kafka.produce_timeout_s, largest)

    def _count_failure(self, agent: str) -> None:
        self.metrics.batch_failures.labels(agent).inc()

    def _is_member(self) -> bool:
        return bool(self.faust.consumer.is_member)

    def new_sender(self, name: str) -> Sender:
        """Return a sender of this process, not started."""
        late_after_s = self.settings.kafka.produce_timeout_s
        return Sender(name, self._new_producer, self._count_failure, late_after_s, self._is_member)

    def _new_delivery(self, agents: Sequence[str]) -> Delivery:
        kafka = self.settings.kafka
        if kafka.guarantee is Guarantee.AT_LEAST_ONCE:
            senders = {name: self.new_sender(name) for name in agents}
            self.add_services(*senders.values())
            return AtLeastOnce(senders, topics.changelog("users").max_message_bytes)
        from stream_coupons.kafka.transactions import TransactionalProducer

        delivery = ExactlyOnce(
            self._group_id,
            lambda transactional_id: TransactionalProducer(kafka, transactional_id, kafka.transaction_timeout_s),
            self._count_failure,
            kafka.produce_timeout_s,
        )
        self.add_services(delivery)
        return delivery

    def add_services(self, *services: Service) -> None:
        """Start and stop these with the application."""
        for service in services:
            self.faust.service(service)

    def add_agent(self, name: str, names: tuple[str, ...], loop: Loop) -> None:
        """Pass the records of some topics to a loop.

        Parameters
        ----------
        name : str
            The agent.
        names : tuple of str
            Its topics.
        loop : Loop
            Processes them.
        """
        self.loops[name] = loop
        self.faust.add_agent(name, names, loop.inbox, lambda: loop.is_ready and self._may_read())

    def _may_read(self) -> bool:
        """Return whether what every message needs is known."""
        return True

    def _unacknowledged(self) -> Mapping[str, int]:
        """Return, by topic, a count of records that were processed, where acknowledging them comes much later."""
        return {}

    def report(self) -> None:
        """Set the gauges that no batch sets."""

    def progress(self) -> Mapping[Hashable, int]:
        """Return the progress of every partition that is behind; nothing if there is no work, or it stands on purpose.

        By partition: a loop that hangs must not be covered by others that get on. Progress is what is committed, and
        what is processed where commits are rare. While no broker answers there is nothing to be done.
        """
        if self.is_away():
            return {}
        consumer = self.faust.started_consumer
        away = {} if self._is_in_group() else NOT_IN_THE_GROUP
        if consumer is None or not consumer.is_coordinated or not all(takes() for takes in self.faust.transport.takers):
            return away
        ends = {tp: consumer.highwater(tp) for tp in consumer.assignment()}
        done = {tp: consumer.committed([tp.topic], tp.partition).get(tp.topic, 0) for tp in ends}
        more = self._unacknowledged()
        may_fetch = self.faust.transport.may_fetch
        behind = [tp for tp, end in ends.items() if end is not None and end > done[tp] and may_fetch(tp.topic)]
        return {**away, **{tp: done[tp] + more.get(tp.topic, 0) for tp in behind}}

    def is_stopping(self) -> bool:
        """Return whether this process is on its way out."""
        return bool(self.faust.should_stop)

    def describe(self) -> str:
        """Return what this process does now that it is ready, and where its metrics are."""
        host = self.settings.worker.metrics_host
        metrics = f"http://{host}:{self.metrics_port}" if self.metrics_port else "no port for metrics"
        return ", ".join([*self._work(), metrics])

    def _work(self) -> list[str]:
        """Return what this process owns and uses, for the log."""
        return []

    def is_away(self) -> bool:
        """Return whether no broker answers: for two heartbeats, which are sent whatever the event loop does."""
        return self.contact.silent_s > 2.0 * self.settings.kafka.heartbeat_interval_s and not self.why_not_live()

    def _is_in_group(self) -> bool:
        """Return whether this process is in its group and was heard of within a session: no broker, no group.

        aiokafka looks for a broker that is gone for ever, and calls itself a member meanwhile.
        """
        consumer = self.faust.started_consumer
        return consumer is not None and consumer.is_coordinated and consumer.is_member

    def is_ready(self) -> bool:
        """Return whether this process is in its group, has recovered what it needs, can write, and is to stay."""
        return not self.why_not_ready()

    def why_not_ready(self) -> list[str]:
        """Return what is missing for being ready, and for how long where a reason has room for the seconds."""
        now, reasons = time.monotonic(), [why for why, is_missing in self._missing().items() if is_missing]
        self._missing_since = {why: self._missing_since.get(why, now) for why in reasons}
        return [why.format(seconds=now - since) for why, since in self._missing_since.items()]

    def _missing(self) -> dict[str, bool]:
        return {
            "it is on its way out": self.is_stopping(),
            "lost contact with Kafka ({seconds:.0f} s), or still joining the group": not self._is_in_group(),
            "cannot write to Kafka ({seconds:.0f} s)": not self.delivery.is_able,
            **{f"{name} has not recovered its state": not loop.is_ready for name, loop in self.loops.items()},
        }

    def why_not_live(self) -> list[str]:
        """Return what only a restart can help: an event loop that hangs. A missing broker is waited for instead.

        A part of the loop's work that stalls ends the process by itself; see `watchdog`.
        """
        silent_s = 0.0 if self.beat_at is None else time.monotonic() - self.beat_at
        return [f"its event loop has hung for {silent_s:.0f} s"] if silent_s > LIVE_WITHIN_S else []


class Reporter(Service):  # type: ignore[misc]
    """Sets the gauges that no batch sets. Lag shows also when all stands still."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self._member = member
        self._reported: set[TopicPartition] = set()

    @Service.task  # type: ignore[untyped-decorator]
    async def _report(self) -> None:
        while not self.should_stop:
            await self.sleep(REPORT_EVERY_S)
            self._member.beat_at = time.monotonic()
            self._member.report()
            self._report_lag(self._member.faust.consumer)

    def _report_lag(self, consumer: Source) -> None:
        gauge, owned = self._member.metrics.lag, consumer.assignment()
        for tp in self._reported - owned:
            gauge.remove(tp.topic, str(tp.partition))
        self._reported &= owned
        for tp in owned:
            end = consumer.highwater(tp)
            if end is not None:
                lag = max(end - consumer.committed([tp.topic], tp.partition).get(tp.topic, 0), 0)
                gauge.labels(tp.topic, str(tp.partition)).set(lag)
                self._reported.add(tp)
