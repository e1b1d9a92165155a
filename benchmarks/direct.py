"""The whole system in one process without records: the same agents and steps on states in memory, and no byte encoded.

It decides what `LocalPipeline` decides, in less than half the time, but it cannot be audited, replayed or resumed.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.keyed import TOPIC_OF, KeyedAgent
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.scoring import Knowledge, Scorer
from stream_coupons.core.effects import Effects
from stream_coupons.core.messages.catalogue import Campaign, Coupon
from stream_coupons.core.messages.learning import TrainingExample
from stream_coupons.core.money.purses import Purse
from stream_coupons.core.rules import Rules
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Record
from stream_coupons.models.learner import Trainer
from stream_coupons.models.linear import prior
from stream_coupons.runtime.deadlines import Deadlines
from stream_coupons.runtime.steps import Deferred, SharedStates
from stream_coupons.secret import rules_of
from stream_coupons.settings import Settings

NO_RECORD = Record("", 0, 0, -1, None, None)
"""The record of every message: of partition 0, appended at no time."""


class _Table:
    """An agent and its states."""

    def __init__(self, agent: KeyedAgent[Any]) -> None:
        self.agent = agent
        self.states: defaultdict[str, Any] = defaultdict(agent.state_type)
        self.deadlines = Deadlines()
        self.ids = {topic.name: topic.key for topic in agent.reads}


class DirectPipeline:
    """Feed it messages; it calls back with what it sent.

    Parameters
    ----------
    settings : Settings
        The same as a worker's; there is one partition, whatever they say.
    coupons : iterable of Coupon
        The catalogue.
    campaigns : iterable of Campaign
        Whose budgets coupons share.
    scorer : Scorer, optional
        Scores in place of the model that learns. Nothing is learnt then.
    on_message : callable, optional
        Called with every message sent, in order.

    Attributes
    ----------
    facts : Counter
        What was counted, by (noun, kind).
    refused : Counter
        Messages that could not be used, by reason.
    """

    def __init__(
        self,
        settings: Settings,
        coupons: Iterable[Coupon],
        *,
        campaigns: Iterable[Campaign] = (),
        scorer: Scorer | None = None,
        on_message: Callable[[Struct], None] = lambda _: None,
    ) -> None:
        rules = rules_of(settings)
        catalogue = Catalogue(coupons, rules.policy.typical_price_minor, campaigns=campaigns)
        self._known = Knowledge(rules, catalogue, {}, scorer or prior())
        self._learns = scorer is None
        self._on_message = on_message
        self._trainer = Trainer(settings.learning)
        self._has_learnt = False
        self._lessons = 0
        agents: tuple[KeyedAgent[Any], ...] = (
            Users(self._get_known, 1),
            Budgets(self._get_known, 1),
            Neighbours(self._get_known, 1),
        )
        self._tables = [_Table(agent) for agent in agents]
        self._readers = {topic: table for table in self._tables for topic in table.ids}
        self._pending: deque[Struct] = deque()
        self.facts: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[str] = Counter()
        self._shared = SharedStates[Purse]({}, Purse)

    def _get_known(self) -> Knowledge:
        if self._has_learnt:
            self._serve(self._trainer.live())
        return self._known

    def _serve(self, news: Mapping[str, Scorer]) -> None:
        self._has_learnt = False
        known = self._known
        self._known = Knowledge(known.rules, known.catalogue, {**known.scorers, **news}, known.prior)

    def send(self, message: Struct) -> None:
        """Send a message of an upstream service and let the system come to rest."""
        self._pending.append(message)
        self._come_to_rest()

    @contextmanager
    def without_coupons(self) -> Iterator[None]:
        """Let what is sent count for all that is known of shoppers, and lead to no coupon: a history."""
        rules = self._known.rules
        self._decide_by(replace(rules, policy=replace(rules.policy, triggers=frozenset())))
        try:
            yield
        finally:
            self._decide_by(rules)

    def _decide_by(self, rules: Rules) -> None:
        known = self._known
        self._known = Knowledge(rules, known.catalogue, known.scorers, known.prior)

    def tick(self, at: float) -> None:
        """Let time pass."""
        for table in self._tables:
            if topics.TICKS.name in table.ids:
                # All are taken before any is stepped: what a step makes due waits for the next tick.
                for key in table.deadlines.pop_due(at):
                    state = table.states[key]
                    self._conclude(table, key, state, table.agent.expire(key, state, at, 0, self._shared))
                if table.agent.shared_type is not None:
                    self._take(table.agent.expire_shared(at, 0, self._shared))
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        while self._pending:
            message = self._pending.popleft()
            if isinstance(message, TrainingExample):
                self._learn(message)
            else:
                self._apply(message)

    def _apply(self, message: Struct) -> None:
        topic = TOPIC_OF[type(message)]
        table = self._readers.get(topic.name)
        if table is None:
            return
        if topic.name in table.agent.shared_topics:
            self._take(table.agent.step_shared(message, NO_RECORD, self._shared))
            return
        key = table.agent.state_key(message, str(getattr(message, topic.key)))
        state = table.states[key]
        step = table.agent.step(key, state, message, NO_RECORD, self._shared)
        effects = table.agent.decide([step.work])[0] if isinstance(step, Deferred) else step
        self._conclude(table, key, state, effects)

    def _conclude(self, table: _Table, key: str, state: Any, effects: Effects) -> None:
        if effects.is_over:
            remains = table.agent.remains(state)
            if remains is None:
                del table.states[key]
            else:
                table.states[key] = remains
            table.deadlines.set(key, None)
        else:
            table.deadlines.set(key, table.agent.due(state))
        self._take(effects)

    def _take(self, effects: Effects) -> None:
        self.facts.update(effects.facts)
        self.refused.update(refused.reason for refused in effects.refused)
        for message in effects.messages:
            self._on_message(message)
            self._pending.append(message)

    def _learn(self, lesson: TrainingExample) -> None:
        if self._learns and lesson.is_lesson:
            self._lessons += 1
            self._has_learnt |= self._trainer.learn(lesson, self._lessons, None)
