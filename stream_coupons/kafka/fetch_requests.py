"""Fetch requests in incremental sessions (KIP-227), encoded and decoded in the form that aiokafka sends and takes.

aiokafka names every partition in every fetch request, and decodes an answer for each. With a session both sides name
only partitions whose offset has changed or that have records.
"""

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.protocol.api import Request
from aiokafka.protocol.fetch import FetchRequest_v11

from stream_coupons.kafka.namespace import client_name

MAX_EPOCH = 2**31 - 1


class FetchSession:
    """The incremental session of a connection: the positions that the broker keeps."""

    def __init__(self) -> None:
        self.id = 0
        self.epoch = 0
        self.told: Mapping[TopicPartition, int] = {}

    def begin_anew(self) -> None:
        """Name all partitions in the next request; it ends the session that the broker may have."""
        self.epoch, self.told = 0, {}

    def news(
        self, positions: Mapping[TopicPartition, int]
    ) -> tuple[dict[TopicPartition, int], list[TopicPartition], int]:
        """Return the positions to name in a request, the partitions to forget, and the epoch of the request.

        Until it is answered, the session is in doubt: another request begins it anew.
        """
        told, epoch = self.told, self.epoch
        changed = {tp: at for tp, at in positions.items() if told.get(tp) != at}
        forgotten = [tp for tp in told if tp not in positions]
        self.begin_anew()
        return changed, forgotten, epoch

    def answered(self, session_id: int, epoch: int, positions: Mapping[TopicPartition, int]) -> None:
        """Take in an answer.

        Parameters
        ----------
        session_id : int
            The broker's number of the session; 0 if it keeps none.
        epoch : int
            The epoch of the request.
        positions : mapping
            All positions of the session as of the request, also those that it did not name.
        """
        self.id = session_id
        if session_id:
            self.epoch, self.told = epoch % MAX_EPOCH + 1, positions


class Answer(NamedTuple):
    """A decoded answer, in the form of aiokafka's."""

    API_VERSION: int
    error: int
    session_id: int
    topics: list[tuple[str, list[tuple[Any, ...]]]]


_REQUEST = struct.Struct(">iiiibii")
_ASKED = struct.Struct(">iiqqi")
_ANSWER = struct.Struct(">ihii")
_FOUND = struct.Struct(">ihqqqi")
_ABORTED = struct.Struct(">qq")
_INT = struct.Struct(">i")
_SHORT = struct.Struct(">h")
ANY_REPLICA = ANY_EPOCH = ANY_START = -1


def encode_request(  # noqa: PLR0913 - the fields of the request
    max_wait_ms: int,
    max_bytes: int,
    max_partition_bytes: int,
    isolation: int,
    session: tuple[int, int],
    changed: Mapping[TopicPartition, int],
    forgotten: list[TopicPartition],
    namespace: str = "",
) -> bytes:
    """Return the body of a fetch request of version 11, which is answered as soon as there is one byte.

    Parameters
    ----------
    max_wait_ms : int
        Longest wait at the broker.
    max_bytes, max_partition_bytes : int
        Most bytes of the answer, and of one partition in it.
    isolation : int
        0 for all records, 1 for committed ones.
    session : tuple of int
        Its id and the epoch of the request.
    changed : mapping
        The positions to name, by partition.
    forgotten : list of TopicPartition
        The partitions that leave the session.
    namespace : str, optional
        The namespace of the topics.
    """
    by_topic: defaultdict[str, list[bytes]] = defaultdict(list)
    for tp, at in changed.items():
        by_topic[tp.topic].append(_ASKED.pack(tp.partition, ANY_EPOCH, at, ANY_START, max_partition_bytes))
    no_more: defaultdict[str, list[bytes]] = defaultdict(list)
    for tp in forgotten:
        no_more[tp.topic].append(_INT.pack(tp.partition))
    parts = [_REQUEST.pack(ANY_REPLICA, max_wait_ms, 1, max_bytes, isolation, *session)]
    for topics in (by_topic, no_more):
        parts.append(_INT.pack(len(topics)))
        for topic, rows in topics.items():
            name = (namespace + topic).encode()
            parts += [_SHORT.pack(len(name)), name, _INT.pack(len(rows)), *rows]
    parts.append(_SHORT.pack(0))  # no rack
    return b"".join(parts)


def decode_answer(data: bytes, namespace: str = "") -> Answer:
    """Return the fields of an answer of version 11.

    Parameters
    ----------
    data : bytes
        The body of the answer.
    namespace : str, optional
        The namespace of the topics.
    """
    _, error, session_id, count = _ANSWER.unpack_from(data)
    at, topics = _ANSWER.size, []
    for _ in range(count):
        (size,) = _SHORT.unpack_from(data, at)
        name = client_name(namespace, data[at + 2 : at + 2 + size].decode())
        (partitions,) = _INT.unpack_from(data, at + 2 + size)
        at += 6 + size
        rows: list[tuple[Any, ...]] = []
        for _ in range(partitions):
            partition, code, highwater, stable, start, aborted = _FOUND.unpack_from(data, at)
            at += _FOUND.size
            end = at + max(aborted, 0) * _ABORTED.size
            transactions = list(_ABORTED.iter_unpack(data[at:end]))
            replica, size = struct.unpack_from(">ii", data, end)
            at = end + 8 + max(size, 0)
            rows.append((partition, code, highwater, stable, start, transactions, replica, data[end + 8 : at]))
        topics.append((name, rows))
    return Answer(FetchRequest_v11.API_VERSION, error, session_id, topics)


class _Decoder(NamedTuple):
    """In place of aiokafka's type of an answer."""

    take: Callable[[Answer], None]
    namespace: str

    def decode(self, data: BytesIO) -> Answer:
        answer = decode_answer(data.read(), self.namespace)
        self.take(answer)
        return answer


class _Sent(FetchRequest_v11):  # type: ignore[misc]
    """A request that is encoded already."""

    def __init__(self, body: bytes, answer: _Decoder) -> None:
        self._body = body
        self.RESPONSE_TYPE = answer

    def encode(self) -> bytes:
        return self._body


class SessionRequest(Request[FetchRequest_v11]):  # type: ignore[misc]
    """A fetch request in a session, to be sent once.

    Parameters
    ----------
    session : Session
        The session of the broker and the connection.
    positions : mapping
        The offset to fetch from, by partition.
    group : int
        aiokafka's group of the connection.
    encode : callable
        Makes the body from the session's id and epoch, the changed positions and the partitions to forget.
    namespace : str, optional
        The namespace of the topics.
    """

    API_KEY = FetchRequest_v11.API_KEY

    def __init__(
        self,
        session: FetchSession,
        positions: Mapping[TopicPartition, int],
        group: int,
        encode: Callable[[tuple[int, int], Mapping[TopicPartition, int], list[TopicPartition]], bytes],
        namespace: str = "",
    ) -> None:
        self.group = group
        self.positions = positions
        self.answer: Answer | None = None
        self.session = session
        self._encode = encode
        self._namespace = namespace

    @property
    def topics(self) -> Iterator[tuple[str, list[tuple[int, int, int]]]]:
        """The partitions of an answer, in aiokafka's form."""
        return ((tp.topic, [(tp.partition, at, 0)]) for tp, at in self.positions.items())

    def build(self, request_struct_class: type[Any]) -> _Sent:  # noqa: ARG002 - there is one version
        """Encode it, right before it is written."""
        changed, forgotten, epoch = self.session.news(self.positions)

        def take(answer: Answer) -> None:
            self.answer = answer
            self.session.answered(answer.session_id, epoch, self.positions)

        return _Sent(self._encode((self.session.id, epoch), changed, forgotten), _Decoder(take, self._namespace))
