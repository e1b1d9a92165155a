"""What stands outside the workers: send messages to the topics, read what came out. Uses kafka-python."""

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from msgspec import Struct

from stream_coupons import topics
from stream_coupons.codec import encode
from stream_coupons.core.errors import BadConfig, StreamCouponsError
from stream_coupons.topics import Topic

BOOTSTRAP_TIMEOUT_MS = 10_000
"""A person waits for this long to hear that no broker answers."""

RECONNECT_WITHIN_MS = 1_000
"""Longest pause between two attempts to reach a broker that is away; kafka-python's own grows to half a minute."""


class NotAppended(StreamCouponsError):
    """The broker did not take a record."""


class Publisher:
    """Sends messages keyed and partitioned as their topic says; use it as a context manager.

    Delivery: at least once; `flush` returns when the broker has everything, or raises `NotAppended`.

    Attributes
    ----------
    appended : int
        Records that the broker has acknowledged until now.
    """

    def __init__(self, bootstrap: str, partitions: int) -> None:
        self.appended = 0
        self._partitions = partitions
        self._failures: list[BaseException] = []
        try:
            self._producer = KafkaProducer(
                bootstrap_servers=bootstrap.split(","),
                bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
                reconnect_backoff_max_ms=RECONNECT_WITHIN_MS,
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                batch_size=256 * 1024,
                max_request_size=max(topic.max_message_bytes for topic in topics.ALL),
            )
        except KafkaError as error:
            raise BadConfig(f"kafka.bootstrap: no broker answers at {bootstrap} ({error})") from None

    def send(self, topic: Topic, message: Struct) -> None:
        """Send a message."""
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

        Raises
        ------
        NotAppended
            If this record cannot be taken on its way, or an earlier one was not appended.
        """
        if self._failures:
            self.flush()
        if partition is None:
            partition = topics.partition_for(key or b"", topic.partitions or self._partitions)
        try:
            sending = self._producer.send(topic.name, key=key, value=value, partition=partition, headers=list(headers))
        except KafkaError as error:
            raise NotAppended(f"a record for {topic.name} was not appended because of {error!r}") from error
        sending.add_callback(self._count)
        sending.add_errback(self._failures.append)

    def _count(self, metadata: Any) -> None:  # noqa: ARG002 - the producer's signature; its one thread calls this
        self.appended += 1

    def flush(self) -> None:
        """Wait until the broker has everything.

        Raises
        ------
        NotAppended
        """
        self._producer.flush()
        if self._failures:
            failures, self._failures = self._failures, []
            raise NotAppended(f"{len(failures)} records were not appended, the first because of {failures[0]!r}")

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


def _consumer(bootstrap: str) -> KafkaConsumer:
    """One without a group that commits nothing, and reads only what is committed."""
    return KafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
        reconnect_backoff_max_ms=RECONNECT_WITHIN_MS,
        group_id=None,
        enable_auto_commit=False,
        max_partition_fetch_bytes=16 * topics.MIB,
        fetch_max_wait_ms=100,
        isolation_level="read_committed",
    )


class Reader:
    """Reads some topics without a group, from the beginning or from now on, only what is committed.

    All of their partitions, or with `key` only those that hold its records. Use it as a context manager, or close it.

    Raises
    ------
    BadConfig
        If a topic does not exist.
    """

    def __init__(self, bootstrap: str, names: Sequence[str], *, from_beginning: bool, key: bytes | None = None) -> None:
        self._consumer = _consumer(bootstrap)
        partitions = {name: sorted(self._consumer.partitions_for_topic(name) or ()) for name in names}
        missing = [name for name, numbers in partitions.items() if not numbers]
        if missing:
            self._consumer.close()
            raise BadConfig(f"no topic {', '.join(missing)} at {bootstrap}; see `stream-coupons topics apply`")
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

    def poll(self, timeout_s: float = 0.1) -> list[Any]:
        """Records that have come, in order within each partition; empty when there are none in time."""
        fetched = self._consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=10_000)
        return [record for records in fetched.values() for record in records]

    def follow(self, is_over: Callable[[], bool]) -> Iterator[Any]:
        """Records as they come, until `is_over`."""
        while not is_over():
            yield from self.poll()

    def read_to_end(self) -> Iterator[Any]:
        """Records up to the end that the topics have now."""
        ends = self._consumer.end_offsets(self._partitions)
        while any(self._consumer.position(tp) < end for tp, end in ends.items()):
            yield from self.poll()

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Fetcher:
    """Reads single records by their place, without a group, only what is committed. Use it as a context manager."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = _consumer(bootstrap)

    def fetch(self, topic: str, partition: int, offset: int) -> Any | None:
        """The record at a place; None if it is not there, or no longer."""
        if partition not in (self._consumer.partitions_for_topic(topic) or ()):
            return None
        tp = TopicPartition(topic, partition)
        self._consumer.assign([tp])
        begin, end = self._consumer.beginning_offsets([tp])[tp], self._consumer.end_offsets([tp])[tp]
        if not begin <= offset < end:
            return None
        self._consumer.seek(tp, offset)
        while self._consumer.position(tp) <= offset:
            for record in self._consumer.poll(timeout_ms=100, max_records=1).get(tp, ()):
                return record if record.offset == offset else None
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()
