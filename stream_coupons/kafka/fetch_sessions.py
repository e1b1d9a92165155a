"""Fetch in incremental sessions, and urgent topics apart from those that can wait.

aiokafka names every partition in every fetch request, and decodes an answer for each. With a session (KIP-227) both
sides name only partitions whose offset has changed or that have records.

A broker answers a fetch as soon as one of its partitions has a record. So topics that no decision waits for are fetched
by requests of their own, which are less frequent: each cycle of a worker costs milliseconds, a record microseconds.
"""

import asyncio
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from io import BytesIO
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.protocol.api import Request
from aiokafka.protocol.fetch import FetchRequest_v11

URGENT_PAUSE_S = 0.01
"""Pause between two answers with urgent records: what comes meanwhile is processed together."""
PATIENCE_S = 0.1
"""Longest time for which a record waits at the broker that is not urgent."""
KNOWN_WITHIN_S = 0.02
"""Age of the last fetch of `Priority.WITH_URGENT` beyond which an urgent record waits for another one."""
BACKLOG_BYTES = 64 * 1024
"""An answer of this size is part of a backlog: nothing waits then."""
LEFT_OUT_WAIT_MS = 25
"""Longest wait for records at the broker, while a partition of the same place is paused or has records to be taken."""
MAX_EPOCH = 2**31 - 1


class Priority(IntEnum):
    """How soon a topic is fetched. Each has a connection of its own, of this group of aiokafka's client (1 is taken).

    A broker answers the requests of a connection in their order, and holds back those that wait for records.
    """

    URGENT = 0
    """At once; every decision on such a record waits."""
    WITH_URGENT = 2
    """With urgent records, so that a decision knows what was appended before; else as `PATIENT`."""
    PATIENT = 3
    """`PATIENCE_S` after the last ones."""


class Place(NamedTuple):
    """A broker and the connection to it."""

    node: int
    priority: Priority


class Session:
    """What a broker knows of the fetch requests of one connection."""

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
        """Take in the answer to a request of an epoch; without an id the broker keeps no session."""
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
) -> bytes:
    """Return the body of a fetch request of version 11, which is answered as soon as there is one byte."""
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
            name = topic.encode()
            parts += [_SHORT.pack(len(name)), name, _INT.pack(len(rows)), *rows]
    parts.append(_SHORT.pack(0))  # no rack
    return b"".join(parts)


def decode_answer(data: bytes) -> Answer:
    """Return what an answer of version 11 holds."""
    _, error, session_id, count = _ANSWER.unpack_from(data)
    at, topics = _ANSWER.size, []
    for _ in range(count):
        (size,) = _SHORT.unpack_from(data, at)
        name = data[at + 2 : at + 2 + size].decode()
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

    def decode(self, data: BytesIO) -> Answer:
        answer = decode_answer(data.read())
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
    """A fetch request in a session, to be sent once."""

    API_KEY = FetchRequest_v11.API_KEY

    def __init__(
        self,
        session: Session,
        positions: Mapping[TopicPartition, int],
        group: Priority,
        encode: Callable[[tuple[int, int], Mapping[TopicPartition, int], list[TopicPartition]], bytes],
    ) -> None:
        self.group = group
        self.positions = positions
        self.answer: Answer | None = None
        self._session = session
        self._encode = encode

    @property
    def topics(self) -> Iterator[tuple[str, list[tuple[int, int, int]]]]:
        """What an answer may hold, in aiokafka's form."""
        return ((tp.topic, [(tp.partition, at, 0)]) for tp, at in self.positions.items())

    def build(self, request_struct_class: type[Any]) -> _Sent:  # noqa: ARG002 - there is one version
        """Encode it, right before it is written."""
        changed, forgotten, epoch = self._session.news(self.positions)

        def take(answer: Answer) -> None:
            self.answer = answer
            self._session.answered(answer.session_id, epoch, self.positions)

        return _Sent(self._encode((self._session.id, epoch), changed, forgotten), _Decoder(take))


class _ByGroup:
    """aiokafka's client, which sends each request by the connection of its group."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node: int, request: Any) -> Any:
        if isinstance(request, SessionRequest):
            return await self._client.send(node, request, group=request.group)
        return await self._client.send(node, request)


class SessionFetcher(Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher with sessions and priorities. Needs Kafka 2.3 or later.

    Attributes
    ----------
    priority_of : callable
        The priority of a topic; by default all are fetched at once.
    """

    def __init__(self, client: Any, *args: Any, **options: Any) -> None:
        self.priority_of: Callable[[str], Priority] | None = None
        self._sessions: defaultdict[Place, Session] = defaultdict(Session)
        self._due: dict[Place, float] = {}
        self._served: Any = None
        self._parts: list[tuple[TopicPartition, Any, Priority]] = []
        super().__init__(_ByGroup(client), *args, **options)

    def _get_actions_per_node(self, assignment: Any) -> tuple[Any, ...]:
        """Return requests to send, positions to look up, seconds to wait, and whether a leader is unknown.

        As aiokafka's own, but requests are made for each place, when it is due.
        """
        if assignment is not self._served:
            self._serve(assignment)
        leader_of, records, in_flight = self._client.cluster.leader_for_partition, self._records, self._in_flight
        wanted: defaultdict[Place, dict[TopicPartition, int]] = defaultdict(dict)
        untaken: dict[Place, float] = {}
        left_out: set[Place] = set()
        lost: defaultdict[int, list[TopicPartition]] = defaultdict(list)
        resumed, is_leaderless, now = [], False, time.monotonic()
        for tp, state, priority in self._parts:
            node = leader_of(tp)
            if node is None or node == -1:
                is_leaderless = is_leaderless or tp not in records
                continue
            place = Place(node, priority)
            if tp in records or state.paused:
                left_out.add(place)
            if tp in records:
                if backoff := records[tp].calculate_backoff():
                    untaken[place] = max(untaken.get(place, 0.0), backoff)
            elif not state.has_valid_position:
                if node not in in_flight:
                    lost[node].append(tp)
            elif place in in_flight:
                continue
            elif state.paused:
                resumed.append(state.resume_fut)
            else:
                wanted[place][tp] = state.position
        requests = []
        waits = [self._fetcher_timeout, *untaken.values()]
        for place, positions in wanted.items():
            # What was fetched is taken first; and a position that is not known belongs into the same request.
            if place in untaken or place.node in lost:
                continue
            if (wait_s := self._due.get(place, 0.0) - now) > 0.0:
                waits.append(wait_s)
            else:
                # Who is left out is wanted again before a request for the others has waited for long.
                max_wait_ms = LEFT_OUT_WAIT_MS if place in left_out else self._fetch_max_wait_ms
                requests.append((place, self._request(place, positions, max_wait_ms)))
        return requests, lost, min(waits), is_leaderless, resumed

    def _serve(self, assignment: Any) -> None:
        """Begin to fetch for an assignment: no session knows of it."""
        priority_of = self.priority_of or (lambda _: Priority.URGENT)
        self._served = assignment
        self._parts = [(tp, assignment.state_value(tp), priority_of(tp.topic)) for tp in assignment.tps]
        for session in self._sessions.values():
            session.begin_anew()

    def _request(self, place: Place, positions: Mapping[TopicPartition, int], max_wait_ms: int) -> SessionRequest:
        def encode(
            session: tuple[int, int], changed: Mapping[TopicPartition, int], forgotten: list[TopicPartition]
        ) -> bytes:
            sizes = self._fetch_max_bytes, self._max_partition_fetch_bytes
            return encode_request(max_wait_ms, *sizes, self._isolation_level, session, changed, forgotten)

        return SessionRequest(self._sessions[place], positions, place.priority, encode)

    async def _proc_fetch_request(self, assignment: Any, place: Place, request: SessionRequest) -> bool:
        """Send a request and keep what it brings. Returns whether there is anything to take."""
        has_news = bool(await super()._proc_fetch_request(assignment, place.node, request))
        if request.answer is None or not assignment.active:
            return has_news
        if request.answer.error:
            await asyncio.sleep(self._retry_backoff)
            return False
        self._note(assignment, request)
        if self.priority_of is not None and has_news:
            self._wait(place, request.answer)
            if place.priority is Priority.URGENT:
                await self._fetch_with_urgent(assignment, Place(place.node, Priority.WITH_URGENT))
        return has_news

    def _note(self, assignment: Any, request: SessionRequest) -> None:
        """Note that the ends of all partitions in a session are known as of now.

        The answer names only those that changed. One that was sought meanwhile aiokafka discards: its end is asked for
        again.
        """
        now_ms = int(1000 * time.time())
        for tp, at in request.positions.items():
            state = assignment.state_value(tp)
            if state.has_valid_position and state.position == at:
                state.timestamp = now_ms
            else:
                request._session.begin_anew()

    def _wait(self, place: Place, answer: Answer) -> None:
        """Set when the place is fetched next: at once if there is a backlog."""
        if sum(len(row[-1]) for _, rows in answer.topics for row in rows) < BACKLOG_BYTES:
            pause_s = URGENT_PAUSE_S if place.priority is Priority.URGENT else PATIENCE_S
            self._due[place] = time.monotonic() + pause_s

    async def _fetch_with_urgent(self, assignment: Any, place: Place) -> None:
        """Fetch what is there for decisions to know. A request that is under way has found nothing until now."""
        now = time.monotonic()
        if place in self._in_flight or now < self._due.get(place, 0.0) - PATIENCE_S + KNOWN_WITHIN_S:
            return
        leader_of, records = self._client.cluster.leader_for_partition, self._records
        positions = {
            tp: state.position
            for tp, state, priority in self._parts
            if priority is place.priority and tp not in records and leader_of(tp) == place.node
            if state.has_valid_position and not state.paused
        }
        if positions:
            self._in_flight.add(place)
            self._due[place] = now + PATIENCE_S
            try:
                await self._proc_fetch_request(assignment, place, self._request(place, positions, 0))
            finally:
                self._in_flight.discard(place)
