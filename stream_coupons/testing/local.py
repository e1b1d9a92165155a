"""The whole system in one process without a broker: the same agents and the same batch engine over logs in memory.

One thread, one order: the same records always give the same bytes.
"""

import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from stream_coupons.agents import keyed
from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.keyed import TOPIC_OF, KeyedAgent, sender_of
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.catalogue.code_pools import CodePools
from stream_coupons.core.decision.brake import LiftReader
from stream_coupons.core.decision.scoring import Knowledge, Scorer
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.decisions import CouponIssue
from stream_coupons.core.messages.fields import END_OF_TIME
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.core.rules import Rules
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder, encode
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.records import Output, Record
from stream_coupons.models.linear import prior
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import MemoryCells
from stream_coupons.runtime.steps import Result
from stream_coupons.secret import rules_of
from stream_coupons.settings import Settings

M = TypeVar("M", bound=Struct)
_decode_example, _decode_totals = Decoder(topics.EXAMPLES), Decoder(topics.LIFT_TOTALS)


def _end_of_time() -> float:
    """Return the time of arrival of every record where no clock is: nothing is from the future then."""
    return END_OF_TIME


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
    """The whole system over logs in memory: publish messages, then read what it sent.

    The agents, the batch engine, the states, the encoding and the learner are those of a worker. Every call returns
    when the system is at rest: each record that followed from the call is applied.

    What it does not cover: there is no broker, so no connection, retention, compaction, rebalance or transaction. It is
    one process and one thread: nothing is delivered twice or fails, and no two records are processed at once. The
    learner learns from each example at once, not in a process of its own, so it leaves none out. The catalogue does not
    change. Without `clock` there is no arrival time: no event is from the future, and none is too old for a coupon.

    Parameters
    ----------
    settings : Settings
        The same as a worker's. Those of Kafka and of the process have no effect.
    coupons : iterable of Coupon
        The catalogue.
    campaigns : iterable of Campaign
        The campaigns that coupons name.
    codes : mapping of str to sequence of str
        Imported codes of coupons whose `codes` is "pool", by coupon id.
    clock : callable, optional
        Current time in UTC epoch seconds, such as a `ManualClock`: records arrive and are processed at that time.
    scorer : Scorer, optional
        Model in place of the one that learns: a baseline or the ground truth. Nothing is learnt then.
    serves_at_once : bool
        True to serve each new model at once; else `serve_models` does.
    partitions : int
        Partitions of the topics that agents read. Each has leases of its own.
    on_output : callable, optional
        Called with every record appended, in order. Records are not kept then.
    on_result : callable, optional
        Called with the result of every batch.

    Attributes
    ----------
    outputs : list of Output
        Every record appended, in order, those of `publish` included; empty with `on_output`.
    sent : dict
        Number of records appended, by topic.
    facts : Counter
        Facts of all batches, by (noun, kind), as the metrics of a worker count them: `facts["decision", "given"]` is
        the number of coupons given.
    trainer : Trainer
        The models, and what they have learnt.
    catalogue : Catalogue
        The coupons and campaigns.
    lift : LiftReader
        The measured lift of each domain, and its brake.

    Examples
    --------
    >>> from stream_coupons.testing import browse, coupon, item, plain_settings
    >>> shop = LocalPipeline(plain_settings(), [coupon("tea-10", categories=["tea"])])
    >>> shop.publish(browse("ann", item("tea-0815", category="tea")))
    >>> [(issue.user_id, issue.coupon_id) for issue in shop.issues]
    [('ann', 'tea-10')]
    """

    def __init__(  # noqa: PLR0913 - what a whole system is made of
        self,
        settings: Settings,
        coupons: Iterable[Coupon],
        *,
        campaigns: Iterable[Campaign] = (),
        codes: Mapping[str, Sequence[str]] = {},
        clock: Callable[[], float] | None = None,
        scorer: Scorer | None = None,
        serves_at_once: bool = True,
        partitions: int = 1,
        on_output: Callable[[Output], None] | None = None,
        on_result: Callable[[Result], None] | None = None,
    ) -> None:
        self._rules = rules_of(settings)
        self.catalogue = Catalogue.under(self._rules, coupons, campaigns, CodePools.of(codes))
        self._fixed, self._serves_at_once = scorer, serves_at_once
        self.outputs: list[Output] = []
        self._on_output = on_output or self.outputs.append
        self._on_result, self._partitions = on_result, partitions
        self._clock = clock or _end_of_time
        from stream_coupons.models.learner import Trainer  # here, for it takes all of River

        self.trainer = Trainer(settings.learning)
        self._known = Knowledge(self._rules, self.catalogue, {}, scorer or prior())
        self._has_learnt = False
        agents: tuple[KeyedAgent[object], ...] = (
            Users(self._get_known, partitions, clock=clock),  # type: ignore[assignment]
            Budgets(self._get_known, partitions),
            Neighbours(self._get_known, partitions),
        )
        self.owners = {agent.name: _Owner(agent, partitions) for agent in agents}
        self._readers = {topic: owner for owner in self.owners.values() for topic in owner.step.topics}
        self._pending: deque[Record] = deque()
        self._ends: dict[tuple[str, int], int] = {}
        self.lift = LiftReader(settings.policy)
        self.sent: dict[str, int] = {}
        self.facts: Counter[tuple[str, str]] = Counter()
        self._listeners: dict[str, list[Callable[[bytes | None], None]]] = {}

    def _get_known(self) -> Knowledge:
        """Return the current context, with new models if they are served at once."""
        if self._serves_at_once and self._has_learnt:
            self._serve(self.trainer.live())
        return self._known

    def listen(self, kind: type[M], take: Callable[[M], None]) -> None:
        """Call a function with each message of one type that is appended from now on, in order.

        Parameters
        ----------
        kind : type
            Type of a topic's messages, such as `CouponIssue` or `TrainingExample`.
        take : callable
            Receives each message when it is appended, before the system processes it. It must not publish.

        Examples
        --------
        >>> from stream_coupons.testing import browse, coupon, plain_settings
        >>> shop, given = LocalPipeline(plain_settings(), [coupon("tea-10")]), []
        >>> shop.listen(CouponIssue, given.append)
        >>> shop.publish(browse("ann"))
        >>> [issue.coupon_id for issue in given]
        ['tea-10']
        """
        topic = TOPIC_OF[kind]
        decode = Decoder(topic)
        self._listeners.setdefault(topic.name, []).append(lambda value: take(decode(value, topic.max_message_bytes)))

    def publish(self, *messages: Struct) -> None:
        """Publish messages of upstream services, each when the system is at rest after the one before.

        Raises
        ------
        TypeError
            If a message is none that upstream services publish.
        """
        for message in messages:
            self.publish_together([message])

    def publish_together(self, messages: Iterable[Struct]) -> None:
        """Publish messages, all of them before the system processes the first one.

        Raises
        ------
        TypeError
            If a message is none that upstream services publish. None is published then.
        """
        for record in [self._record_of(message) for message in messages]:
            self._append(record)
        self._come_to_rest()

    def _record_of(self, message: Struct) -> Output:
        if TOPIC_OF.get(type(message)) not in topics.INPUTS:
            expected = ", ".join(topic.message.__name__ for topic in topics.INPUTS if topic.message is not None)
            raise TypeError(f"{type(message).__name__} is no message of upstream services: expected {expected}")
        return keyed.output(message, self._partitions)

    def publish_bytes(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Append one record of any bytes to a topic, in the partition of its key.

        Parameters
        ----------
        topic : str
            Name of a topic, such as "browse-events".
        key, value : bytes or None
            Key and value of the record.
        """
        self._append(Output(topic, self._partition_of(topic, key), key, value))
        self._come_to_rest()

    def tick(self, at: float | None = None, partition: int | None = None) -> None:
        """Let time pass: close windows that have ended, and refresh leases.

        Parameters
        ----------
        at : float, optional
            Time that is reached, UTC epoch seconds; by default that of the clock.
        partition : int, optional
            The partition that reaches it; by default all of them, one after the other.

        Raises
        ------
        ValueError
            If there is no time, because neither `at` nor a clock is given.
        """
        reached = self._clock() if at is None else at
        if at is None and self._clock is _end_of_time:
            raise ValueError("no time to reach: expected `at`, or a pipeline with a clock")
        for each in range(self._partitions) if partition is None else [partition]:
            self._append(Output(topics.TICKS.name, each, str(each).encode(), encode(Tick(at=reached))))
            self._come_to_rest()

    @property
    def issues(self) -> list[CouponIssue]:
        """Coupons given to shoppers, in order."""
        return self.messages(CouponIssue)

    @property
    def dead_letters(self) -> list[dict[str, str]]:
        """Headers of the dead letters, in order: `reason`, `detail` and the place of the record."""
        letters = [one for one in self.outputs if one.topic == topics.DEAD_LETTERS.name]
        return [{name: value.decode(errors="replace") for name, value in letter.headers} for letter in letters]

    def messages(self, kind: type[M]) -> list[M]:
        """Return the messages of one type among `outputs`, in order.

        Parameters
        ----------
        kind : type
            Type of a topic's messages, such as `LoggedDecision` or `TrainingExample`.

        Raises
        ------
        BadMessage
            If bytes were published to the topic that are no such message.
        """
        topic = TOPIC_OF[kind]
        decode = Decoder(topic)
        return [decode(one.value, topic.max_message_bytes) for one in self.outputs if one.topic == topic.name]

    def _partition_of(self, topic: str, key: bytes | None) -> int:
        count = topics.BY_NAME[topic].partitions or self._partitions
        return topics.partition_for(key or b"", count) if count > 1 else 0

    def _come_to_rest(self) -> None:
        while self._pending:
            record = self._pending.popleft()
            if record.topic == topics.EXAMPLES.name:
                self._learn(record)
            elif record.topic == topics.LIFT_TOTALS.name:
                self._measure(record)
            elif (owner := self._readers.get(record.topic)) is not None:
                result = owner.batches.apply(record.partition, [record], {})
                owner.batches.save(result)
                self.facts.update(result.facts)
                if self._on_result is not None:
                    self._on_result(result)
                for output in result.outputs:
                    self._append(output)

    def _append(self, output: Output) -> None:
        place = output.topic, output.partition
        offset = self._ends.get(place, 0)
        self._ends[place] = offset + 1
        self.sent[output.topic] = self.sent.get(output.topic, 0) + 1
        arrived_ms = int(self._clock() * 1000)
        self._pending.append(Record(*place, offset, arrived_ms, output.key, output.value, tuple(output.headers)))
        self._on_output(output)
        for take in self._listeners.get(output.topic, ()):
            take(output.value)

    def _learn(self, record: Record) -> None:
        if self._fixed is not None:
            return
        try:
            lesson, origin = _decode_example(record.value), sender_of(record, self._partitions)
            is_news = lesson.is_lesson and self.trainer.learn(lesson, record.offset, origin)
        except BadMessage as bad:
            self._append(dead_letter(record, bad.reason, bad.detail))
            return
        self._has_learnt |= is_news

    def _measure(self, record: Record) -> None:
        self.lift.take(_decode_totals(record.value))
        self.lift.update()
        self._known = dataclasses.replace(self._known, brakes=dict(self.lift.brakes))

    @contextmanager
    def without_coupons(self) -> Iterator[None]:
        """Let what is published count for all that is known of shoppers, and lead to no coupon: a history."""
        rules = self._rules
        self._decide_by(replace(rules, policy=replace(rules.policy, triggers=frozenset())))
        try:
            yield
        finally:
            self._decide_by(rules)

    def _decide_by(self, rules: Rules) -> None:
        self._rules = rules
        self._known = dataclasses.replace(self._known, rules=rules)

    def serve_models(self, scorers: Mapping[str, Scorer] | None = None) -> None:
        """Serve some models from now on, by domain; by default those that are learnt now."""
        self._serve(self.trainer.scorers() if scorers is None else scorers)

    def _serve(self, news: Mapping[str, Scorer]) -> None:
        self._has_learnt = False
        self._known = dataclasses.replace(self._known, scorers={**self._known.scorers, **news})

    def states(self) -> Iterator[tuple[str, int, str, bytes]]:
        """Yield (agent, partition, key, cell) of all states, cells encoded."""
        for name, owner in self.owners.items():
            for partition in range(self._partitions):
                for key, cell in sorted(owner.batches.cells(partition).items()):
                    yield name, partition, key, cell
