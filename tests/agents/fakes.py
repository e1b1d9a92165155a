"""The system without a broker, one that can crash anywhere: logs in memory, agents over them, what was committed."""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.keyed import SOFT, KeyedAgent
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.core.messages.leases import Lease
from stream_coupons.core.money.holdings import Holding
from stream_coupons.core.money.purses import Purse
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import Output, Record
from stream_coupons.runtime.batch import BatchProcessor
from stream_coupons.runtime.cells import MemoryCells
from stream_coupons.runtime.steps import SHARED_PREFIX, Result
from tests.runtime.fakes import keep

MAKERS: dict[str, Callable[[Callable[[], Knowledge], int], KeyedAgent[Any]]] = {
    "users": Users,
    "budgets": Budgets,
    "neighbours": Neighbours,
}


def record(topic: topics.Topic, message: msgspec.Struct, offset: int = 0, partitions: int = 1) -> Record:
    """A message as it is read: keyed and partitioned as it should be, just now."""
    key = topic.key_of(message)
    at = float(getattr(message, "occurred_at", None) or getattr(message, "at", 0.0))
    home = message.partition if isinstance(message, Lease) else topics.partition_for(key, partitions)
    return Record(topic.name, home, offset, int(at * 1000), key, encode(message))


@dataclass
class Owner:
    """One agent's process: `tables`, one a partition, and `committed` outlive it, `position` and `batches` do not."""

    make: Callable[[], KeyedAgent[Any]]
    partitions: int
    tables: defaultdict[int, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    committed: dict[tuple[str, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new process: whatever was in memory is gone."""
        self.step = self.make()
        self.batches: BatchProcessor[Any] = BatchProcessor(
            self.step, topics.TICKS.name, topics.partition_for, self.partitions
        )
        for partition in range(self.partitions):
            self.batches.adopt(partition, MemoryCells(self.tables[partition]))
        self.position = dict(self.committed)

    @property
    def table(self) -> dict[str, bytes]:
        """The cells of all partitions, to be looked at."""
        cells = (item for table in self.tables.values() for item in table.items())
        return {key: data for key, data in cells if not key.startswith(SHARED_PREFIX)}

    def committed_in(self, partition: int) -> dict[str, int]:
        """Next offset by topic."""
        return {topic: offset for (topic, home), offset in self.committed.items() if home == partition}


class Shop:
    """Logs by topic and partition, and the agents that read them.

    Parameters
    ----------
    known : callable
        What all agents know now.
    partitions : int
        Of every topic that agents read.
    """

    def __init__(self, known: Callable[[], Knowledge], partitions: int = 2, agents: Iterable[str] = MAKERS) -> None:
        self.partitions = partitions
        self.logs: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)
        self.everything: list[Record] = []
        self.results: list[tuple[str, Result]] = []
        self.owners = {
            name: Owner(lambda make=MAKERS[name]: make(known, partitions), partitions)  # type: ignore[misc]
            for name in agents
        }
        self.now = 0.0
        self.route: Callable[[Output], Iterable[Output]] = lambda output: [output]
        """What becomes of a message between agents that nobody keeps: it may be lost, doubled or late."""

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> Record:
        """What a broker does."""
        log = self.logs[topic, partition]
        one = Record(topic, partition, len(log), int(self.now * 1000), key, value, tuple(headers))
        log.append(one)
        self.everything.append(one)
        return one

    def publish(self, topic: topics.Topic, message: Any) -> Record:
        """A message of an upstream service."""
        key = str(getattr(message, topic.key)).encode()
        self.now = max(self.now, float(getattr(message, "occurred_at", 0.0)))
        return self.append(topic.name, topics.partition_for(key, self.partitions), key, encode(message))

    def start(self, agent: str) -> None:
        """Replace an agent's process, which sends what the one before may not have sent."""
        owner = self.owners[agent]
        owner.start()
        for partition in range(self.partitions):
            self.send(owner.batches.unsent(partition, owner.committed_in(partition)))
            owner.batches.sent(partition)

    def tick(self, at: float) -> None:
        """Let time pass in all partitions."""
        self.now = max(self.now, at)
        for partition in range(self.partitions):
            self.append(topics.TICKS.name, partition, str(partition).encode(), encode(Tick(at=at)))

    def send(self, outputs: Iterable[Output]) -> None:
        """Append what an agent sent."""
        for sent in outputs:
            self.deliver(self.route(sent) if sent.topic in SOFT else [sent])

    def deliver(self, outputs: Iterable[Output]) -> None:
        """Append what comes through."""
        for output in outputs:
            self.append(output.topic, output.partition, output.key, output.value, output.headers)

    def send_copies(self, records: Iterable[Record]) -> None:
        """Append records a second time, as a sender does that does not know they were appended."""
        for one in records:
            self.append(one.topic, one.partition, one.key, one.value, one.headers)

    def waiting(self, agent: str, partition: int, limit: int = 1_000_000) -> list[Record]:
        """The next records of an agent in one partition, in order of their times."""
        owner = self.owners[agent]
        runs = [self.logs[topic, partition][owner.position.get((topic, partition), 0) :] for topic in owner.step.topics]
        return list(heapq.merge(*runs, key=lambda one: one.timestamp_ms))[:limit]

    def process(self, agent: str, partition: int, limit: int = 1_000_000, crash: float | None = None) -> bool:
        """Take one batch through the loop; `crash` is how far the process comes before it dies.

        Below 1: nothing is saved, for all states are one record batch; from 1 to 2: sending outputs one by one; 2: all
        are sent, but not committed.
        """
        owner = self.owners[agent]
        records = self.waiting(agent, partition, limit)
        if not records:
            return False
        result = owner.batches.apply(partition, records, owner.committed_in(partition))
        states, outputs = list(result.cells.items()), result.outputs
        if crash is not None:
            if crash >= 1.0:
                keep(owner.tables[partition], states)
            self.send(outputs[: round(len(outputs) * max(crash - 1.0, 0.0))])
            self.start(agent)
            return True
        keep(owner.tables[partition], states)
        owner.batches.save(result)
        self.send(outputs)
        self.results.append((agent, result))
        for one in records:
            owner.position[one.topic, partition] = one.offset + 1
            owner.committed[one.topic, partition] = one.offset + 1
        return True

    def settle(self) -> None:
        """Process all that waits until nothing does."""
        while any(self.process(agent, home) for agent in self.owners for home in range(self.partitions)):
            pass

    def read(self, records: Iterable[Record]) -> list[Any]:
        """The messages in some records of ours."""
        types = {topic.name: topic.message for topic in topics.with_message()}
        return [msgspec.json.decode(one.value or b"", type=types[one.topic]) for one in records]

    def messages(self, topic: topics.Topic) -> list[Any]:
        """All messages of a topic in the order in which they were sent."""
        return self.read(one for one in self.everything if one.topic == topic.name)

    def state(self, agent: str, key: str) -> Any:
        """A key's durable state; a new one when it has none."""
        owner = self.owners[agent]
        data = owner.table.get(key)
        return owner.batches._codec.decode(data).state if data is not None else owner.step.state_type()

    def holdings(self, account_id: str) -> dict[int, Holding]:
        """The holdings of an account by partition, as its owner has saved them."""
        owner = self.owners["budgets"]
        home, prefix = topics.partition_for(account_id.encode(), self.partitions), f"{SHARED_PREFIX}{account_id}:"
        saved = {key: data for key, data in owner.tables[home].items() if key.startswith(prefix)}
        return {int(key.removeprefix(prefix)): owner.batches._shared_codec.decode(saved[key]) for key in saved}

    def purse(self, account_id: str, partition: int = 0) -> Purse | None:
        """What a partition of users holds of an account, as it is saved."""
        owner = self.owners["users"]
        data = owner.tables[partition].get(SHARED_PREFIX + account_id)
        return None if data is None else owner.batches._shared_codec.decode(data)
