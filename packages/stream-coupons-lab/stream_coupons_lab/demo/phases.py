"""Order the events of a slice of simulated time, so that they are applied in one order however fast workers are."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct

from stream_coupons.kafka import topics

ORDER = (topics.BROWSE, topics.CART, topics.ORDER, topics.FEEDBACK)
"""In a visit, shoppers look, fill the cart and order; their answers to earlier coupons come last."""


class Phase(NamedTuple):
    """Events of one partition of one topic, in order of time.

    Kafka keeps no order between topics and partitions. So a phase is sent as one batch, which a worker reads and
    applies as a whole, and the next phase waits until all that it led to is done.
    """

    topic: str
    partition: int
    messages: list[Struct]


def phases(events: Iterable[tuple[str, Struct]], partitions: int) -> Iterator[Phase]:
    """Split (topic, message) pairs, in order of time, into phases: by topic, then by partition.

    Raises
    ------
    ValueError
        If there are events of a topic that is not in `ORDER`.
    """
    found: dict[tuple[int, int], list[Struct]] = {}
    rank = {topic.name: number for number, topic in enumerate(ORDER)}
    for name, message in events:
        if name not in rank:
            raise ValueError(f"events of {name}: expected topics {', '.join(rank)}")
        partition = topics.partition_for(topics.BY_NAME[name].key_of(message), partitions)
        found.setdefault((rank[name], partition), []).append(message)
    for (number, partition), messages in sorted(found.items()):
        yield Phase(ORDER[number].name, partition, messages)
