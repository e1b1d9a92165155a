"""The deciding process: settings, topics, tables, metrics, models and agents become a Faust application."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.clock import Clock
from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.decision.pipeline import KINDS
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.plurals import counted
from stream_coupons.kafka import topics
from stream_coupons.observability.input_sample import InputSample
from stream_coupons.observability.reporting import BatchReporter, BudgetReporter
from stream_coupons.runtime.agent_loop import AgentLoop
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import MemoryStores, Stores
from stream_coupons.runtime.changelog import KafkaChangelog
from stream_coupons.runtime.circuit_breaker import CircuitBreaker
from stream_coupons.runtime.delivery import Delivery
from stream_coupons.settings import Settings, Store, TracingSettings, WorkerSettings
from stream_coupons.worker.knowledge import CurrentKnowledge
from stream_coupons.worker.knowledge_topics import KnowledgeTopics
from stream_coupons.worker.member import Member, Reporter

if TYPE_CHECKING:  # only workers that send spans import it
    from stream_coupons.observability.tracing import SpanSink

TABLE_OF = {"users": "users", "neighbours": "cells", "budgets": "accounts"}
BESIDE_A_CELL_BYTES = 16 * 1024
"""Room in a changelog's record batch for the cell's key, for what the runtime notes at the end of a batch, and for the
shared states that one record changes, which must be in the cell's batch."""


def urgent_topics(settings: Settings) -> frozenset[str]:
    """Return the topics that are fetched at once: triggers, and leases and their reports, which are few."""
    kind_of = {topic.name: kind for message, kind in KINDS.items() for topic in Users.reads if topic.message is message}
    triggers = {name for name, kind in kind_of.items() if kind in settings.policy.triggers}
    return frozenset(triggers | {topics.LEASES.name, topics.LEASE_REPORTS.name})


class CouponApp(Member):
    """All parts of the process that decides."""

    def __init__(self, settings: Settings, key: DrawKey) -> None:
        super().__init__(settings, settings.kafka.group_id, tuple(TABLE_OF), settings.worker.batch_records)
        self.known = CurrentKnowledge(settings.rules(key), self.metrics, settings.learning)
        self._observe = BatchReporter(self.metrics)
        self._report_on_budgets = BudgetReporter(self.metrics)
        self.clock_sender = self.new_sender("clock")
        self.stores = open_stores(settings.worker)
        self._spans = open_spans(settings.tracing)
        self.knowledge = KnowledgeTopics(settings.kafka, self.known, self.contact)
        self.add_services(self.clock_sender, *self.knowledge.followers)
        self.budgets = Budgets(self.known.now, settings.kafka.partitions)
        self.lanes = [
            self._add_owner(
                Users(
                    self.known.now,
                    settings.kafka.partitions,
                    clock=time.time if settings.worker.tick_every_s > 0 else None,
                    sample=InputSample(self.metrics),
                    formats=settings.kafka.formats,
                )
            ),
            self._add_owner(self.budgets),
            self._add_owner(Neighbours(self.known.now, settings.kafka.partitions)),
        ]
        self.faust.transport.urgent = urgent_topics(settings)
        clock = Clock(settings.worker.tick_every_s, settings.kafka.partitions, self.clock_sender, self.faust)
        self.add_services(clock, Reporter(self))

    def _may_read(self) -> bool:
        return self.knowledge.is_caught_up

    def _add_owner(self, agent: KeyedAgent[Any]) -> AgentLoop[Any]:
        """Add an agent that owns states: its topics, its changelog, its lane."""
        kafka, worker = self.settings.kafka, self.settings.worker
        changelog = topics.changelog(TABLE_OF[agent.name])
        new_batches, delivery = self._traced(agent.name)
        batches: BatchProcessor[Any] = new_batches(
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
        lane: AgentLoop[Any] = AgentLoop(
            batches,
            KafkaChangelog(
                kafka,
                changelog.name,
                self.stores.of(agent.name),
                self.metrics.changelog_skipped.labels(agent.name).inc,
            ),
            delivery,
            self._observe,
            breaker,
            worker.batch_records,
            self.faust,
        )
        self.add_agent(agent.name, agent.topics, lane)
        self.faust.transport.breakers |= dict.fromkeys(agent.topics, breaker)
        self.add_services(lane)
        return lane

    def _traced(self, agent: str) -> tuple[Callable[..., BatchProcessor[Any]], Delivery]:
        """Return what makes the batches of an agent, and its delivery, if events of the shop are traced."""
        if agent != Users.name or self._spans is None:  # only its inputs are the shop's
            return BatchProcessor, self.delivery
        from stream_coupons.observability.tracing import BatchTraces, TracedBatches, TracedDelivery

        traces = BatchTraces(self._spans, self.settings.tracing.ratio, agent, self.settings.kafka.group_id)
        return partial(TracedBatches, traces), TracedDelivery(self.delivery, traces)

    def _work(self) -> list[str]:
        catalogue = self.known.now().catalogue
        coupons = sum(len(coupons) for coupons in catalogue.domains.values())
        versions = {domain: snapshot.version for domain, snapshot in sorted(self.known.snapshots.items())}
        models = ", ".join(f"{domain} {version}" for domain, version in versions.items())
        return [
            counted(len({tp.partition for tp in self.faust.consumer.assignment()}), "partition"),
            counted(coupons, "coupon"),
            counted(len(catalogue.campaigns), "campaign"),
            f"models: {models}" if len(versions) > 1 else f"model {next(iter(versions.values()), 0)}",
        ]

    def close(self) -> None:
        """Give back what is not given back by stopping."""
        self.stores.close()
        if self._spans:
            self._spans.shutdown()

    def _missing(self) -> dict[str, bool]:
        return {
            **super()._missing(),
            "its ticks are not written": not self.clock_sender.is_able,
            "it has not read catalogue and models to the end": not self.knowledge.is_caught_up,
        }

    def report(self) -> None:
        """Set the gauges of models and budgets."""
        self.known.report_ages()
        owned = {tp.partition for tp in self.faust.consumer.assignment() if tp.topic == topics.LEASE_REPORTS.name}
        count = self.settings.kafka.partitions
        self._report_on_budgets(self.known.now().catalogue, self.budgets.accounts, owned, count)


def open_stores(worker: WorkerSettings) -> Stores:
    """Return the stores in which a worker with these settings keeps its cells.

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


def open_spans(tracing: TracingSettings) -> "SpanSink | None":
    """Return what sends spans to the collector of these settings; None if they name none.

    Raises
    ------
    BadConfig
        If the endpoint is no URL, or what it takes is not installed.
    """
    if not tracing.endpoint:
        return None
    if not tracing.endpoint.startswith(("http://", "https://")):
        raise BadConfig(f"tracing.endpoint is {tracing.endpoint!r}, expected a URL: http://127.0.0.1:4318/v1/traces")
    try:
        from stream_coupons.observability.tracing import SpanSink
    except ImportError:
        raise BadConfig("tracing.endpoint needs the extra otel, from the clone: pip install -e '.[otel]'") from None
    return SpanSink.to(tracing.endpoint)
