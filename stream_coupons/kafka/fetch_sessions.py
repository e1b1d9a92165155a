"""Fetch in incremental sessions, urgent topics apart from those that can wait, and get past every record.

A broker answers a fetch as soon as one of its partitions has a record. So topics that no decision waits for are fetched
by requests of their own, which are less frequent: each cycle of a worker costs milliseconds, a record microseconds.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords

from stream_coupons.kafka.fetch_requests import Answer, FetchSession, SessionRequest, encode_request
from stream_coupons.kafka.lenient.fetch import FetchedBatches, Records

KNOWN_WITHIN_S = 0.02
"""Age of the last fetch of `Priority.WITH_URGENT` beyond which an urgent record waits for another one."""
BACKLOG_BYTES = 64 * 1024
"""An answer of this size is part of a backlog: nothing waits then."""
LEFT_OUT_WAIT_MS = 25
"""Longest wait for records at the broker, while a partition of the same place is paused or has records to be taken."""


class Priority(IntEnum):
    """The urgency of a topic. Each has a connection of its own, of this group of aiokafka's client (1 and 4 are taken).

    A broker answers the requests of a connection in their order, and holds back those that wait for records.
    """

    URGENT = 0
    """At once; every decision on such a record waits."""
    WITH_URGENT = 2
    """With urgent records, so that a decision knows what was appended before; else after a pause."""
    PATIENT = 3
    """After a long pause."""


PAUSE_S = {Priority.URGENT: 0.003, Priority.WITH_URGENT: 0.1, Priority.PATIENT: 0.25}
"""Pause, at most, between two answers with records: what comes meanwhile waits, and is processed together."""


class Place(NamedTuple):
    """A broker and the connection to it."""

    node: int
    priority: Priority


@dataclass(slots=True)
class _Survey:
    """The partitions of an assignment by what keeps them from being fetched.

    Attributes
    ----------
    wanted : dict
        Positions of those to fetch, by place.
    untaken : dict
        Longest time in seconds for which records of a place may stay untaken.
    left_out : set
        Places with partitions that are paused or have untaken records.
    lost : dict
        Those without a position, by node.
    resumed : list
        Futures of paused ones that end the pause.
    leaderless : list
        Those without records whose leader is unknown.
    """

    wanted: defaultdict[Place, dict[TopicPartition, int]] = field(default_factory=lambda: defaultdict(dict))
    untaken: dict[Place, float] = field(default_factory=dict)
    left_out: set[Place] = field(default_factory=set)
    lost: defaultdict[int, list[TopicPartition]] = field(default_factory=lambda: defaultdict(list))
    resumed: list[Any] = field(default_factory=list)
    leaderless: list[TopicPartition] = field(default_factory=list)


class SessionFetcher(Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher with sessions, priorities and lenient records. Needs Kafka 2.3 or later.

    Parameters
    ----------
    client : SessionClient
        Sends each request by the connection of its priority.
    subscriptions : aiokafka.consumer.subscription_state.SubscriptionState
        The partitions to fetch.
    priority_of : callable, optional
        The priority of a topic; by default all are fetched at once.
    patience_s : float, optional
        Longest pause between two answers, whatever the priority.
    namespace : str, optional
        The namespace of the topics.
    **options
        Of aiokafka's fetcher.
    """

    def __init__(
        self,
        client: Any,
        subscriptions: Any,
        priority_of: Callable[[str], Priority] | None = None,
        patience_s: float = math.inf,
        namespace: str = "",
        **options: Any,
    ) -> None:
        self._namespace = namespace
        self._priority_of = priority_of
        self._pause_s = {priority: min(pause_s, patience_s) for priority, pause_s in PAUSE_S.items()}
        self._sessions: defaultdict[Place, FetchSession] = defaultdict(FetchSession)
        self._due: dict[Place, float] = {}
        self._served: Any = None
        self._parts: list[tuple[TopicPartition, Any, Priority]] = []
        super().__init__(client, subscriptions, **options)

    async def close(self) -> None:
        """End the requests under way, and the task that makes them.

        aiokafka's own raises CancelledError for a request that pauses before it is tried again, and leaves the others.
        """
        under_way = frozenset(self._pending_tasks)
        for task in (self._fetch_task, *under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        self._pending_tasks -= under_way
        await super().close()

    def _get_actions_per_node(self, assignment: Any) -> tuple[Any, ...]:
        """Return requests to send, positions to look up, seconds to wait, and whether a leader is unknown.

        As aiokafka's own, but requests are made for each place, when it is due.
        """
        if assignment is not self._served:
            self._serve(assignment)
        found = self._survey()
        requests, waits = self._due_requests(found)
        return requests, found.lost, min(waits), bool(found.leaderless), found.resumed

    def _survey(self) -> _Survey:
        """Return what keeps each partition from being fetched, or the position to fetch it from."""
        leader_of, records, in_flight = self._client.cluster.leader_for_partition, self._records, self._in_flight
        found = _Survey()
        for tp, state, priority in self._parts:
            node = leader_of(tp)
            if node is None or node == -1:
                if tp not in records:
                    found.leaderless.append(tp)
                continue
            place = Place(node, priority)
            if tp in records or state.paused:
                found.left_out.add(place)
            if tp in records:
                if backoff := records[tp].calculate_backoff():
                    found.untaken[place] = max(found.untaken.get(place, 0.0), backoff)
            elif not state.has_valid_position:
                if node not in in_flight:
                    found.lost[node].append(tp)
            elif place in in_flight:
                continue
            elif state.paused:
                found.resumed.append(state.resume_fut)
            else:
                found.wanted[place][tp] = state.position
        return found

    def _due_requests(self, found: _Survey) -> tuple[list[tuple[Place, SessionRequest]], list[float]]:
        """Return the requests of the places that are due, and the seconds until the others are."""
        requests, now = [], time.monotonic()
        waits = [self._fetcher_timeout, *found.untaken.values()]
        for place, positions in found.wanted.items():
            # Fetched records are returned first. An unknown position belongs into the same request.
            if place in found.untaken or place.node in found.lost:
                continue
            if (wait_s := self._due.get(place, 0.0) - now) > 0.0:
                waits.append(wait_s)
            else:
                # A node that is left out is asked again soon: requests of the others wait only briefly.
                max_wait_ms = LEFT_OUT_WAIT_MS if place in found.left_out else self._fetch_max_wait_ms
                requests.append((place, self._request(place, positions, max_wait_ms)))
        return requests, waits

    def _serve(self, assignment: Any) -> None:
        """Begin to fetch for an assignment: no session knows of it."""
        priority_of = self._priority_of or (lambda _: Priority.URGENT)
        self._served = assignment
        self._parts = [(tp, assignment.state_value(tp), priority_of(tp.topic)) for tp in assignment.tps]
        for session in self._sessions.values():
            session.begin_anew()

    def _request(self, place: Place, positions: Mapping[TopicPartition, int], max_wait_ms: int) -> SessionRequest:
        def encode(
            session: tuple[int, int], changed: Mapping[TopicPartition, int], forgotten: list[TopicPartition]
        ) -> bytes:
            sizes = self._fetch_max_bytes, self._max_partition_fetch_bytes
            return encode_request(
                max_wait_ms, *sizes, self._isolation_level, session, changed, forgotten, self._namespace
            )

        return SessionRequest(self._sessions[place], positions, place.priority, encode, self._namespace)

    async def _proc_fetch_request(self, assignment: Any, place: Place, request: SessionRequest) -> bool:
        """Send a request and keep what it brings. Returns whether there is anything to take."""
        has_news = bool(await super()._proc_fetch_request(assignment, place.node, request))
        if request.answer is None or not assignment.active:
            return has_news
        self._make_lenient(assignment, request.answer, request.positions)
        if request.answer.error:
            await asyncio.sleep(self._retry_backoff)
            return False
        self._note(assignment, request)
        if self._priority_of is not None and has_news:
            self._wait(place, request.answer)
            if place.priority is Priority.URGENT:
                await self._fetch_with_urgent(assignment, Place(place.node, Priority.WITH_URGENT))
        return has_news

    def _make_lenient(self, assignment: Any, answer: Answer, positions: Mapping[TopicPartition, int]) -> None:
        """Replace each partition's records that aiokafka has just kept by lenient ones of the same bytes."""
        checks = self._check_crcs, self._isolation_level
        for topic, rows in answer.topics:
            for partition, _, _, _, _, aborted, _, data in rows:
                tp = TopicPartition(topic, partition)
                kept = self._records.get(tp)
                # Not one with records of ours: that is of an earlier answer.
                if isinstance(kept, FetchResult) and type(kept._partition_records) is PartitionRecords:
                    kept._partition_records._records_iterator = None  # it refers to its records: a cycle for each fetch
                    records = Records(tp, FetchedBatches(data), aborted, positions[tp], None, None, *checks)
                    self._records[tp] = FetchResult(
                        tp, assignment=assignment, partition_records=records, backoff=self._prefetch_backoff
                    )

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
                request.session.begin_anew()

    def _wait(self, place: Place, answer: Answer) -> None:
        """Set when the place is fetched next: at once if there is a backlog."""
        if sum(len(row[-1]) for _, rows in answer.topics for row in rows) < BACKLOG_BYTES:
            self._due[place] = time.monotonic() + self._pause_s[place.priority]

    async def _fetch_with_urgent(self, assignment: Any, place: Place) -> None:
        """Fetch what decisions should know. A request that is under way has found nothing so far."""
        now = time.monotonic()
        if place in self._in_flight or now < self._due.get(place, 0.0) - self._pause_s[place.priority] + KNOWN_WITHIN_S:
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
            self._due[place] = now + self._pause_s[place.priority]
            try:
                await self._proc_fetch_request(assignment, place, self._request(place, positions, 0))
            finally:
                self._in_flight.discard(place)
