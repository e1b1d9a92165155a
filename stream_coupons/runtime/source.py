"""The side of Faust that the loops of the agents see: chunks of records, and the consumer that they come from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from aiokafka.structs import TopicPartition

from stream_coupons.kafka.records import Membership, Record


class Chunk(NamedTuple):
    """Records fetched together from one partition; the value of a message is a list of them."""

    tp: TopicPartition
    records: list[Record]
    previous: int
    """The end of the chunk handed on before it: from this offset on, this chunk has all that there is."""
    end: int
    """The offset behind the last record."""
    epoch: int
    """The assignment in which it was fetched, as this process counts them: a coordinator may begin anew at 1."""


def size(message: Any) -> int:
    """Return the count of records in a message."""
    return sum(len(chunk.records) for chunk in message.value)


class Source(Protocol):
    """The consumer of this process. Partitions and messages are those of its transport."""

    @property
    def is_member(self) -> bool:
        """True while the group cannot have given this worker's partitions away."""

    @property
    def is_coordinated(self) -> bool:
        """True if it is in its group, and the coordination goes on."""

    def membership(self) -> Membership:
        """Return the membership that the coordinator gave last."""

    def assignment(self) -> set[TopicPartition]:
        """Return the partitions of this process."""

    def take(self, message: Any) -> list[Chunk]:
        """Return the chunks of a message that are the next links of their chains."""

    def taken(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """Return the offset behind the last record that a loop took, by topic; 0 if none was.

        Parameters
        ----------
        topics : iterable of str
            Co-partitioned topics.
        partition : int
            The partition of each of them.
        """

    def acknowledge(self, message: Any, chunks: Sequence[Chunk], *, is_committed: bool = False) -> None:
        """Let the ends of chunks be committed: all their effects are appended.

        Parameters
        ----------
        message : faust.Message
            The message that they came in.
        chunks : sequence of Chunk
            Those of its chunks that were taken.
        is_committed : bool
            True if a transaction has committed the ends already.
        """

    def committed(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """Return the offset from which a partition is delivered after a restart, by topic, as far as it is known.

        Parameters
        ----------
        topics : iterable of str
            Co-partitioned topics.
        partition : int
            The partition of each of them.
        """

    async def committed_offsets(self, tps: Iterable[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the offsets that the group has committed, as the broker states now."""

    def highwater(self, tp: TopicPartition) -> int | None:
        """Return the end of a partition as the broker stated it last; None while it is not known."""

    async def highwaters(self, *tps: TopicPartition) -> Mapping[TopicPartition, int | None]:
        """Return the ends of partitions, as the broker states now."""

    async def ends(self, topics: Iterable[str], partition: int) -> dict[str, int]:
        """Return the end of a partition as the broker states it now, by topic.

        Parameters
        ----------
        topics : iterable of str
            Co-partitioned topics.
        partition : int
            The partition of each of them.
        """

    def reached(self, tps: Sequence[TopicPartition]) -> float | None:
        """Return the append time up to which these partitions are done, in epoch seconds; None if it is not known."""


class Host(Protocol):
    """The application around the loops."""

    @property
    def consumer(self) -> Source:
        """The consumer; it exists only once the application has started."""

    @property
    def rebalancing(self) -> bool:
        """True while partitions are being reassigned."""
