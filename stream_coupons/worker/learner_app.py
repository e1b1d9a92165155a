"""The learning process: a member of a consumer group of its own, of which one member at a time owns the models."""

import asyncio
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from stream_coupons.agents.keyed import sources
from stream_coupons.agents.learner import MAX_EXAMPLES, READS, Latest, Learner
from stream_coupons.core.draws import DrawKey
from stream_coupons.core.messages.lift import LiftTotals
from stream_coupons.core.messages.results import ResultTotals
from stream_coupons.core.plurals import counted
from stream_coupons.kafka import topics
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.follower import Follower, RecordHandlers, ends_of
from stream_coupons.kafka.reports import ReportDecoder
from stream_coupons.kafka.topics import Topic
from stream_coupons.models.snapshots import with_possible_origins
from stream_coupons.observability.metrics import Metrics
from stream_coupons.settings import Settings
from stream_coupons.worker.knowledge import CurrentKnowledge
from stream_coupons.worker.knowledge_topics import KnowledgeTopics
from stream_coupons.worker.member import Member, Reporter


class LearnerApp(Member):
    """All parts of the process that learns.

    `training-examples` has one partition, so of all learning processes one is active. The others stand by: they are
    members without a partition, and take over within a session if the active one is lost.
    """

    def __init__(self, settings: Settings, key: DrawKey) -> None:
        super().__init__(settings, settings.kafka.learner_group_id, [Learner.name], MAX_EXAMPLES)
        self._key = key
        """Signs snapshots, and draws the examples that are learnt while the learner is behind."""
        self.learner = Learner(settings, self.delivery, self.metrics, self._latest_snapshots, self.faust, key)
        self.add_agent(Learner.name, tuple(topic.name for topic in READS), self.learner)
        guard, partitions = self.learner.guard, settings.kafka.partitions
        lift, results = (ReportDecoder(topic, partitions).read for topic in (topics.LIFT_TOTALS, topics.RESULT_TOTALS))
        followers = [
            self._follow(topics.LIFT_TOTALS, RecordHandlers(lift, self._take_lift, settle=self._know_lift)),
            self._follow(topics.RESULT_TOTALS, RecordHandlers(results, self._take_results)),
            self._follow(topics.CAMPAIGNS, RecordHandlers(guard.read_campaign, guard.take_campaign)),
            self._follow(topics.CAMPAIGN_CHANGES, RecordHandlers(guard.read_change, guard.take_change)),
        ]
        guard.knows_all = lambda: all(one.is_caught_up for one in followers)
        self.add_services(*followers, self.learner, Reporter(self))

    def _follow(self, topic: Topic, handlers: RecordHandlers[Any]) -> Follower[Any]:
        """Return the follower of a topic."""
        return Follower(self.settings.kafka, topic.name, topic.max_message_bytes, handlers, self.contact)

    def _take_lift(self, totals: LiftTotals) -> None:
        self.learner.lift.take(totals)
        self.learner.guard.take_lift(totals)

    def _take_results(self, report: ResultTotals) -> None:
        self.learner.results.take(report)
        self.learner.guard.take_results(report)

    async def _know_lift(self) -> None:
        self.learner.knows_lift = True

    def _unacknowledged(self) -> Mapping[str, int]:
        """Learnt examples are progress: they are acknowledged only when a snapshot is due."""
        return dict.fromkeys((topic.name for topic in READS), self.learner.taken)

    def _work(self) -> list[str]:
        if not self.faust.consumer.assignment():
            return ["stands by for the learner that owns the models"]
        return [counted(self.learner.domains, "model")]

    def _missing(self) -> dict[str, bool]:
        starved = "it is starved: examples wait, or what it has learnt is not published"
        return {**super()._missing(), starved: self.learner.is_starved}

    async def _latest_snapshots(self) -> Latest:
        """Read the latest snapshots, by the rules by which every worker reads them.

        The offset that the group has committed counts at once, the snapshots of the same transaction once the broker
        has ended it in their topic, too. That is waited for.
        Not followed all the time: a learner that stands by would unpack models every second for nothing.
        """
        kafka = self.settings.kafka
        known = CurrentKnowledge(self.settings.rules(self._key), Metrics(CollectorRegistry()), self.settings.learning)
        read = KnowledgeTopics(kafka, known)
        read.snapshots.waits_for_open = True
        followers = (read.catalogue, read.snapshots)
        try:
            for follower in followers:
                await follower.start()
            await read.snapshots.wait_caught_up()
        finally:
            await asyncio.gather(*(follower.stop() for follower in followers))
        named = {source for snapshot in known.snapshots.values() for source in snapshot.origins}
        ends = await ends_by_source(kafka, named & sources(kafka.partitions))
        snapshots = {domain: with_possible_origins(snapshot, ends) for domain, snapshot in known.snapshots.items()}
        return snapshots, known.series


async def ends_by_source(connection: Connection, names: AbstractSet[str]) -> dict[str, int]:
    """Return the next offset of each source.

    Parameters
    ----------
    connection : Connection
        How the brokers are reached.
    names : set of str
        Sources, each as `topic:partition`.

    Returns
    -------
    dict of str to int
        By the names.
    """
    places = {name: TopicPartition(topic, int(home)) for name in names for topic, _, home in [name.rpartition(":")]}
    ends = await ends_of(connection, list(places.values())) if places else {}
    return {name: ends[tp] for name, tp in places.items()}
