"""aiokafka's consumer with our fetcher: it gets past every record, fetches in sessions, and reports its membership."""

import inspect
import math
import time
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import NoError, for_code
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from aiokafka.protocol.offset import OffsetRequest

from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.contact import Contact
from stream_coupons.kafka.fetch_requests import SessionRequest
from stream_coupons.kafka.fetch_sessions import Priority, SessionFetcher
from stream_coupons.kafka.membership_lease import NO_MEMBER, MembershipLease
from stream_coupons.kafka.namespace import add_namespace

LOOKUPS = 4
"""The connection group of requests for the ends of partitions: behind a fetch they would wait until it has records."""
OF_A_FETCHER = frozenset(inspect.signature(SessionFetcher.__base__).parameters)
"""Options of a consumer that it hands on to its fetcher; the defaults of both are the same."""


class SessionClient:
    """aiokafka's client; each fetch request goes by the connection of its priority.

    Parameters
    ----------
    client : aiokafka.client.AIOKafkaClient
        Sends the requests.
    lease : MembershipLease, optional
        Notes the answers of the group's coordinator.
    contact : Contact, optional
        Notes every answer.
    """

    def __init__(self, client: Any, lease: MembershipLease | None = None, contact: Contact | None = None) -> None:
        self._client = client
        self._lease = lease
        if contact is not None:
            _note_answers(client, contact)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node: int, request: Any, **options: Any) -> Any:
        """Send a request and return its answer, as aiokafka's client does.

        Parameters
        ----------
        node : int
            The broker's id.
        request : aiokafka.protocol.api.Request
            The request; a `SessionRequest` names its connection itself, and an `OffsetRequest` has one of its own.
        **options
            Of aiokafka's client, for all other requests.
        """
        if isinstance(request, SessionRequest):
            return await self._client.send(node, request, group=request.group)
        if isinstance(request, OffsetRequest):
            return await self._client.send(node, request, group=LOOKUPS)
        began = time.monotonic()
        answer = await self._client.send(node, request, **options)
        if self._lease is not None and isinstance(request, HeartbeatRequest | SyncGroupRequest):
            error = for_code(answer.error_code)
            if isinstance(request, HeartbeatRequest) and error is NoError and not self._lease.is_held(began):
                await self._ask_anew(node, request, self._lease, options)
            else:
                self._lease.note(began, error)
        return answer

    async def _ask_anew(self, node: int, beat: HeartbeatRequest, lease: MembershipLease, options: Any) -> None:
        """Ask the coordinator whether a generation goes on whose lease has run out.

        One that still loads the group answers every heartbeat without an error. It looks up the member and the
        generation of a request for the assignment, which changes nothing in a stable group.
        """
        began = time.monotonic()
        request = SyncGroupRequest(beat._group, beat._generation_id, beat._member_id, None, [])
        error = for_code((await self._client.send(node, request, **options)).error_code)
        if error is NoError or error in NO_MEMBER:
            lease.note(began, error)


def _note_answers(client: Any, contact: Contact) -> None:
    """Note the answers to all requests, also to those of the client itself."""
    send = client.send

    async def send_and_note(*request: Any, **options: Any) -> Any:
        answer = await send(*request, **options)
        contact.note()
        return answer

    client.send = send_and_note


class Consumer(AIOKafkaConsumer):  # type: ignore[misc]
    """A consumer that is given its topics or partitions after its start.

    Parameters
    ----------
    priority_of : callable or None
        How soon a topic is fetched; None for at once.
    lease : MembershipLease or None
        Notes the answers of the group's coordinator.
    contact : Contact or None
        Notes every answer of a broker.
    patience_s : float
        Longest pause between two fetches.
    namespace : str
        The namespace of its topics and its group.
    **options
        Of aiokafka's consumer.
    """

    _client: Any
    _fetcher: Any

    def __init__(
        self,
        priority_of: Callable[[str], Priority] | None,
        lease: MembershipLease | None,
        contact: Contact | None,
        patience_s: float,
        namespace: str,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        add_namespace(self._client, namespace)
        self._client = SessionClient(self._client, lease, contact)
        self._fetching = {name: value for name, value in options.items() if name in OF_A_FETCHER}
        self._fetching |= {"priority_of": priority_of, "patience_s": patience_s, "namespace": namespace}

    async def start(self) -> None:
        """Connect; aiokafka's fetcher, which has nothing to fetch yet, makes room for ours."""
        await super().start()
        stock = self._fetcher
        self._fetcher = SessionFetcher(self._client, self._subscription, **self._fetching)
        await stock.close()


def new_consumer(
    connection: Connection,
    priority_of: Callable[[str], Priority] | None = None,
    lease: MembershipLease | None = None,
    contact: Contact | None = None,
    patience_s: float = math.inf,
    **options: Any,
) -> AIOKafkaConsumer:
    """Return a consumer that is not started.

    Parameters
    ----------
    connection : Connection
        How the brokers are reached.
    priority_of : callable, optional
        How soon a topic is fetched; at once by default.
    lease : MembershipLease, optional
        Notes the answers of the group's coordinator.
    contact : Contact, optional
        Notes every answer of a broker.
    patience_s : float, optional
        Longest pause between two fetches.
    **options
        Of aiokafka's consumer.
    """
    return Consumer(priority_of, lease, contact, patience_s, connection.namespace, **connection.options(), **options)
