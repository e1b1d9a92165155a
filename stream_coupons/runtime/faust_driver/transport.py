"""Faust's transport with our consumer."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from faust.transport.drivers.aiokafka import Producer, Transport

from stream_coupons.kafka.contact import Contact, connect
from stream_coupons.kafka.fetch_sessions import Priority
from stream_coupons.kafka.settings import Guarantee, KafkaSettings
from stream_coupons.runtime.circuit_breaker import CircuitBreaker
from stream_coupons.runtime.faust_driver.consumer import BatchConsumer


class ConnectedProducer(Producer):  # type: ignore[misc]
    """Faust's own. Nothing of ours goes through it, but it connects all the same."""

    async def on_start(self) -> None:
        """Connect, as soon as a broker answers."""
        await connect(super().on_start, lambda: self._producer.stop())

    def _settings_auth(self) -> Mapping[str, Any]:
        return self.transport.connection.options()  # type: ignore[no-any-return]


class BatchTransport(Transport):  # type: ignore[misc]
    """Faust's transport with our consumer.

    Parameters
    ----------
    url : list of yarl.URL
        The brokers, as Faust has them.
    app : faust.App
        The application.
    connection : KafkaSettings
        How the brokers are reached, and the name of this worker in its group.
    between_agents : iterable of str
        Topics by which agents address each other.

    Attributes
    ----------
    is_fenced : bool
        Whether the broker refuses records of a former member of the group.
    contact : Contact
        The brokers' last answer.
    takers : list of callable
        The loops that take chunks: whether each is able to now. Nothing is fetched before all are.
    agents : dict
        By topic, the agent that reads it.
    breakers : dict
        By topic, the circuit breaker that says whether it may be fetched; none for a topic that always may.
    urgent : frozenset of str
        Topics that are fetched at once; their agent's other topics are fetched with them.
    """

    Consumer = BatchConsumer
    Producer = ConnectedProducer

    def __init__(self, url: Any, app: Any, connection: KafkaSettings, between_agents: Iterable[str]) -> None:
        super().__init__(url, app)
        self.connection = connection
        self.between_agents = frozenset(between_agents)
        self.urgent: frozenset[str] = frozenset()
        self.is_fenced = connection.guarantee is Guarantee.EXACTLY_ONCE
        self.contact = Contact()
        self.takers: list[Callable[[], bool]] = []
        self.agents: dict[str, str] = {}
        self.breakers: dict[str, CircuitBreaker] = {}

    def priority_of(self, topic: str) -> Priority:
        """Return how soon a topic is fetched."""
        if topic in self.urgent:
            return Priority.URGENT
        is_beside = any(self.agents[other] == self.agents[topic] for other in self.urgent)
        return Priority.WITH_URGENT if is_beside else Priority.PATIENT

    def may_fetch(self, topic: str) -> bool:
        """Return whether the circuit of a topic lets a fetch through now."""
        breaker = self.breakers.get(topic)
        return breaker is None or breaker.may_fetch(topic)

    def note_fetched(self, topics: Iterable[str]) -> None:
        """Tell the circuits of these topics that they were fetched."""
        for topic in topics:
            if topic in self.breakers:
                self.breakers[topic].note_fetched(topic)
