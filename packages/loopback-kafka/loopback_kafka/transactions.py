"""The transaction coordinator: producers by transactional id, and the atomic end of their transactions.

One line in a file decides how a transaction ends. The markers in its partitions and the offsets of its groups are
written before the broker answers another request. If the process dies in between, the next one writes what is missing,
and nothing twice. An open transaction does not survive the process, because its partitions and offsets are not in the
file: the next process aborts it and fences its producer.

References
----------
.. [1] Apache Kafka, KIP-98, KIP-447 and KIP-890: transactions, group metadata in them, and an epoch for each ("version
   2"). Deviation: the answer to InitProducerId and EndTxn comes after the markers, so clients rarely have to retry.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from loopback_kafka.journal import Journal
from loopback_kafka.log import PartitionLog
from loopback_kafka.offsets import Committed, CommittedOffsets, TopicPartition, offset_rows
from loopback_kafka.protocol import ErrorCode
from loopback_kafka.sequences import AppendRefused
from loopback_kafka.topics import Topics

logger = logging.getLogger(__name__)

MAX_TRANSACTIONAL_IDS: Final = 4096
"""Bound of the ids in memory; beyond it, the id idle longest without a transaction is forgotten."""
MAX_TIMEOUT_MS: Final = 15 * 60 * 1000
MAX_EPOCH: Final = 2**15 - 1
"""The highest epoch of a marker. Producers get lower ones, and after the last a new producer id."""


class ProducerRef(NamedTuple):
    """A producer id and its epoch, as in requests and batches."""

    producer_id: int
    epoch: int


NO_PRODUCER: Final = ProducerRef(-1, -1)


class State(StrEnum):
    """The states of a transactional id, by the names that Kafka lists them under."""

    EMPTY = "Empty"
    OPEN = "Ongoing"
    COMMITTING = "PrepareCommit"
    ABORTING = "PrepareAbort"
    COMMITTED = "CompleteCommit"
    ABORTED = "CompleteAbort"


_DECIDED: Final = (State.COMMITTING, State.ABORTING)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transactional id, its producer, and its open or its last transaction.

    Attributes
    ----------
    ended : ProducerRef, optional
        The producer of the last transaction that ended; it may repeat the same EndTxn.
    began_at : float
        Seconds of the monotonic clock.
    """

    name: str
    producer: ProducerRef
    timeout_ms: int
    state: State = State.EMPTY
    ended: ProducerRef | None = None
    partitions: frozenset[TopicPartition] = frozenset()
    offsets: Mapping[str, Mapping[TopicPartition, Committed]] = field(default_factory=dict)
    began_at: float = 0.0


class Transactions:
    """Every transactional id and its transaction, kept in one file.

    Opening it finishes the decided transactions of the last process and aborts the open ones.
    """

    def __init__(self, path: Path, topics: Topics, offsets: CommittedOffsets) -> None:
        self._topics = topics
        self._offsets = offsets
        self._transactions: dict[str, Transaction] = {}
        self._unsettled: set[str] = set()
        self.on_marker: Callable[[PartitionLog], None] = lambda _: None
        self._journal = Journal(path, self._apply, self._rows)
        self._recover()

    def init(self, name: str, timeout_ms: int, expected: ProducerRef, now: float) -> tuple[ErrorCode, ProducerRef]:
        """Return the producer of a transactional id, after fencing its predecessor and aborting its open transaction.

        Parameters
        ----------
        name : str
            The transactional id.
        timeout_ms : int
            Time after which an open transaction is aborted; at most `MAX_TIMEOUT_MS`.
        expected : ProducerRef
            The producer that asks for a newer epoch; `NO_PRODUCER` for a client that has just started.
        now : float
            Seconds of the clock that `tick` has, too.
        """
        if not 0 < timeout_ms <= MAX_TIMEOUT_MS:
            return ErrorCode.INVALID_TRANSACTION_TIMEOUT, NO_PRODUCER
        known = self._transactions.get(name)
        if known is not None and expected not in (NO_PRODUCER, known.producer):
            return ErrorCode.INVALID_PRODUCER_EPOCH, NO_PRODUCER
        was_open = known is not None and known.state is State.OPEN
        if known is not None and was_open:
            known = self._end(known, is_commit=False, takes_next_epoch=True)
        if known is None:
            self._forget_idle()
            producer = ProducerRef(self._topics.new_producer_id(), 0)
        elif known.state in _DECIDED:
            return ErrorCode.CONCURRENT_TRANSACTIONS, NO_PRODUCER
        else:
            producer = known.producer if was_open else self._next(known.producer)
        self._save(Transaction(name, producer, timeout_ms, began_at=now))
        return ErrorCode.NONE, producer

    def all(self) -> list[Transaction]:
        """Return the transaction of every transactional id."""
        return list(self._transactions.values())

    def check_partition(self, name: str, producer: ProducerRef, partition: TopicPartition) -> ErrorCode:
        """Return whether a partition is in a producer's open transaction."""
        transaction, error = self._find(name, producer)
        if transaction is None:
            return error
        return ErrorCode.NONE if partition in transaction.partitions else ErrorCode.INVALID_TXN_STATE

    def add_partition(self, name: str, producer: ProducerRef, partition: TopicPartition, now: float) -> ErrorCode:
        """Add a partition to a producer's transaction; the first one opens it."""
        transaction, error = self._find(name, producer)
        if transaction is None or partition in transaction.partitions:
            return error
        opened = self._open(transaction, now)
        self._hold(replace(opened, partitions=opened.partitions | {partition}))
        return ErrorCode.NONE

    def check_group(self, name: str, producer: ProducerRef, group: str) -> ErrorCode:
        """Return whether a group's offsets are part of a producer's open transaction."""
        transaction, error = self._find(name, producer)
        if transaction is None:
            return error
        return ErrorCode.NONE if group in transaction.offsets else ErrorCode.INVALID_TXN_STATE

    def add_offsets(
        self, name: str, producer: ProducerRef, group: str, offsets: Mapping[TopicPartition, Committed], now: float
    ) -> ErrorCode:
        """Add a group's offsets to a producer's transaction; they are committed with it."""
        transaction, error = self._find(name, producer)
        if transaction is None:
            return error
        opened = self._open(transaction, now)
        merged = {**opened.offsets.get(group, {}), **offsets}
        self._hold(replace(opened, offsets={**opened.offsets, group: merged}))
        return ErrorCode.NONE

    def pending_offsets(self, group: str) -> frozenset[TopicPartition]:
        """Return for which partitions a transaction without an end holds offsets of a group."""
        unsettled = (self._transactions[name] for name in self._unsettled)
        return frozenset(key for transaction in unsettled for key in transaction.offsets.get(group, ()))

    def end(
        self, name: str, producer: ProducerRef, is_commit: bool, takes_next_epoch: bool
    ) -> tuple[ErrorCode, ProducerRef]:
        """Commit or abort a producer's transaction in all its partitions and groups, or in none.

        Parameters
        ----------
        name : str
            The transactional id.
        producer : ProducerRef
            The producer.
        is_commit : bool
            True to commit, False to abort.
        takes_next_epoch : bool
            True if the producer continues with the epoch that is returned (version 2), False if with its own.
        """
        known = self._transactions.get(name)
        goal = State.COMMITTED if is_commit else State.ABORTED
        is_again = known is not None and (known.state, known.ended) == (goal, producer)
        if known is not None and is_again and (takes_next_epoch or producer == known.producer):
            return ErrorCode.NONE, known.producer
        transaction, error = self._find(name, producer)
        if transaction is None:
            return error, NO_PRODUCER
        is_empty_abort = takes_next_epoch and not is_commit
        if transaction.state is not State.OPEN and not is_empty_abort:
            return ErrorCode.INVALID_TXN_STATE, NO_PRODUCER
        ended = self._end(transaction, is_commit, takes_next_epoch)
        if ended.state in _DECIDED:
            return ErrorCode.CONCURRENT_TRANSACTIONS, NO_PRODUCER
        return ErrorCode.NONE, ended.producer

    def tick(self, now: float) -> None:
        """Abort transactions open longer than their timeout; finish decided ones that a full disk has held up."""
        for transaction in [self._transactions[name] for name in self._unsettled]:
            if transaction.state in _DECIDED:
                self._finish(transaction)
            elif transaction.began_at + transaction.timeout_ms / 1000 <= now:
                logger.warning("aborted the transaction of %s: open too long", transaction.name)
                self._end(transaction, is_commit=False, takes_next_epoch=True)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    def _find(self, name: str, producer: ProducerRef) -> tuple[Transaction | None, ErrorCode]:
        """Return the transaction that a producer may change, or the error that it gets."""
        known = self._transactions.get(name)
        if known is not None and known.state in _DECIDED and producer in (known.producer, known.ended):
            return None, ErrorCode.CONCURRENT_TRANSACTIONS
        if known is None or known.producer.producer_id != producer.producer_id:
            return None, ErrorCode.INVALID_PRODUCER_ID_MAPPING
        if known.producer != producer:
            return None, ErrorCode.INVALID_PRODUCER_EPOCH
        return known, ErrorCode.NONE

    def _open(self, transaction: Transaction, now: float) -> Transaction:
        if transaction.state is State.OPEN:
            return transaction
        return self._save(replace(transaction, state=State.OPEN, began_at=now))

    def _end(self, transaction: Transaction, is_commit: bool, takes_next_epoch: bool) -> Transaction:
        """Decide how a transaction ends, and finish it."""
        decided = replace(
            transaction,
            state=State.COMMITTING if is_commit else State.ABORTING,
            ended=transaction.producer,
            producer=self._next(transaction.producer) if takes_next_epoch else transaction.producer,
        )
        return self._finish(self._save(decided))

    def _finish(self, transaction: Transaction) -> Transaction:
        """Write the markers and offsets of a decided transaction that are not yet written."""
        is_commit = transaction.state is State.COMMITTING
        try:
            self._write_markers(transaction, is_commit)
            for group, offsets in transaction.offsets.items() if is_commit else ():
                self._offsets.commit(
                    group, {key: value for key, value in offsets.items() if self._topics.partition(*key) is not None}
                )
            state = State.COMMITTED if is_commit else State.ABORTED
            return self._save(replace(transaction, state=state, partitions=frozenset(), offsets={}))
        except (AppendRefused, OSError) as error:
            logger.error("the end of %s's transaction waits: %s", transaction.name, error)
            return transaction

    def _write_markers(self, transaction: Transaction, is_commit: bool) -> None:
        assert transaction.ended is not None
        producer_id, epoch = transaction.ended
        # A marker with the producer's next epoch makes the partition refuse late batches of the former one.
        epoch = transaction.producer.epoch if transaction.producer.producer_id == producer_id else MAX_EPOCH
        for key in sorted(transaction.partitions):
            log = self._topics.partition(*key)
            if log is not None and producer_id in log.open_producers:
                log.append_marker(producer_id, epoch, is_commit, int(time.time() * 1000))
                self.on_marker(log)

    def _next(self, producer: ProducerRef) -> ProducerRef:
        if producer.epoch + 1 < MAX_EPOCH:
            return ProducerRef(producer.producer_id, producer.epoch + 1)
        return ProducerRef(self._topics.new_producer_id(), 0)

    def _forget_idle(self) -> None:
        if len(self._transactions) < MAX_TRANSACTIONAL_IDS:
            return
        idle = next((name for name in self._transactions if name not in self._unsettled), None)
        if idle is not None:
            self._journal.append([{"forget": idle}])
            del self._transactions[idle]

    def _recover(self) -> None:
        """Finish or abort the transactions of the last process."""
        left = {key: log for key, log in self._topics.logs() if log.open_producers}
        for transaction in [self._transactions[name] for name in self._unsettled]:
            if transaction.state in _DECIDED:
                self._finish(transaction)
                continue
            producer_id = transaction.producer.producer_id
            partitions = frozenset(key for key, log in left.items() if producer_id in log.open_producers)
            self._end(replace(transaction, partitions=partitions), is_commit=False, takes_next_epoch=True)
        held_up = [self._transactions[name].ended for name in self._unsettled]
        known = {ended.producer_id for ended in held_up if ended is not None}
        for log in left.values():
            for producer_id in set(log.open_producers) - known:  # not in the file, which was cut
                log.append_marker(producer_id, MAX_EPOCH, False, int(time.time() * 1000))

    def _save(self, transaction: Transaction) -> Transaction:
        """Write a transaction down, then hold it; raises OSError."""
        self._journal.append([_row(transaction)])
        return self._hold(transaction)

    def _hold(self, transaction: Transaction) -> Transaction:
        self._transactions.pop(transaction.name, None)  # the newest is the last
        self._transactions[transaction.name] = transaction
        if transaction.state in (State.OPEN, *_DECIDED):
            self._unsettled.add(transaction.name)
        else:
            self._unsettled.discard(transaction.name)
        return transaction

    def _apply(self, row: dict[str, Any]) -> None:
        if "forget" in row:
            self._transactions.pop(row["forget"], None)
            return
        offsets: dict[str, dict[TopicPartition, Committed]] = {}
        for group, topic, partition, offset, metadata in row["offsets"]:
            offsets.setdefault(group, {})[topic, partition] = Committed(offset, metadata)
        self._hold(
            Transaction(
                name=row["name"],
                producer=ProducerRef(*row["producer"]),
                timeout_ms=row["timeout_ms"],
                state=State(row["state"]),
                ended=ProducerRef(*row["ended"]) if row["ended"] else None,
                partitions=frozenset((topic, partition) for topic, partition in row["partitions"]),
                offsets=offsets,
            )
        )

    def _rows(self) -> Iterable[dict[str, Any]]:
        return map(_row, self._transactions.values())


def _row(transaction: Transaction) -> dict[str, Any]:
    return {
        "name": transaction.name,
        "producer": transaction.producer,
        "timeout_ms": transaction.timeout_ms,
        "state": transaction.state,
        "ended": transaction.ended,
        "partitions": sorted(transaction.partitions),
        "offsets": [row for group, offsets in transaction.offsets.items() for row in offset_rows(group, offsets)],
    }
