"""The compacted topics that hold what a process knows besides its states: coupons, campaigns, codes and models."""

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream_coupons.core.decision.scoring import Scorer
from stream_coupons.core.messages.catalogue import Campaign, CodeBlock, Coupon
from stream_coupons.core.messages.learning import ModelSnapshot
from stream_coupons.kafka import topics
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.contact import Contact
from stream_coupons.kafka.follower import Follower, Read, RecordHandlers
from stream_coupons.kafka.topics import Topic
from stream_coupons.worker.knowledge import CurrentKnowledge


class KnowledgeTopics:
    """Followers of these topics, which take their records into `known`. The snapshots need the catalogue."""

    def __init__(self, connection: Connection, known: CurrentKnowledge, contact: Contact | None = None) -> None:
        self._connection = connection
        self._contact = contact
        self._known = known
        self.catalogue: Follower[tuple[str, Coupon | None]] = self._follower(
            topics.CATALOG, RecordHandlers(known.read_coupon, known.take_coupon, settle=known.compile)
        )
        self.campaigns: Follower[tuple[str, Campaign | None]] = self._follower(
            topics.CAMPAIGNS, RecordHandlers(known.read_campaign, known.take_campaign, settle=known.compile)
        )
        self.codes: Follower[tuple[str, CodeBlock | None]] = self._follower(
            topics.CODES, RecordHandlers(known.read_codes, known.take_codes, settle=known.compile)
        )
        self.snapshots: Follower[tuple[ModelSnapshot, Scorer]] = self._follower(
            topics.SNAPSHOTS,
            RecordHandlers(known.read_snapshot, known.take_snapshot, prepare=self._prepare_for_snapshots),
        )

    def _follower(self, topic: Topic, reading: RecordHandlers[Read]) -> Follower[Read]:
        return Follower(self._connection, topic.name, topic.max_message_bytes, reading, self._contact)

    async def _prepare_for_snapshots(self, consumer: AIOKafkaConsumer) -> None:
        """Know which domains there are, and how far a snapshot can have learnt that was appended so far."""
        await self.catalogue.wait_caught_up()
        examples = TopicPartition(topics.EXAMPLES.name, 0)
        self._known.log_end = (await consumer.end_offsets([examples]))[examples]

    @property
    def followers(self) -> tuple[Follower[Any], ...]:
        """All followers; start each."""
        return self.campaigns, self.codes, self.catalogue, self.snapshots

    @property
    def is_caught_up(self) -> bool:
        """True if all that was in them at the start has been taken."""
        return all(follower.is_caught_up for follower in self.followers)
