"""The steps that every runtime runs, behind the one interface that peers see: a record and a cell in, outputs out.

This is the only module of the benchmark that knows how our agents call their steps. A runtime that handles one message
at a time is a batch of one.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.load.workload import Workload
from stream_coupons.agents.budgets import Budgets
from stream_coupons.agents.keyed import KeyedAgent
from stream_coupons.agents.neighbours import Neighbours
from stream_coupons.agents.users import Users
from stream_coupons.core.catalogue.catalogue import Catalogue
from stream_coupons.core.decision.scoring import Knowledge
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.kafka import topics
from stream_coupons.kafka.records import Output, Record
from stream_coupons.models.linear import prior
from stream_coupons.runtime.steps import SHARED_PREFIX, SharedStates
from stream_coupons.settings import Settings

SOURCES = (topics.BROWSE.name, topics.CART.name, topics.ORDER.name)
"""Topics of the event file."""

READS = {
    "users": (*SOURCES, topics.LEASES.name, topics.NEIGHBOURS.name),
    "budgets": (topics.LEASE_REPORTS.name,),
    "neighbours": (topics.VECTORS.name,),
}
"""What each agent reads, without the topics that stay empty here (feedback, observed issues, ticks)."""

WRITTEN = {
    "vectors": topics.VECTORS.name,
    "updates": topics.NEIGHBOURS.name,
    "issues": topics.ISSUES.name,
    "leases": topics.LEASES.name,
    "reports": topics.LEASE_REPORTS.name,
    "decisions": topics.DECISIONS.name,
}
"""Topics that the steps write to, by what is counted there."""


class Job(Struct, frozen=True, kw_only=True):
    """Settings of a runtime's process: JSON in its first argument.

    Attributes
    ----------
    commit_interval_s, poll_s : float or None
        How often Quix Streams commits, and how long it collects records before it looks at any; None for its defaults.
    """

    bootstrap: str
    group: str
    partitions: int
    workload: Workload
    folder: str
    commit_interval_s: float | None = None
    poll_s: float | None = None


class Shared:
    """The partition's shared states, kept among the cells of the peer's own store."""

    def __init__(self, partition: int, load: Callable[[str], Any]) -> None:
        self._prefix = f"{SHARED_PREFIX}{partition}:"
        self._load = load

    def get(self, key: str, /) -> Any:
        """The state of a key."""
        return self._load(self._prefix + key)

    def items(self) -> Iterable[tuple[str, Any]]:
        """None: only time, which does not pass here, looks at all of them."""
        return ()

    def save(self, states: SharedStates[Any], save: Callable[[str, Any], None]) -> None:
        """Put what was changed beside the cells."""
        for key, state in states.changed.items():
            save(self._prefix + key, state)


class AgentSteps:
    """One agent's steps over state records that are bytes.

    A cell is the agent's state and nothing else: no offsets, no outbox. What a peer would need to survive a replay is
    left out, in its favour; so is that what its keys share is saved with their cells or not at all.
    """

    def __init__(self, agent: KeyedAgent[Any]) -> None:
        self.name = agent.name
        self.reads = READS[agent.name]
        self._agent = agent
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(agent.state_type).decode
        self._decode_shared = msgspec.msgpack.Decoder(agent.shared_type or dict).decode

    def step(
        self, record: Record, load: Callable[[str], bytes | None], save: Callable[[str, bytes], None]
    ) -> list[Output]:
        """Decode a record, load the cell of its key, run the step, save the cell; the outputs."""

        def load_shared(key: str) -> Any:
            data = load(key)
            return None if data is None else self._decode_shared(data)

        key, message = self._agent.read(record)
        shared, state = Shared(record.partition, load_shared), None
        if record.topic not in self._agent.shared_topics:
            cell = load(key)
            state = self._agent.state_type() if cell is None else self._decode(cell)
        states = SharedStates(shared, self._agent.new_shared)
        if state is None:
            outcome = self._agent.apply_shared(message, record, states)
        else:
            works = self._agent.decide([self._agent.fold(key, state, message, record).work])
            outcome = self._agent.commit(works[0], record, states)
        shared.save(states, lambda name, new: save(name, self._encode(new)))
        if state is not None:
            save(key, self._encode(state))
        return outcome.outputs


def new_agents(workload: Workload, partitions: int) -> list[KeyedAgent[Any]]:
    """Our three agents as a worker has them before any model was learnt."""
    rules = workload.settings(Settings()).rules(PUBLIC_KEY)
    known = Knowledge(rules, Catalogue(workload.catalogue(), rules.policy.typical_price_minor), {}, prior())
    return [kind(lambda: known, partitions) for kind in (Users, Budgets, Neighbours)]


def all_steps(job: Job) -> dict[str, AgentSteps]:
    """Every agent's steps, by name."""
    return {agent.name: AgentSteps(agent) for agent in new_agents(job.workload, job.partitions)}
