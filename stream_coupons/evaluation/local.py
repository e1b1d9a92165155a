"""The whole system in one process without a broker: the same agents and steps over logs in memory.

One thread, one order: the same records always give the same bytes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

import msgspec
import numpy as np
from msgspec import Struct

from stream_coupons import topics
from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.agents.wire import dead_letter, sender_of
from stream_coupons.codec import Decoder, encode
from stream_coupons.core import attribution, observation
from stream_coupons.core.coupons import Catalogue
from stream_coupons.core.errors import BadMessage
from stream_coupons.core.events import END_OF_TIME, NO_COUPON, Coupon, OpenDecision, Tick
from stream_coupons.core.features import hashed_names
from stream_coupons.core.rules import AttributionRules
from stream_coupons.core.scoring import HEADS, Knowledge, Scorer
from stream_coupons.core.shopper import Predicted, Shopper
from stream_coupons.core.views import Moment
from stream_coupons.models.learner import Trainer
from stream_coupons.models.linear import LinearScorer, prior
from stream_coupons.runtime.attempt import Result
from stream_coupons.runtime.batch import Batches
from stream_coupons.runtime.records import Output, Record
from stream_coupons.runtime.stores import MemoryCells
from stream_coupons.secret import rules_of
from stream_coupons.settings import Settings

NO_CLOCK_MS = int(END_OF_TIME * 1000)
"""Time of arrival of every record: there is no clock here, so nothing is from the future."""


class _RulesOfLog(AttributionRules, frozen=True, kw_only=True):
    """A log shows only later whether its channels report: that is asked when a window closes, whenever it began."""

    def awaits_impressions(self, domain: str) -> bool:  # noqa: ARG002
        return True


class _Owner:
    """An agent, its table and its runtime."""

    def __init__(self, step: KeyedAgent[object], partitions: int) -> None:
        self.step = step
        # Nothing is ever delivered twice here, so nothing is kept to be sent again.
        self.batches: Batches[object] = Batches(
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
    scorer : Scorer, optional
        Scores in place of the model that learns: a baseline or the ground truth. Nothing is learnt then.
    serves_at_once : bool
        Whether what was learnt comes into use at once; else by `publish` only.
    partitions : int
        Of the topics that agents read. It decides nothing but the order in which a tick reaches shoppers.
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
        scorer: Scorer | None = None,
        serves_at_once: bool = True,
        partitions: int = 1,
        on_output: Callable[[Output], None] | None = None,
        on_result: Callable[[Result], None] | None = None,
    ) -> None:
        self._rules = rules_of(settings)
        self._catalogue = Catalogue(coupons, self._rules.policy.typical_price_minor)
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
        """What is known now. What was learnt comes into use when it is asked for."""
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

    def look_at(self, attributes: Mapping[str, tuple[str, ...]], domains: Iterable[str] = ()) -> None:
        """Look at these attributes of coupons, by domain, from now on, and at no others.

        `domains` are known beside those that have coupons.
        """
        coupons, price_minor = self._catalogue.by_id.values(), self._rules.policy.typical_price_minor
        self._catalogue = Catalogue(coupons, price_minor, attributes, domains)
        self._known = Knowledge(self._rules, self._catalogue, self._known.scorers, self._known.prior)

    def believe_impressions(self, domains: frozenset[str]) -> None:
        """Take it from now on that the channels of these domains, and of no others, report every impression."""
        for domain in domains - self._rules.attribution.impression_domains:
            self.trainer.doubt_silence(domain)
        given = msgspec.structs.asdict(self._rules.attribution)
        reported = _RulesOfLog(**(given | {"impression_domains": domains}))
        self._rules = msgspec.structs.replace(self._rules, attribution=reported)
        self._known = Knowledge(self._rules, self._catalogue, self._known.scorers, self._known.prior)

    def shopper(self, user_id: str) -> Shopper:
        """A shopper's state as it is now, to be looked at."""
        partition = topics.partition_for(user_id.encode(), self._partitions)
        state = self.owners["users"].batches.state(partition, user_id)
        assert isinstance(state, Shopper)
        return state

    def score(
        self, moment: Moment, coupon_ids: Sequence[str], domain: str, alternatives: Sequence[str]
    ) -> list[Predicted]:
        """Probabilities of some coupons at a moment; what `NO_COUPON` among them would bring, by the model of a domain.

        `alternatives` are the coupons that could be given in place of nothing, if that is known.

        Raises
        ------
        KeyError
            If the catalogue has no such coupon.
        """
        by_domain: dict[str, list[str]] = {}
        predicted: dict[str, list[float]] = {}
        for coupon_id in coupon_ids:
            if coupon_id == NO_COUPON:
                rows = observation.rows_without(moment, domain, alternatives, self._get_known())
                predicted[coupon_id] = self._get_known().scorer(domain).predict(rows)[0].tolist()
            else:
                by_domain.setdefault(self._catalogue.by_id[coupon_id].domain, []).append(coupon_id)
        for name, members in by_domain.items():
            coupons = self._catalogue.domains[name]
            positions = np.array([coupons.position[coupon_id] for coupon_id in members])
            _, scored = observation.predict(moment, coupons, positions, name, alternatives, self._get_known())
            predicted.update(zip(members, scored.tolist(), strict=True))
        return [attribution.stored(predicted[coupon_id]) for coupon_id in coupon_ids]

    def contributions(self, moment: Moment, coupon_id: str, domain: str, head: str) -> list[tuple[str, float, float]]:
        """Return (feature, value, its part of the head's log-odds) of a coupon at a moment, the largest first.

        `NO_COUPON` is the moment in which none is given. Zeros are left out.

        Raises
        ------
        KeyError
            If the catalogue has no such coupon.
        """
        known, names = self._get_known(), hashed_names({}, moment.context)
        if coupon_id == NO_COUPON:
            rows = observation.rows_without(moment, domain, (), known)
        else:
            coupons = self._catalogue.domains[domain]
            rows = observation.rows_with(moment, coupons, np.array([coupons.position[coupon_id]]), known)
            given = self._catalogue.by_id[coupon_id].attributes
            named = {name: given.get(name) for name in coupons.attributes}
            names = hashed_names(named, moment.context, has_vectors=coupons.has_vectors)
        names += ("unknown",) * (rows.hashed.shape[1] - len(names))
        scorer = known.scorer(domain)
        assert isinstance(scorer, LinearScorer)
        return scorer.contributions(rows, 0, HEADS.index(head), names)

    def states(self) -> Iterator[tuple[str, str, bytes]]:
        """(agent, key, cell) of all states."""
        for name, owner in self.owners.items():
            cells = chain.from_iterable(owner.batches.cells(each).items() for each in range(self._partitions))
            for key, cell in sorted(cells):
                yield name, key, cell
