"""aiokafka's consumer with our fetcher: it gets past every record, fetches in sessions, and reports its membership."""

import inspect
import math
import time
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import for_code
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.contact import Contact
from stream_coupons.kafka.fetch_requests import SessionRequest
from stream_coupons.kafka.fetch_sessions import Priority, SessionFetcher

OF_A_FETCHER = frozenset(inspect.signature(SessionFetcher.__base__).parameters)
"""Options of a consumer that it hands on to its fetcher; the defaults of both are the same."""
OnAnswer = Callable[[float, Any], None]
"""Called with the time (monotonic) at which a heartbeat, or a request for an assignment, was sent, and the error of the
coordinator's answer."""


class SessionClient:
    """aiokafka's client; each fetch request goes by the connection of its priority.

    Parameters
    ----------
    client : aiokafka.client.AIOKafkaClient
        Sends the requests.
    on_answer : OnAnswer, optional
        Hears what the coordinator of the group answers.
    contact : Contact, optional
        Notes every answer.
    """

    def __init__(
        self, client: Any, on_answer: OnAnswer = lambda _at, _error: None, contact: Contact | None = None
    ) -> None:
        self._client = client
        self._on_answer = on_answer
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
            The request; a `SessionRequest` names its connection itself.
        **options
            Of aiokafka's client, for all other requests.
        """
        if isinstance(request, SessionRequest):
            return await self._client.send(node, request, group=request.group)
        began = time.monotonic()
        answer = await self._client.send(node, request, **options)
        if isinstance(request, HeartbeatRequest | SyncGroupRequest):
            self._on_answer(began, for_code(answer.error_code))
        return answer


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
    on_answer : OnAnswer
        Hears what the coordinator of the group answers.
    contact : Contact or None
        Notes every answer of a broker.
    patience_s : float
        Longest pause between two fetches.
    **options
        Of aiokafka's consumer.
    """

    _client: Any
    _fetcher: Any

    def __init__(
        self,
        priority_of: Callable[[str], Priority] | None,
        on_answer: OnAnswer,
        contact: Contact | None,
        patience_s: float,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._client = SessionClient(self._client, on_answer, contact)
        self._fetching = {name: value for name, value in options.items() if name in OF_A_FETCHER}
        self._fetching |= {"priority_of": priority_of, "patience_s": patience_s}

    async def start(self) -> None:
        """Connect; aiokafka's fetcher, which has nothing to fetch yet, makes room for ours."""
        await super().start()
        stock = self._fetcher
        self._fetcher = SessionFetcher(self._client, self._subscription, **self._fetching)
        await stock.close()


def new_consumer(
    connection: Connection,
    priority_of: Callable[[str], Priority] | None = None,
    on_answer: OnAnswer = lambda _at, _error: None,
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
    on_answer : OnAnswer, optional
        Hears what the coordinator of the group answers.
    contact : Contact, optional
        Notes every answer of a broker.
    patience_s : float, optional
        Longest pause between two fetches.
    **options
        Of aiokafka's consumer.
    """
    return Consumer(priority_of, on_answer, contact, patience_s, **connection.options(), **options)
