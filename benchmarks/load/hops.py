"""Latency between an event and its coupon by hop, measured from the topics alone.

Every record that an agent sends names, in the header `origin`, the record that it was made from. So the path from a
coupon back to its event can be followed through the topics after the load, which costs the workers nothing. A record's
timestamp is that of its topic: the time of the append where the topic has the broker's time, the time of the hand-over
to the producer elsewhere. Times are whole milliseconds, so one hop is uncertain by one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from msgspec import Struct

from benchmarks.load.pace import percentile
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.records import Record, origin_of

DUE, READ = "due", "read"
"""The ends of every path: the event was due to be sent; its coupon was read by a consumer."""

Place = tuple[str, int, int]
"""(topic, partition, offset)."""
Step = tuple[str, float]
"""A topic, or `DUE` or `READ`, and the timestamp of a record there, in epoch milliseconds."""


class Hop(Struct, frozen=True, kw_only=True):
    """Percentiles of the time between two topics that follow each other on the way to a coupon.

    Attributes
    ----------
    source, target : str
        Topics; `due` before the first, `read` behind the last.
    count : int
        Coupons whose way has this hop.
    """

    source: str
    target: str
    count: int
    p50_ms: float
    p99_ms: float


class Seen(NamedTuple):
    """Timestamp of a record, in epoch milliseconds, and the place of the record that it was made from."""

    at_ms: int
    origin: Place | None


def ways(
    connection: Connection, issues: Iterable[Any], name_of: Callable[[bytes], str]
) -> dict[str, list[tuple[str, float]]]:
    """Return, by trigger, the topics on the way from the event to the coupon and when each was reached.

    Parameters
    ----------
    connection : Connection
        The broker, whose topics still hold all that the coupons were made from.
    issues : iterable of consumer records
        The coupons, as a `Reader` returns them.
    name_of : callable
        Trigger id of a coupon's value.
    """
    seen: dict[Place, Seen] = {}
    ends: dict[str, Place] = {}
    found = list(issues)
    for issue in found:
        ends.setdefault(name_of(issue.value), (issue.topic, issue.partition, issue.offset))
    while found:
        for record in found:
            seen[record.topic, record.partition, record.offset] = Seen(record.timestamp, _origin(record))
        wanted = {one.origin for one in seen.values() if one.origin is not None} - seen.keys()
        found = _read(connection, wanted)
    return {name: way for name, end in ends.items() if (way := _way(seen, end))}


def _origin(record: Any) -> Place | None:
    """Return the place of the record that an agent's record was made from."""
    read = Record(
        record.topic, record.partition, record.offset, record.timestamp, record.key, None, tuple(record.headers)
    )
    found = origin_of(read)
    if found is None:
        return None
    topic, _, partition = found[0].rpartition(":")
    return topic, int(partition), found[1][0]


def _read(connection: Connection, places: set[Place]) -> list[Any]:
    """Return the records at these places, as far as they are there, reading no topic from before its first."""
    first: defaultdict[str, dict[tuple[str, int], int]] = defaultdict(dict)
    for topic, partition, offset in places:
        home = (topic, partition)
        first[topic][home] = min(offset, first[topic].get(home, offset))
    found = []
    for topic, begins in first.items():
        with Reader(connection, [topic], from_beginning=True) as reader:
            reader.seek(begins)
            found += [each for each in reader.read_to_end() if (topic, each.partition, each.offset) in places]
    return found


def _way(seen: Mapping[Place, Seen], end: Place) -> list[Step]:
    """Return the way to a record from its first origin; nothing if a record of it is gone."""
    way: list[Step] = []
    place: Place | None = end
    while place is not None:
        if (here := seen.get(place)) is None:
            return []
        way.append((place[0], float(here.at_ms)))
        place = here.origin
    return way[::-1]


def summary(found: Iterable[list[Step]]) -> list[Hop]:
    """Return the percentiles of every hop, in the order of the ways.

    Clocks of a broker and its clients on one machine are the same, but for the milliseconds that are cut off: a time
    below zero counts as zero.

    Examples
    --------
    >>> [hop.p50_ms for hop in summary([[("due", 0.5), ("cart-events", 1.0), ("coupon-issues", 31.0)]])]
    [0.5, 30.0]
    """
    times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    order: dict[tuple[str, str], int] = {}
    for way in found:
        for number, ((source, began), (target, ended)) in enumerate(pairwise(way)):
            times[source, target].append(max(ended - began, 0.0))
            order[source, target] = max(order.get((source, target), 0), number)
    return [
        Hop(
            source=source,
            target=target,
            count=len(each),
            p50_ms=round(percentile(each, 0.5), 2),
            p99_ms=round(percentile(each, 0.99), 2),
        )
        for (source, target), each in sorted(times.items(), key=lambda one: order[one[0]])
    ]
