"""Clients outside the workers: send messages to topics, read records. Uses kafka-python."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import AuthorizationError, KafkaError, UnknownError
from msgspec import Struct

from stream_coupons.core.errors import BadConfig, BrokerAway, StreamCouponsError
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.connection import NOTED_AFTER_S, WAITING, Connection, connecting, why_denied
from stream_coupons.kafka.lenient.kafka_python import LenientConsumer
from stream_coupons.kafka.topics import Topic

BOOTSTRAP_TIMEOUT_MS = 10_000
"""A person waits for this long to hear that no broker answers."""

RECONNECT_WITHIN_MS = 1_000
"""Longest pause between two attempts to reach a broker that is away; kafka-python's own grows to half a minute."""

FEW_BYTES = 64 * 1024
"""To fetch from a partition of which a few records are wanted."""

AWAY_AFTER_S = 30.0
"""A reader that gets no record for so long though there are more gives up. An open transaction takes less."""

LINGER_MS = 5
ATTEMPTS = 8
FIRST_PAUSE_S = 0.2


class NotAppended(StreamCouponsError):
    """The broker did not take a record."""


class _Record(NamedTuple):
    """A record for the producer to send."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int


class Publisher:
    """Sends messages keyed and partitioned as their topic says; use it as a context manager.

    Delivery: at least once, in order within a partition unless some is sent again; `flush` returns when the broker has
    everything, or raises `NotAppended`. An error without a name, as of Apache Kafka amid a full disk, ends the client's
    producer: the records are sent again by a new one for a while, which may leave copies.

    Parameters
    ----------
    connection, partitions : Connection, int
        How the brokers are reached, and the partitions of a topic that names no number.
    linger_ms : int
        How long a record waits for others of its partition to be sent with it; `flush` waits for nothing.

    Attributes
    ----------
    appended, sent_again : int
        Records that the broker has acknowledged, and those that may lie in their topic twice.
    """

    def __init__(self, connection: Connection, partitions: int, linger_ms: int = LINGER_MS) -> None:
        self.appended = 0
        self.sent_again = 0
        self._connection = connection
        self._partitions = partitions
        self._sent = 0
        self._waiting: dict[int, _Record] = {}
        self._failures: list[BaseException] = []
        with connecting(connection) as options:
            self._options = {**options, "linger_ms": linger_ms}
            self._producer = _producer(self._options)

    @property
    def waiting(self) -> int:
        """Records that the broker has not acknowledged yet."""
        return len(self._waiting)

    def send(self, topic: Topic, message: Struct) -> None:
        """Send a message to the partition of its key; errors as of `send_bytes`.

        Parameters
        ----------
        topic, message : Topic, Struct
            A topic, and a message of its type.
        """
        self.send_bytes(topic, topic.key_of(message), encode(message))

    def send_bytes(
        self,
        topic: Topic,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Send any bytes, to the partition of the key unless another is named.

        Parameters
        ----------
        topic, partition : Topic, int or None
            The topic, and a partition to send to instead of that of the key.
        key, value, headers : bytes, bytes, sequence of (str, bytes)
            Of the record. None as a key counts as the empty one for the partition; None as a value is a tombstone.

        Raises
        ------
        NotAppended
            If this record cannot be taken on its way, or an earlier one was not appended.
        """
        if self._failures:
            self.flush()
        if partition is None:
            partition = topics.partition_for(key or b"", topic.partitions or self._partitions)
        self._sent += 1
        self._waiting[self._sent] = record = _Record(topic.name, value, key, list(headers), partition)
        try:
            self._hand_over(self._sent, record)
        except KafkaError as error:
            del self._waiting[self._sent]
            name = self._connection.broker_name(topic.name)
            raise NotAppended(f"a record for {name} was not appended because {self._why(error)}") from error

    def _hand_over(self, number: int, record: _Record) -> None:
        sending = self._producer.send(*record)
        sending.add_callback(self._acknowledge, number)
        sending.add_errback(self._failures.append)

    def _acknowledge(self, number: int, metadata: Any) -> None:  # noqa: ARG002 - the producer's one thread calls this
        del self._waiting[number]
        self.appended += 1

    def flush(self) -> None:
        """Wait until the broker has everything.

        Raises
        ------
        NotAppended
        """
        self._producer.flush()
        if self._failures and all(isinstance(failure, UnknownError) for failure in self._failures):
            self._send_again()
        if self._failures:
            text = f"{len(self._waiting)} records were not appended, the first because {self._why(self._failures[0])}"
            self._failures.clear()
            self._waiting.clear()
            raise NotAppended(text)

    def _why(self, error: BaseException) -> str:
        return why_denied(self._connection, error) if isinstance(error, AuthorizationError) else f"of {error!r}"

    def _send_again(self) -> None:
        """Send what the broker has not acknowledged, each time by a new producer, until it has or for a while."""
        pause_s = FIRST_PAUSE_S
        for _ in range(ATTEMPTS - 1):
            self._producer.close()
            self._failures.clear()
            self.sent_again += len(self._waiting)
            time.sleep(pause_s)
            pause_s *= 2
            try:
                self._producer = _producer(self._options)
                for number, record in list(self._waiting.items()):  # acknowledged meanwhile
                    self._hand_over(number, record)
                self._producer.flush()
            except KafkaError as error:
                self._failures.append(error)
            if not self._failures:
                break

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self._producer.close()


def _producer(options: Mapping[str, Any]) -> KafkaProducer:
    """Return an idempotent producer: nothing is doubled or reordered by its own retries."""
    return KafkaProducer(
        **options,
        bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
        reconnect_backoff_max_ms=RECONNECT_WITHIN_MS,
        acks="all",
        enable_idempotence=True,
        batch_size=256 * 1024,
        max_request_size=max(topic.max_message_bytes for topic in topics.ALL),
    )


def _consumer(connection: Connection, fetch_bytes: int = 16 * topics.MIB) -> KafkaConsumer:
    """One without a group that commits nothing, reads only what is committed, and gets past every record."""
    with connecting(connection) as options:
        return LenientConsumer(
            **options,
            bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
            reconnect_backoff_max_ms=RECONNECT_WITHIN_MS,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # retention may drop the records that are sought
            max_partition_fetch_bytes=fetch_bytes,
            fetch_max_wait_ms=100,
            isolation_level="read_committed",
        )


@contextmanager
def _answered(bootstrap: str, consumer: KafkaConsumer) -> Iterator[None]:
    """Close a consumer whose request failed, and say so if no broker answered: kafka-python asks one of them once."""
    try:
        yield
    except KafkaError as error:
        consumer.close()
        if not error.retriable:
            raise
        raise BrokerAway(f"the broker at {bootstrap} does not answer ({error!r})") from error


class Reader:
    """Reads some topics without a group, from the beginning or from now on, only what is committed.

    All of their partitions, or with `key` only those that hold its records. Use it as a context manager, or close it.

    Raises
    ------
    BadConfig
        If a topic does not exist.
    BrokerAway
        If the broker that is asked for the topics does not answer.
    """

    def __init__(
        self, connection: Connection, names: Sequence[str], *, from_beginning: bool, key: bytes | None = None
    ) -> None:
        self._consumer, self._formats = _consumer(connection), connection.formats
        self._bootstrap = connection.bootstrap
        with _answered(self._bootstrap, self._consumer):
            partitions = {name: sorted(self._consumer.partitions_for_topic(name) or ()) for name in names}
        missing = [name for name, numbers in partitions.items() if not numbers]
        if missing:
            self._consumer.close()
            raise BadConfig(
                f"no topic {', '.join(map(connection.broker_name, missing))} at {connection.bootstrap}, or no right to "
                f"it for {connection.username or 'this client'}; see `stream-coupons topics apply` and docs/how-to/"
                "run-in-production.md"
            )
        self._partitions = [
            TopicPartition(name, number)
            for name, numbers in partitions.items()
            for number in numbers
            if key is None or number == topics.partition_for(key, len(numbers))
        ]
        self._consumer.assign(self._partitions)
        if from_beginning:
            self._consumer.seek_to_beginning(*self._partitions)
        else:
            self._consumer.seek_to_end(*self._partitions)
            for tp in self._partitions:
                self._consumer.position(tp)

    def seek(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Continue at the given offsets of (topic, partition); skip every other partition to its end."""
        self._consumer.seek_to_end(*self._partitions)
        for tp in self._partitions:
            if (offset := offsets.get((tp.topic, tp.partition))) is not None:
                self._consumer.seek(tp, offset)
            else:
                self._consumer.position(tp)

    def poll(self, timeout_s: float = 0.1) -> list[Any]:
        """Return the records that arrive in time, in order within each partition; none if none do.

        The value of a topic with a format is the event within; one that is no such envelope is as it was sent.
        """
        fetched = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=10_000)
        records = [record for records in fetched.values() for record in records]
        return [self._plain(record) for record in records] if self._formats else records

    def _plain(self, record: Any) -> Any:
        from stream_coupons.kafka.formats import event_of  # here, for only some shops set a format

        return record._replace(value=event_of(self._formats, record.topic, record.value, record.headers))

    def read_to_end(self) -> Iterator[Any]:
        """Yield the records up to the end that the topics have now.

        Raises
        ------
        BrokerAway
            If no record arrives for `AWAY_AFTER_S` though there are more.
        """
        with _answered(self._bootstrap, self._consumer):
            ends = self._consumer.end_offsets(self._partitions)
        silent_since, is_noted = time.monotonic(), False
        while any(self._consumer.position(tp) < end for tp, end in ends.items()):
            if records := self.poll():
                yield from records
                silent_since, is_noted = time.monotonic(), False
                continue
            silent_s = time.monotonic() - silent_since
            if silent_s > NOTED_AFTER_S and not is_noted:
                WAITING.warning("waiting for records from Kafka at %s", self._bootstrap)
                is_noted = True
            if silent_s > AWAY_AFTER_S:
                raise BrokerAway(f"the broker at {self._bootstrap} has sent no record for {silent_s:.0f} s")

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def first_records(connection: Connection, topic: Topic, partitions: int, count: int) -> list[Any]:
    """Return the first committed records of each partition of a topic, in order within each.

    Parameters
    ----------
    connection, topic, partitions : Connection, Topic, int
        How the brokers are reached, the topic, and the number of its partitions.
    count : int
        Records wanted of each partition; a fetch may bring some more.
    """
    consumer = _consumer(connection, FEW_BYTES)
    try:
        left = {TopicPartition(topic.name, partition): count for partition in range(partitions)}
        consumer.assign(list(left))
        consumer.seek_to_beginning(*left)
        ends, found = consumer.end_offsets(list(left)), []
        while any(left[tp] > 0 and consumer.position(tp) < end for tp, end in ends.items()):
            for tp, records in consumer.poll(timeout_ms=100, max_records=count).items():
                left[tp] -= len(records)
                found += records
                if left[tp] <= 0:
                    consumer.pause(tp)
        return found
    finally:
        consumer.close()
