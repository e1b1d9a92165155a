"""The whole system in one process without a broker: the same agents and steps over logs in memory.

One thread, one order: the same records always give the same bytes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct

from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.keyed import KeyedAgent, sender_of
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.scoring import Knowledge, Scorer
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.core.messages.learning import OpenDecision
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.records import Output, Record
from stream_coupons.models.learner import Trainer
from stream_coupons.models.linear import prior
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import MemoryCells
from stream_coupons.runtime.steps import Result
from stream_coupons.secret import rules_of
from stream_coupons.settings import Settings

NO_CLOCK_MS = int(END_OF_TIME * 1000)
"""Time of arrival of every record: there is no clock here, so nothing is from the future."""


class _Owner:
    """An agent, its table and its runtime."""

    def __init__(self, step: KeyedAgent[object], partitions: int) -> None:
        self.step = step
        # Nothing is ever delivered twice here, so nothing is kept to be sent again.
        self.batches: BatchProcessor[object] = BatchProcessor(
            step, topics.TICKS.name, topics.partition_for, partitions, keeps_outputs=False
        )
        for partition in range(partitions):
            self.batches.adopt(partition, MemoryCells())


class LocalPipeline:
    """Feed it messages; read what it sent.

    Parameters
    ----------
    settings : Settings
        The same as a worker's.
    coupons : iterable of Coupon
        The catalogue.
    campaigns : iterable of Campaign
        Whose budgets coupons share.
    scorer : Scorer, optional
        Scores in place of the model that learns: a baseline or the ground truth. Nothing is learnt then.
    serves_at_once : bool
        Whether what was learnt comes into use at once; else by `publish` only.
    partitions : int
        Of the topics that agents read. Each has leases of its own, and a tick reaches one of them.
    on_output : callable, optional
        Called with every record sent, in order.
    on_result : callable, optional
        Called with what every batch brought about.
    """

    def __init__(  # noqa: PLR0913 - what a whole system is made of
        self,
        settings: Settings,
        coupons: Iterable[Coupon],
        *,
        campaigns: Iterable[Campaign] = (),
        scorer: Scorer | None = None,
        serves_at_once: bool = True,
        partitions: int = 1,
        on_output: Callable[[Output], None] | None = None,
        on_result: Callable[[Result], None] | None = None,
    ) -> None:
        self._rules = rules_of(settings)
        self._catalogue = Catalogue(coupons, self._rules.policy.typical_price_minor, campaigns=campaigns)
        self._fixed = scorer
        self._serves_at_once = serves_at_once
        self._on_output = on_output
        self._on_result = on_result
        self.trainer = Trainer(settings.learning)
        self._known = Knowledge(self._rules, self._catalogue, {}, scorer or prior())
        self._has_learnt = False
        agents: tuple[KeyedAgent[object], ...] = (
            Users(self._get_known, partitions),  # type: ignore[assignment]
            Budgets(self._get_known, partitions),
            Neighbours(self._get_known, partitions),
        )
        self._partitions = partitions
        self.owners = {agent.name: _Owner(agent, partitions) for agent in agents}
        self._readers = {topic: owner for owner in self.owners.values() for topic in owner.step.topics}
        self._pending: deque[Record] = deque()
        self._ends: dict[tuple[str, int], int] = {}
        self._lessons = {topic.name: Decoder(topic) for topic in (topics.EXAMPLES, topics.OPEN)}
        self.sent: dict[str, int] = {}

    def _get_known(self) -> Knowledge:
        """Return the current context, with new models if they are served at once."""
        if self._serves_at_once and self._has_learnt:
            self._serve(self.trainer.live())
        return self._known

    def send(self, topic: str, message: Struct) -> None:
        """Send a message of an upstream service and let the system come to rest."""
        self.send_together(topic, [message])

    def send_together(self, topic: str, messages: Iterable[Struct]) -> None:
        """Send messages, all of them before the system acts on the first one, and let it come to rest."""
        for message in messages:
            key = topics.BY_NAME[topic].key_of(message)
            self._append(Output(topic, self._partition_of(topic, key), key, encode(message)))
        self._come_to_rest()

    def tick(self, at: float, partition: int = 0) -> None:
        """Let time pass in a partition."""
        self._append(Output(topics.TICKS.name, partition, str(partition).encode(), encode(Tick(at=at))))
        self._come_to_rest()

    def feed(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Append one record of any bytes to a topic and let the system come to rest."""
        self._append(Output(topic, self._partition_of(topic, key), key, value))
        self._come_to_rest()

    def _partition_of(self, topic: str, key: bytes | None) -> int:
        count = topics.BY_NAME[topic].partitions or self._partitions
        return topics.partition_for(key or b"", count) if count > 1 else 0

    def _come_to_rest(self) -> None:
        while self._pending:
            record = self._pending.popleft()
            if record.topic in self._lessons:
                self._learn(record)
            elif (owner := self._readers.get(record.topic)) is not None:
                result = owner.batches.apply(record.partition, [record], {})
                owner.batches.save(result)
                if self._on_result is not None:
                    self._on_result(result)
                for output in result.outputs:
                    self._append(output)

    def _append(self, output: Output) -> None:
        place = output.topic, output.partition
        offset = self._ends.get(place, 0)
        self._ends[place] = offset + 1
        self.sent[output.topic] = self.sent.get(output.topic, 0) + 1
        self._pending.append(Record(*place, offset, NO_CLOCK_MS, output.key, output.value, tuple(output.headers)))
        if self._on_output is not None:
            self._on_output(output)

    def _learn(self, record: Record) -> None:
        if self._fixed is not None:
            return
        try:
            lesson, origin = self._lessons[record.topic](record.value), sender_of(record, self._partitions)
            if isinstance(lesson, OpenDecision):
                is_news = self.trainer.watch(lesson, record.offset)
            else:
                is_news = lesson.is_lesson and self.trainer.learn(lesson, record.offset, origin)
        except BadMessage as bad:
            self._append(dead_letter(record, bad.reason, bad.detail))
            return
        self._has_learnt |= is_news

    def publish(self) -> None:
        """Take what was learnt into use now."""
        self._serve(self.trainer.scorers())

    def _serve(self, news: Mapping[str, Scorer]) -> None:
        self._has_learnt = False
        self._known = Knowledge(self._rules, self._catalogue, {**self._known.scorers, **news}, self._known.prior)

    def states(self) -> Iterator[tuple[str, int, str, bytes]]:
        """(agent, partition, key, cell) of all states."""
        for name, owner in self.owners.items():
            for partition in range(self._partitions):
                for key, cell in sorted(owner.batches.cells(partition).items()):
                    yield name, partition, key, cell
