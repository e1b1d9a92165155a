"""The transaction coordinator on real logs and files, without a server."""

import asyncio
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from loopback_kafka.api_records import RecordsApi
from loopback_kafka.cleaning import apply_retention, clean_topics
from loopback_kafka.log import PartitionLog
from loopback_kafka.offsets import Committed, CommittedOffsets
from loopback_kafka.protocol import ApiKey, ErrorCode, Fields, Header
from loopback_kafka.sequences import AppendRefused
from loopback_kafka.topics import Topics
from loopback_kafka.transactions import (
    MAX_EPOCH,
    MAX_TIMEOUT_MS,
    MAX_TRANSACTIONAL_IDS,
    NO_PRODUCER,
    ProducerRef,
    Transactions,
)

from .builders import KeyValue, Sender, make_batch
from .committed import ANY_SIZE, committed
from .wire import READ_COMMITTED, fetch_request

TOPIC, PARTITIONS, GROUP = "t", 3, "g"
TIMEOUT_MS = 10_000
OK = ErrorCode.NONE


class Node:
    """What a broker keeps in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.topics = Topics(folder)
        self.offsets = CommittedOffsets(folder / "offsets.jsonl")
        self.transactions = Transactions(folder / "transactions.jsonl", self.topics, self.offsets)

    def restarted(self) -> "Node":
        """The same folder after the process has died."""
        self.close()
        return Node(self._folder)

    def close(self) -> None:
        self.topics.close()
        self.offsets.close()
        self.transactions.close()

    def log(self, partition: int = 0) -> PartitionLog:
        log = self.topics.partition(TOPIC, partition)
        assert log is not None
        return log


@dataclass
class Producer:
    """A client with a transactional id."""

    name: str
    ref: ProducerRef = NO_PRODUCER
    sequences: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def init(self, node: Node, now: float = 0.0) -> ErrorCode:
        error, ref = node.transactions.init(self.name, TIMEOUT_MS, NO_PRODUCER, now)
        return self._take(error, ref)

    def append(self, node: Node, *keys: bytes, partition: int = 0, now: float = 0.0) -> ErrorCode:
        error = node.transactions.add_partition(self.name, self.ref, (TOPIC, partition), now)
        if error is OK:
            sender = Sender(*self.ref, self.sequences[partition])
            records: list[KeyValue] = [(key, b"v") for key in keys]
            node.log(partition).append(make_batch(records, sender, is_transactional=True), ANY_SIZE)
            self.sequences[partition] += len(keys)
        return error

    def add_offset(self, node: Node, offset: int, partition: int = 0, now: float = 0.0) -> ErrorCode:
        offsets = {(TOPIC, partition): Committed(offset, "")}
        return node.transactions.add_offsets(self.name, self.ref, GROUP, offsets, now)

    def end(self, node: Node, is_commit: bool = True, takes_next_epoch: bool = True) -> ErrorCode:
        return self._take(*node.transactions.end(self.name, self.ref, is_commit, takes_next_epoch))

    def _take(self, error: ErrorCode, ref: ProducerRef) -> ErrorCode:
        if error is OK and ref != self.ref:
            self.ref = ref
            self.sequences.clear()
        return error


class FullDisk:
    """Refuses all that comes after the first marker."""

    is_full = True

    def use(self, _: PartitionLog) -> None:
        if self.is_full:
            raise OSError("no space left on device")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    node.topics.create(TOPIC, PARTITIONS, {})
    yield node
    node.close()


@pytest.fixture
def producer(node: Node) -> Producer:
    return started("p", node)


def started(name: str, node: Node) -> Producer:
    producer = Producer(name)
    assert producer.init(node) is OK
    return producer


# ------------------------------------------------------------ what readers see


def test_an_open_transaction_hides_itself_and_what_comes_after_it(node: Node, producer: Producer) -> None:
    log = node.log()
    log.append(make_batch([(b"before", b"v")]), ANY_SIZE)
    producer.append(node, b"a", b"b")
    log.append(make_batch([(b"after", b"v")]), ANY_SIZE)
    assert (log.stable_offset, log.end_offset) == (1, 4)
    assert committed(log) == [b"before"]
    assert log.available(1, ANY_SIZE, is_committed=True) == 0 < log.available(1, ANY_SIZE)
    producer.end(node)
    assert (log.stable_offset, log.end_offset) == (5, 5), "the marker takes an offset"
    assert committed(log) == [b"before", b"a", b"b", b"after"]


def test_aborted_records_are_named_to_readers_who_fetch_from_their_midst(node: Node, producer: Producer) -> None:
    log = node.log()
    producer.append(node, b"a", b"b")
    producer.append(node, b"c")
    first_id = producer.ref.producer_id
    producer.end(node, is_commit=False)
    log.append(make_batch([(b"plain", b"v")]), ANY_SIZE)
    assert committed(log) == [b"plain"]
    for offset, expected in ((0, [(first_id, 0, 3)]), (2, [(first_id, 0, 3)]), (3, [(first_id, 0, 3)]), (4, [])):
        assert log.read_committed(offset, ANY_SIZE, True)[1] == expected


def test_only_aborted_records_that_were_fetched_are_named(node: Node, producer: Producer) -> None:
    log = node.log()
    log.append(make_batch([(b"plain", b"v")]), ANY_SIZE)
    producer.append(node, b"a")
    producer.end(node, is_commit=False)
    assert log.read_committed(0, 1, whole_first=True)[1] == []
    assert [one.first_offset for one in log.read_committed(0, ANY_SIZE, True)[1]] == [1]


def test_one_transaction_holds_several_partitions_and_groups(node: Node, producer: Producer) -> None:
    for partition in range(PARTITIONS):
        producer.append(node, b"a", partition=partition)
    producer.add_offset(node, 7)
    assert node.transactions.pending_offsets(GROUP) == {(TOPIC, 0)}
    assert node.offsets.of_group(GROUP) == {}
    assert producer.end(node) is OK
    assert [committed(node.log(partition)) for partition in range(PARTITIONS)] == [[b"a"]] * PARTITIONS
    assert node.offsets.of_group(GROUP) == {(TOPIC, 0): Committed(7, "")}
    assert not node.transactions.pending_offsets(GROUP)


def test_an_abort_forgets_the_offsets(node: Node, producer: Producer) -> None:
    producer.add_offset(node, 7)
    assert producer.end(node, is_commit=False) is OK
    assert node.offsets.of_group(GROUP) == {}
    assert not node.transactions.pending_offsets(GROUP)


def test_a_time_finds_no_marker_and_a_marker_does_not_hide_later_records(node: Node, producer: Producer) -> None:
    producer.append(node, b"a")
    producer.end(node)
    log = node.log()
    log.append(make_batch([(b"b", b"v")], timestamp=5_000), ANY_SIZE)
    assert log.find_timestamp(2_000) == (2, 5_000)


@pytest.mark.parametrize("is_commit", [False, True])
def test_a_reader_that_waits_hears_of_the_end(node: Node, producer: Producer, is_commit: bool) -> None:
    records = RecordsApi(node.topics, node.transactions)
    request = fetch_request(TOPIC, READ_COMMITTED, max_wait_ms=60_000)
    producer.append(node, b"a")

    async def wait_and_end() -> Fields:
        waiting = asyncio.create_task(records.fetch(Header(ApiKey.FETCH, 11, 0, "c"), request))
        await asyncio.sleep(0)  # it has looked and found nothing
        assert not waiting.done()
        producer.end(node, is_commit)
        async with asyncio.timeout(30):
            return await waiting

    ((row,),) = (topic["partitions"] for topic in asyncio.run(wait_and_end())["responses"])
    assert row["last_stable_offset"] == 2
    assert len(row["aborted_transactions"]) == (0 if is_commit else 1)


# ------------------------------------------------------------ epochs and fences


@pytest.mark.parametrize("takes_next_epoch", [False, True])
def test_transactions_follow_each_other(node: Node, producer: Producer, takes_next_epoch: bool) -> None:
    first = producer.ref
    for key in (b"a", b"b", b"c"):
        producer.append(node, key)
        assert producer.end(node, takes_next_epoch=takes_next_epoch) is OK
    assert producer.ref == ProducerRef(first.producer_id, 3 if takes_next_epoch else 0)
    assert committed(node.log()) == [b"a", b"b", b"c"]


def test_a_successor_aborts_and_fences(node: Node, producer: Producer) -> None:
    producer.append(node, b"a")
    producer.add_offset(node, 1)
    successor = started("p", node)
    assert successor.ref == ProducerRef(producer.ref.producer_id, producer.ref.epoch + 1)
    assert committed(node.log()) == []
    assert node.log().stable_offset == node.log().end_offset
    fenced = ErrorCode.INVALID_PRODUCER_EPOCH
    assert producer.append(node, b"b") is fenced
    assert producer.add_offset(node, 2) is fenced
    for is_commit in (True, False):
        assert producer.end(node, is_commit=is_commit) is fenced
    assert node.transactions.check_partition("p", producer.ref, (TOPIC, 0)) is fenced
    successor.append(node, b"c")
    assert successor.end(node) is OK
    assert committed(node.log()) == [b"c"]


def test_a_marker_fences_in_the_partition_itself(node: Node, producer: Producer) -> None:
    producer.append(node, b"a")
    late = make_batch([(b"late", b"v")], Sender(*producer.ref, 1), is_transactional=True)
    producer.end(node)
    with pytest.raises(AppendRefused) as refused:
        node.log().append(late, ANY_SIZE)
    assert refused.value.code is ErrorCode.INVALID_PRODUCER_EPOCH


def test_only_the_present_producer_may_ask_for_a_newer_epoch(node: Node, producer: Producer) -> None:
    error, newer = node.transactions.init("p", TIMEOUT_MS, producer.ref, 0.0)
    assert (error, newer) == (OK, ProducerRef(producer.ref.producer_id, producer.ref.epoch + 1))
    error, _ = node.transactions.init("p", TIMEOUT_MS, producer.ref, 0.0)
    assert error is ErrorCode.INVALID_PRODUCER_EPOCH


@pytest.mark.parametrize("timeout_ms", [0, -1, MAX_TIMEOUT_MS + 1])
def test_a_timeout_has_bounds(node: Node, timeout_ms: int) -> None:
    error, _ = node.transactions.init("p", timeout_ms, NO_PRODUCER, 0.0)
    assert error is ErrorCode.INVALID_TRANSACTION_TIMEOUT


def test_after_the_last_epoch_comes_another_producer_id(node: Node, tmp_path: Path, producer: Producer) -> None:
    node.close()
    file = tmp_path / "transactions.jsonl"
    file.write_text(
        file.read_text().replace(f"[{producer.ref.producer_id}, 0]", f"[{producer.ref.producer_id}, 32766]")
    )
    again = Node(tmp_path)
    producer.ref = last = ProducerRef(producer.ref.producer_id, MAX_EPOCH - 1)
    producer.append(again, b"a")
    assert producer.end(again) is OK
    assert producer.ref.producer_id != last.producer_id
    assert producer.ref.epoch == 0
    producer.append(again, b"b")
    producer.end(again)
    assert committed(again.log()) == [b"a", b"b"]
    again.close()


def test_who_is_unknown_is_told_so(node: Node, producer: Producer) -> None:
    stranger = Producer("stranger", producer.ref)
    assert stranger.append(node, b"a") is ErrorCode.INVALID_PRODUCER_ID_MAPPING
    assert stranger.end(node) is ErrorCode.INVALID_PRODUCER_ID_MAPPING
    assert (
        Producer("p", ProducerRef(producer.ref.producer_id + 1, 0)).end(node) is ErrorCode.INVALID_PRODUCER_ID_MAPPING
    )


def test_ids_that_are_idle_longest_are_forgotten_first(node: Node, producer: Producer) -> None:
    producer.append(node, b"a")
    others = [started(f"other-{number}", node) for number in range(MAX_TRANSACTIONAL_IDS - 1)]
    others[0].append(node, b"b")
    others[0].end(node)
    for name in ("next", "one after it"):
        started(name, node)
    assert producer.end(node) is OK, "its transaction is open"
    assert others[0].append(node, b"c") is OK, "it was in use"
    for forgotten in others[1:3]:
        assert forgotten.append(node, b"d") is ErrorCode.INVALID_PRODUCER_ID_MAPPING
    assert others[3].append(node, b"e") is OK


# ------------------------------------------------------------ ends


def test_an_end_may_be_asked_for_again(node: Node, producer: Producer) -> None:
    producer.append(node, b"a")
    asked = producer.ref
    producer.end(node)
    assert node.transactions.end("p", asked, True, True) == (OK, producer.ref)
    assert node.transactions.end("p", asked, False, True)[0] is ErrorCode.INVALID_PRODUCER_EPOCH
    producer.append(node, b"b")
    assert node.transactions.end("p", asked, True, True)[0] is ErrorCode.INVALID_PRODUCER_EPOCH


def test_an_end_without_a_new_epoch_may_be_asked_for_again_but_not_turned_round(node: Node, producer: Producer) -> None:
    producer.append(node, b"a")
    assert [producer.end(node, takes_next_epoch=False) for _ in range(2)] == [OK, OK]
    assert producer.end(node, is_commit=False, takes_next_epoch=False) is ErrorCode.INVALID_TXN_STATE


def test_nothing_to_commit_is_an_error_and_nothing_to_abort_is_none(node: Node, producer: Producer) -> None:
    assert producer.end(node) is ErrorCode.INVALID_TXN_STATE
    before = producer.ref
    assert producer.end(node, is_commit=False) is OK
    assert producer.ref.epoch == before.epoch + 1


def test_a_partition_that_was_not_added_is_refused(node: Node, producer: Producer) -> None:
    producer.append(node, b"a", partition=0)
    assert node.transactions.check_partition("p", producer.ref, (TOPIC, 0)) is OK
    assert node.transactions.check_partition("p", producer.ref, (TOPIC, 1)) is ErrorCode.INVALID_TXN_STATE
    assert node.transactions.check_group("p", producer.ref, GROUP) is ErrorCode.INVALID_TXN_STATE


def test_a_plain_batch_of_a_producer_within_its_transaction_is_refused(node: Node, producer: Producer) -> None:
    producer.append(node, b"a")
    with pytest.raises(AppendRefused) as refused:
        node.log().append(make_batch([(b"b", b"v")], Sender(*producer.ref, 1)), ANY_SIZE)
    assert refused.value.code is ErrorCode.INVALID_TXN_STATE


def test_what_is_open_too_long_is_aborted_and_fenced(node: Node, producer: Producer) -> None:
    producer.append(node, b"a", now=5.0)
    node.transactions.tick(5.0 + TIMEOUT_MS / 1000 - 0.01)
    assert node.log().stable_offset == 0
    node.transactions.tick(5.0 + TIMEOUT_MS / 1000)
    assert node.log().stable_offset == node.log().end_offset
    assert committed(node.log()) == []
    assert producer.append(node, b"b") is ErrorCode.INVALID_PRODUCER_EPOCH
    assert producer.end(node) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert producer.end(node, is_commit=False) is OK, "it may abort what was aborted, and go on"
    assert producer.append(node, b"c") is OK


def test_a_producer_that_keeps_its_epoch_is_fenced_by_an_abort_of_the_broker(node: Node, producer: Producer) -> None:
    producer.append(node, b"a")
    node.transactions.tick(TIMEOUT_MS)
    assert producer.end(node, is_commit=False, takes_next_epoch=False) is ErrorCode.INVALID_PRODUCER_EPOCH


def test_a_topic_that_was_deleted_does_not_hold_up_an_end(node: Node, producer: Producer) -> None:
    node.topics.create("other", 1, {})
    producer.append(node, b"a")
    node.transactions.add_partition("p", producer.ref, ("other", 0), 0.0)
    node.transactions.add_offsets("p", producer.ref, GROUP, {("other", 0): Committed(1, "")}, 0.0)
    node.topics.delete("other")
    assert producer.end(node) is OK
    assert committed(node.log()) == [b"a"]
    assert node.offsets.of_group(GROUP) == {}


def test_what_was_decided_is_finished_when_the_disk_has_room_again(node: Node, producer: Producer) -> None:
    disk = FullDisk()
    node.transactions.on_marker = disk.use
    for partition in range(PARTITIONS):
        producer.append(node, b"a", partition=partition)
    producer.add_offset(node, 7)
    wait = ErrorCode.CONCURRENT_TRANSACTIONS
    assert producer.end(node) is wait
    assert producer.end(node) is wait, "asked again it is still under way, not refused"
    assert producer.append(node, b"b") is wait
    assert producer.init(node) is wait
    assert node.transactions.pending_offsets(GROUP) == {(TOPIC, 0)}
    disk.is_full = False
    node.transactions.tick(0.0)
    assert producer.end(node) is OK
    assert [committed(node.log(partition)) for partition in range(PARTITIONS)] == [[b"a"]] * PARTITIONS
    assert [node.log(partition).end_offset for partition in range(PARTITIONS)] == [2] * PARTITIONS
    assert node.offsets.of_group(GROUP) == {(TOPIC, 0): Committed(7, "")}


def test_what_was_decided_is_finished_by_a_restart(node: Node, producer: Producer) -> None:
    node.transactions.on_marker = FullDisk().use
    producer.append(node, b"a")
    producer.append(node, b"b", partition=1)
    producer.end(node)
    again = node.restarted()
    assert [committed(again.log(partition)) for partition in range(2)] == [[b"a"], [b"b"]]
    assert producer.end(again) is OK
    again.close()


# ------------------------------------------------------------ after a restart


def test_an_open_transaction_is_aborted_and_fenced_by_a_restart(node: Node, producer: Producer) -> None:
    producer.append(node, b"a")
    producer.add_offset(node, 3)
    again = node.restarted()
    assert committed(again.log()) == []
    assert again.log().stable_offset == again.log().end_offset == 2
    assert producer.append(again, b"b") is ErrorCode.INVALID_PRODUCER_EPOCH, "its first half is gone"
    assert producer.end(again) is ErrorCode.INVALID_PRODUCER_EPOCH
    assert again.offsets.of_group(GROUP) == {}
    again.close()


def test_a_producer_between_transactions_goes_on_over_a_restart(node: Node, producer: Producer) -> None:
    producer.append(node, b"a")
    producer.end(node)
    again = node.restarted()
    assert producer.append(again, b"b") is OK
    assert producer.end(again) is OK
    assert committed(again.log()) == [b"a", b"b"]
    again.close()


def test_a_transaction_that_is_in_no_file_is_aborted_by_a_restart(
    node: Node, tmp_path: Path, producer: Producer
) -> None:
    producer.append(node, b"a")
    (tmp_path / "transactions.jsonl").unlink()
    again = node.restarted()
    assert committed(again.log()) == []
    assert again.log().stable_offset == again.log().end_offset
    again.close()


# ------------------------------------------------------------ compaction and retention


def clean(node: Node) -> None:
    asyncio.run(clean_topics(node.topics, 2.0))


def test_compaction_drops_aborted_records_and_all_markers(node: Node) -> None:
    node.topics.configure(TOPIC, {"cleanup.policy": "compact", "segment.bytes": "1"}, validate_only=False)
    loser, winner, log = started("loser", node), started("winner", node), node.log()
    winner.append(node, b"k", b"l")
    winner.end(node)
    loser.append(node, b"k", b"m")
    loser.end(node, is_commit=False)
    log.append(make_batch([(b"last", b"v")]), ANY_SIZE)
    clean(node)
    assert committed(log) == [b"k", b"l", b"last"]
    assert len(log._index) == 2
    again = node.restarted()
    assert committed(again.log()) == [b"k", b"l", b"last"]
    assert again.log().stable_offset == again.log().end_offset == log.end_offset
    again.close()


def test_compaction_ends_at_the_stable_offset(node: Node) -> None:
    node.topics.configure(TOPIC, {"cleanup.policy": "compact", "segment.bytes": "1"}, validate_only=False)
    early, long, log = started("early", node), started("long", node), node.log()
    log.append(make_batch([(b"k", b"1"), (b"k", b"2")]), ANY_SIZE)
    early.append(node, b"e")
    long.append(node, b"x")
    early.append(node, b"e")
    early.end(node)
    log.append(make_batch([(b"k", b"3")]), ANY_SIZE)
    clean(node)
    assert committed(log) == [b"k", b"e"], "k is read there as long as its successor cannot be"
    long.end(node)
    assert committed(log) == [b"k", b"e", b"x", b"e", b"k"]


def test_retention_keeps_what_a_transaction_without_an_end_holds(node: Node, producer: Producer) -> None:
    topic = node.topics.get(TOPIC)
    assert topic is not None
    topic.configs |= {"retention.ms": "1", "segment.bytes": "1"}
    log = node.log()
    log.append(make_batch([(b"old", b"v")]), ANY_SIZE)
    producer.append(node, b"a")
    log.append(make_batch([(b"b", b"v")]), ANY_SIZE)
    apply_retention(log, topic, now_ms=10**9)
    assert (log.start_offset, log.stable_offset) == (1, 1)
    producer.end(node, is_commit=False)
    apply_retention(log, topic, now_ms=10**9)
    assert log.start_offset == 3, "the last batch, a marker, is kept"
    assert log.read_committed(3, ANY_SIZE, True)[1] == []


# ------------------------------------------------------------ any history

NAMES = st.sampled_from(["p", "q", "r"])
PLACES = st.integers(0, PARTITIONS - 1)


@dataclass
class Sent:
    """A record of a partition: whose transaction holds it, None for one that is decided; and whether it stays."""

    key: bytes
    owner: str | None
    is_kept: bool = True


class AnyHistory(RuleBasedStateMachine):
    """Producers that begin, commit, abort, are replaced, are late; a broker that dies and cleans its logs."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.node = Node(self.folder)
        configs = {"cleanup.policy": "compact", "segment.bytes": "1"}
        self.node.topics.create(TOPIC, PARTITIONS, configs)
        self.producers = {name: started(name, self.node) for name in ("p", "q", "r")}
        self.sent: list[list[Sent]] = [[] for _ in range(PARTITIONS)]
        self.pending: dict[str, dict[int, int]] = {}
        self.offsets: dict[int, int] = {}
        self.count = 0

    def teardown(self) -> None:
        self.node.close()
        shutil.rmtree(self.folder)

    def _new(self, place: int, owner: str | None) -> bytes:
        self.count += 1
        key = b"%d" % self.count
        self.sent[place].append(Sent(key, owner))
        return key

    def _decide(self, name: str, is_commit: bool) -> None:
        for row in (row for rows in self.sent for row in rows if row.owner == name):
            row.owner, row.is_kept = None, is_commit
        offsets = self.pending.pop(name, {})
        if is_commit:
            self.offsets |= offsets

    def _is_open(self, name: str) -> bool:
        return name in self.pending

    def _fence_all(self) -> None:
        """Whoever has a transaction has lost it; it starts anew."""
        for name in list(self.pending):
            self._decide(name, is_commit=False)
            fenced = self.producers[name]
            assert fenced.append(self.node, b"fenced") is ErrorCode.INVALID_PRODUCER_EPOCH
            assert fenced.end(self.node) is ErrorCode.INVALID_PRODUCER_EPOCH
            assert fenced.init(self.node) is OK

    @rule(name=NAMES, place=PLACES)
    def append(self, name: str, place: int) -> None:
        self.pending.setdefault(name, {})
        assert self.producers[name].append(self.node, self._new(place, name), partition=place) is OK

    @rule(place=PLACES)
    def append_plain(self, place: int) -> None:
        self.node.log(place).append(make_batch([(self._new(place, None), b"v")]), ANY_SIZE)

    @rule(name=NAMES, place=PLACES)
    def add_offset(self, name: str, place: int) -> None:
        self.count += 1
        self.pending.setdefault(name, {})[place] = self.count
        assert self.producers[name].add_offset(self.node, self.count, partition=place) is OK

    @rule(name=NAMES, is_commit=st.booleans(), takes_next_epoch=st.booleans())
    def end(self, name: str, is_commit: bool, takes_next_epoch: bool) -> None:
        if self._is_open(name):
            assert self.producers[name].end(self.node, is_commit, takes_next_epoch) is OK
            self._decide(name, is_commit)

    @rule(name=NAMES)
    def replace(self, name: str) -> None:
        former, self.producers[name] = self.producers[name], started(name, self.node)
        assert former.end(self.node) is ErrorCode.INVALID_PRODUCER_EPOCH
        self._decide(name, is_commit=False)

    @precondition(lambda self: self.pending)
    @rule()
    def wait(self) -> None:
        self.node.transactions.tick(TIMEOUT_MS)
        self._fence_all()

    @rule()
    def die(self) -> None:
        self.node = self.node.restarted()
        self._fence_all()

    @rule()
    def compact(self) -> None:
        clean(self.node)

    @invariant()
    def readers_see_whole_transactions_in_order(self) -> None:
        for place, rows in enumerate(self.sent):
            visible = []
            for row in rows:
                if row.owner is not None:
                    break
                if row.is_kept:
                    visible.append(row.key)
            log = self.node.log(place)
            for max_bytes in (1, 200, ANY_SIZE):
                assert committed(log, max_bytes) == visible
            assert set(log.open_producers) == {
                self.producers[row.owner].ref.producer_id for row in rows if row.owner is not None
            }

    @invariant()
    def offsets_are_those_of_committed_transactions(self) -> None:
        found = {partition: row.offset for (_, partition), row in self.node.offsets.of_group(GROUP).items()}
        assert found == self.offsets
        pending = {(TOPIC, place) for offsets in self.pending.values() for place in offsets}
        assert self.node.transactions.pending_offsets(GROUP) == pending


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
test_any_history = pytest.mark.long(AnyHistory.TestCase)
