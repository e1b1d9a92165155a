"""Every order in which a learner that is stopped, its successor and the broker can act: no example is lost or doubled.

Real: the learners, the rules by which they skip, publish, acknowledge and take over, and the rule by which snapshots
are read. Fakes: a broker in memory, and models that keep the ids of their examples. The first learner stops and wakes
anywhere: what it had begun to append lands late. The second is killed anywhere, and the third goes on. Compaction may
precede each reading.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry

from stream_coupons.agents.learner import Latest, Learner
from stream_coupons.core.draws import PUBLIC_KEY
from stream_coupons.core.messages.learning import ModelSnapshot, TrainingExample
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.records import ORIGIN_HEADER, Membership, Output, Record
from stream_coupons.models.learner import Trainer
from stream_coupons.models.snapshots import FORMAT_VERSION, SCHEMA
from stream_coupons.observability.metrics import Metrics
from stream_coupons.runtime.delivery import Offsets, TransactionUndone
from stream_coupons.runtime.source import Chunk
from stream_coupons.settings import LearningSettings, Settings
from stream_coupons.worker.knowledge import CurrentKnowledge
from tests.models.builders import example

EXAMPLES = TP(topics.EXAMPLES.name, 0)
DOMAINS = ("x", "y", "x")
"""Of each example."""
AT_ONCE = 2
"""Examples in a message."""
LEARNT = "learnt"
SETTINGS = Settings(learning=LearningSettings(publish_every_s=1e6))
METRICS = Metrics(CollectorRegistry())
KNOWN = CurrentKnowledge(SETTINGS.rules(PUBLIC_KEY), METRICS)


def to_learn(offset: int) -> Record:
    learnt = example(example_id=str(offset), domain=DOMAINS[offset])
    origin = ((ORIGIN_HEADER, b"ticks:0:%d:0" % offset),)
    return Record(EXAMPLES.topic, 0, offset, 0, learnt.domain.encode(), encode(learnt), origin)


RECORDS = [to_learn(offset) for offset in range(len(DOMAINS))]


class Ids:
    """In place of the model of a domain: the ids of its examples."""

    def __init__(self, domain: str) -> None:
        self.domain, self.offset, self.version, self.thinning, self.examples = domain, -1, 0, 0, 0
        self.ids: list[str] = []
        self.origins: dict[str, tuple[int, int]] = {}
        self.earlier: dict[str, list[str]] = {}
        self.heads: dict[str, Any] = {}

    def learn(self, learnt: TrainingExample, *_: Any) -> list[Any]:
        self.ids.append(learnt.example_id)
        self.examples += 1
        return []

    def note(self, _: TrainingExample) -> None:
        """Nothing is counted of examples left out."""

    def snapshot(self) -> ModelSnapshot:
        self.version += 1
        return ModelSnapshot(
            domain=self.domain,
            version=self.version,
            format_version=FORMAT_VERSION,
            feature_schema=SCHEMA,
            river_version="",
            examples=self.examples,
            source_offset=self.offset,
            origins=dict(self.origins),
            at=0.0,
            heads={},
            checksum=0,
            earlier={LEARNT: list(self.ids)},
        )

    def restore(self, snapshot: ModelSnapshot) -> None:
        self.version, self.offset, self.examples = snapshot.version, snapshot.source_offset, snapshot.examples
        self.origins, self.ids = dict(snapshot.origins), list(snapshot.earlier[LEARNT])


def new_trainer(*_: Any) -> Trainer:
    trainer = Trainer(LearningSettings())
    trainer._new_model = Ids  # type: ignore[assignment]
    return trainer


class Order:
    """One order of events: choices as scripted, then the first of each.

    Parameters
    ----------
    script : sequence of int
        The first choices.
    seen : set
        States from which all orders are played, or will be. It grows.
    """

    def __init__(self, script: Sequence[int], seen: set[Any]) -> None:
        self._script, self._seen = script, seen
        self.made: list[tuple[int, int]] = []
        """Each choice, and the number of alternatives."""

    def is_known(self, state: Any) -> bool:
        """Return whether another order came to a state, behind the scripted choices of this one."""
        if len(self.made) < len(self._script):
            return False
        is_known = state in self._seen
        self._seen.add(state)
        return is_known

    def choose(self, alternatives: Sequence[Any]) -> Any:
        number = self._script[len(self.made)] if len(self.made) < len(self._script) else 0
        if len(alternatives) > 1:
            self.made.append((number, len(alternatives)))
            return alternatives[number]
        return alternatives[0]

    def next_script(self) -> list[int] | None:
        made = list(self.made)
        while made and made[-1][0] + 1 == made[-1][1]:
            made.pop()
        return [number for number, _ in made[:-1]] + [made[-1][0] + 1] if made else None


@dataclass(frozen=True)
class Rules:
    """How things are done; all but the first two are mistakes."""

    is_transactional: bool = False
    is_compacting: bool = True
    has_one_key: bool = False
    """A learner writes under the key of its predecessor."""
    takes_last: bool = False
    """The last snapshot counts, not the one that has learnt most."""
    stops_at_open: bool = False
    """A reader does not wait for transactions that are not ended in its topic."""


@dataclass
class Transaction:
    offset: int | None = None
    state: str = "open"
    """Or decided, or aborted."""
    is_marked: bool = False
    """True if the topic of the snapshots has the end of it; the group's offsets have theirs by themselves."""


@dataclass
class Broker:
    rules: Rules
    owner: int = 0
    """The number of the learner that owns the models; what former members commit is refused."""
    committed: int = 0
    log: list[tuple[bytes, ModelSnapshot | None, Transaction | None]] = field(default_factory=list)
    ending: list[tuple[str, Transaction]] = field(default_factory=list)
    """Work of the broker at the end of transactions."""

    def state(self) -> Any:
        rows = [
            (key, snapshot and (snapshot.domain, *snapshot.earlier[LEARNT]), of and (of.state, of.is_marked))
            for key, snapshot, of in self.log
        ]
        return self.owner, self.committed, tuple(rows), tuple(what for what, _ in self.ending)

    def append(self, output: Output, transaction: Transaction | None) -> None:
        key, value = output.key or b"", output.value
        if self.rules.has_one_key:
            if value is None:
                return
            key = key.rpartition(b" ")[0]
        snapshot = None if value is None else msgspec.json.decode(value, type=ModelSnapshot)
        self.log.append((key, snapshot, transaction))

    def end_transaction(self, transaction: Transaction, *, is_aborted: bool = False) -> None:
        if is_aborted:
            transaction.state, transaction.is_marked = "aborted", True
            return
        transaction.state = "decided"
        self.ending += [("mark", transaction), ("commit", transaction)]

    async def go_on(self, work: tuple[str, Transaction]) -> None:
        """Do a part of the work that is left of a transaction."""
        self.ending.remove(work)
        what, transaction = work
        if what == "mark":
            transaction.is_marked = True
        else:
            assert transaction.offset is not None
            self.committed = transaction.offset

    def is_all_ended(self) -> bool:
        """True if no transaction stands between a reader and the end of the log."""
        return all(transaction is None or transaction.is_marked for *_, transaction in self.log)

    def known(self, *, is_compacted: bool) -> CurrentKnowledge:
        """Return what a reader of the log knows, up to the first transaction that is not ended."""
        read = []
        for key, snapshot, transaction in self.log:
            if transaction is not None and not transaction.is_marked:
                break
            if transaction is None or transaction.state != "aborted":
                read.append((key, snapshot))
        if is_compacted:
            places = {key: place for place, (key, _) in enumerate(read)}
            read = [each for place, each in enumerate(read) if places[each[0]] == place]
        known = copy(KNOWN)
        known.snapshots, known.series = {}, {}
        for _, snapshot in read:
            if snapshot is not None:
                if self.rules.takes_last:
                    known.snapshots.pop(snapshot.domain, None)
                known.take_snapshot((snapshot, None))  # type: ignore[arg-type]
        return known


class Process:
    """A learner and its client, which stop before each request until they may go on."""

    def __init__(self, broker: Broker, number: int) -> None:
        self.broker, self.number = broker, number
        self.consumer, self.rebalancing = self, False
        self.is_transactional = broker.rules.is_transactional
        self.waits_for: str | None = None
        self.transaction: Transaction | None = None
        self.seen: list[Any] = []
        """Its requests and what it read: what it does next depends on nothing else."""
        self._may_go_on: asyncio.Future[None] | None = None
        self._has_stopped = asyncio.Event()
        self._done = 0
        self.learner = Learner(SETTINGS, self, METRICS, self.latest, self)  # type: ignore[arg-type]
        self._task = asyncio.ensure_future(self._live())
        self._task.add_done_callback(lambda _: self._stop(None))

    @property
    def is_fenced(self) -> bool:
        return self.broker.owner != self.number

    @property
    def may_step(self) -> bool:
        match self.waits_for:
            case "take":
                return self._position < len(RECORDS)
            case "read":
                return self.broker.rules.stops_at_open or self.broker.is_all_ended()
            case request:
                return request is not None

    def _stop(self, request: str | None) -> None:
        self.waits_for = request
        self._has_stopped.set()

    async def stopped(self) -> None:
        """Wait until it wants to send its next request, or has ended."""
        await self._has_stopped.wait()
        if self._task.done():
            self._task.result()

    async def step(self) -> None:
        """Let it do what it waits for."""
        assert self._may_go_on is not None
        self._has_stopped.clear()
        self._may_go_on.set_result(None)
        await self.stopped()

    async def end(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self.transaction is not None and self.transaction.state == "open":
            self.broker.end_transaction(self.transaction, is_aborted=True)

    async def _turn_of(self, request: str) -> None:
        self._may_go_on = asyncio.get_running_loop().create_future()
        self._stop(request)
        await self._may_go_on
        self.seen.append((request, self.is_fenced))

    async def _live(self) -> None:
        self._position = 0
        self.learner.inbox.assign(frozenset({0}), Membership(f"m{self.number}", self.number))
        await self.learner._turn()
        await self._turn_of("seek")
        self._position = self._done = self.broker.committed
        self.seen.append(self._position)
        while not (self.is_transactional and self.is_fenced):
            await self._turn_of("take")
            records = RECORDS[self._position : self._position + AT_ONCE]
            chunk = Chunk(EXAMPLES, records, self._position, records[-1].offset + 1, self.number)
            self._position = chunk.end
            self.seen.append(self._position)
            await self.learner.inbox.consume(one(SimpleNamespace(message=SimpleNamespace(value=[chunk]))))
            self.learner._publish_at = 0.0
            await self.learner._turn()
            if not self.is_transactional:
                await self._turn_of("commit")
                if not self.is_fenced:
                    self.broker.committed = self._done

    async def join(self, *_: Any) -> None:
        """Former members have left no transaction open: see `play`."""

    async def latest(self) -> Latest:
        await self._turn_of("read")
        known = self.broker.known(is_compacted=self.broker.rules.is_compacting)
        self.seen.append(self.broker.state())
        return known.snapshots, known.series

    def take(self, message: Any) -> list[Chunk]:
        return list(message.value)

    def acknowledge(self, _message: Any, chunks: Sequence[Chunk], *, is_committed: bool = False) -> None:
        if chunks:
            assert is_committed == self.is_transactional
            self._done = chunks[-1].end

    async def deliver(self, _agent: str, _changes: Any, outputs: Sequence[Output], offsets: Offsets) -> None:
        self.transaction = Transaction() if self.is_transactional else None
        for output in outputs:
            await self._turn_of("append")
            self._check_fence()
            self.broker.append(output, self.transaction)
        if self.transaction is not None:
            await self._turn_of("commit")
            self._check_fence()
            self.transaction.offset = offsets[EXAMPLES]
            await self._turn_of("end")
            self._check_fence()
            self.broker.end_transaction(self.transaction)

    def _check_fence(self) -> None:
        if self.transaction is not None and self.is_fenced:
            raise TransactionUndone


async def one(event: Any) -> AsyncIterator[Any]:
    yield event


APART = frozenset({"seek", "commit", "take"})
"""Requests that change nothing for an append, and which it does not change: one order of both is enough."""


async def play(rules: Rules, order: Order) -> list[str]:
    """Play one order to its end; return what it has lost or doubled."""
    broker = Broker(rules)
    learners = [Process(broker, 0)]
    lost: list[str] = []
    await learners[0].stopped()
    try:
        while True:
            owner = learners[-1]
            if not broker.ending and not owner.may_step and owner.waits_for == "take":
                lost += differences(broker)
            stopped = learners[0] if len(learners) > 1 else None
            if stopped is not None and stopped.may_step and stopped.waits_for in APART:
                await stopped.step()
                continue
            actions: list[Callable[[], Awaitable[None]]] = []
            # A transaction that is half ended matters to the next owner, when it reads.
            is_ending = bool(broker.ending) and owner.waits_for not in ("read", "seek")
            if owner.may_step and not is_ending:
                actions.append(owner.step)
            if len(learners) < 3:
                actions.append(lambda: take_over(broker, learners))
            if stopped is not None and stopped.may_step and not (owner.may_step and owner.waits_for in APART):
                actions.append(stopped.step)
            actions += [partial(broker.go_on, work) for work in broker.ending[: 1 if is_ending else None]]
            state = broker.state(), *((each.waits_for, tuple(each.seen)) for each in learners)
            if not actions or order.is_known(state):
                return lost
            await order.choose(actions)()
    finally:
        for learner in learners:
            await learner.end()


async def take_over(broker: Broker, learners: list[Process]) -> None:
    """The group goes on with another member: the first learner is stopped, the second is killed."""
    broker.owner = len(learners)
    for former in learners:
        if former.transaction is not None and former.transaction.state == "open":
            broker.end_transaction(former.transaction, is_aborted=True)
    if len(learners) == 2:
        await learners[1].end()
    learners.append(Process(broker, len(learners)))
    await learners[-1].stopped()


def differences(broker: Broker) -> list[str]:
    """Return the models of a quiet system that have not learnt each of their examples once."""
    found = []
    for is_compacted in (False, True):
        snapshots = broker.known(is_compacted=is_compacted).snapshots
        for domain in sorted(set(DOMAINS)):
            expected = [str(number) for number, of in enumerate(DOMAINS) if of == domain]
            learnt = snapshots[domain].earlier[LEARNT] if domain in snapshots else []
            if learnt != expected:
                found.append(f"{domain}: {learnt}, expected {expected}; compacted: {is_compacted}")
    return found


async def play_all(rules: Rules, *, until_lost: bool = False) -> tuple[int, list[str]]:
    script: list[int] | None = []
    orders, lost, seen = 0, [], set[Any]()
    while script is not None and not (lost and until_lost):
        order = Order(script, seen)
        lost += [f"{one}, order {order.made}" for one in await play(rules, order)]
        script = order.next_script()
        orders += 1
    return orders, lost


@pytest.fixture(autouse=True)
def _light_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_coupons.agents.learner._new_trainer", new_trainer)
    monkeypatch.setattr("stream_coupons.agents.learner.report_model", lambda *_: None)


@pytest.mark.long
@pytest.mark.parametrize("is_compacting", [False, True], ids=["whole log", "compacted"])
@pytest.mark.parametrize("is_transactional", [False, True], ids=["at least once", "exactly once"])
def test_no_order_of_a_stop_a_takeover_and_an_awakening_loses_or_doubles_an_example(
    is_transactional: bool, is_compacting: bool
) -> None:
    orders, lost = asyncio.run(play_all(Rules(is_transactional, is_compacting)))
    assert lost == []
    assert orders > 100


MISTAKES = {
    "the last snapshot counts": Rules(is_compacting=False, takes_last=True),
    "compaction leaves the late snapshot": Rules(has_one_key=True),
    "a transaction is committed and its snapshots are not there yet": Rules(is_transactional=True, stops_at_open=True),
}


@pytest.mark.parametrize("rules", MISTAKES.values(), ids=MISTAKES)
def test_these_orders_find_each_way_in_which_an_example_was_lost(rules: Rules) -> None:
    _, lost = asyncio.run(play_all(rules, until_lost=True))
    assert lost
