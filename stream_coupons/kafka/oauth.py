"""Tokens for SASL OAUTHBEARER: read from a file, or granted by a token endpoint for client credentials."""

import asyncio
import re
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from typing import Annotated, Any, Final
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPErrorProcessor, HTTPSHandler, ProxyHandler, Request, build_opener

import aiokafka.abc
import aiokafka.errors
import kafka.errors
import kafka.net.sasl.oauth
import msgspec
from msgspec import Meta, Struct

from stream_coupons.core.errors import BadConfig, BrokerAway
from stream_coupons.kafka.connection import TOKENS, Connection, read_secret, read_text, tls_context

TOKEN: Final = r"^[A-Za-z0-9._~+/-]+=*\Z"
"""A bearer token (RFC 6750, 2.1)."""
USED_RATIO: Final = 0.8
"""Share of its lifetime after which a token is replaced, as by Apache Kafka's own client."""
RETRY_PAUSE_S: Final = 1.0
"""Clients that ask within this time of a failed request get its error: each request may last `TIMEOUT_S`."""
TIMEOUT_S: Final = 5.0
MAX_ANSWER_BYTES: Final = 2**20


class _Grant(Struct):
    access_token: Annotated[str, Meta(pattern=TOKEN)]
    expires_in: float = 0.0


class _AnyStatus(HTTPErrorProcessor):
    """Returns answers of any status. No redirect is followed: a secret goes to the endpoint that is set alone."""

    def http_response(self, _: Request, response: Any) -> Any:
        """Return the answer."""
        return response

    https_response = http_response  # type: ignore[assignment]


class ClientCredentials:
    """A token endpoint that grants tokens for a client's id and secret (RFC 6749, 4.4).

    A token is kept for `USED_RATIO` of its lifetime. It is used until it expires while the endpoint grants no other.
    The client's secret is read for each request.

    Parameters
    ----------
    connection : Connection
        Names the endpoint, the client, the file with its secret, and the scope. Authorities of `ca_file` may certify
        the endpoint, beside those that the system trusts.
    clock : callable, optional
        Returns monotonic seconds.
    """

    def __init__(self, connection: Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = connection
        self._clock = clock
        self._lock = threading.Lock()
        self._token = ""
        self._failure: BadConfig | None = None
        self._ask_at = self._expires_at = clock()

    def token(self) -> str:
        """Return the token that is kept, or a new one.

        Raises
        ------
        BrokerAway
            If the endpoint does not answer.
        BadConfig
            If it grants no token, or a file cannot be read.
        """
        with self._lock:
            if (began := self._clock()) >= self._ask_at:
                try:
                    grant = self._ask()
                except BadConfig as failure:
                    self._failure, self._ask_at = failure, self._clock() + RETRY_PAUSE_S
                else:
                    self._failure, self._token = None, grant.access_token
                    self._ask_at = began + USED_RATIO * grant.expires_in
                    self._expires_at = began + grant.expires_in
            if self._failure and self._clock() >= self._expires_at:
                raise self._failure.with_traceback(None)
            return self._token

    def _ask(self) -> _Grant:
        url, client, scope = self._settings.token_url, self._settings.username, self._settings.token_scope
        secret = read_secret("kafka.password_file", self._settings.password_file).rstrip("\r\n")
        login = b64encode(f"{quote_plus(client)}:{quote_plus(secret)}".encode()).decode()
        form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
        headers = {"Authorization": f"Basic {login}", "Accept": "application/json"}
        context = tls_context(self._settings.ca_file)
        context.load_default_certs()
        proxies = ProxyHandler({} if url.startswith("http:") else None)
        opener = build_opener(proxies, HTTPSHandler(context=context), _AnyStatus)
        try:
            with opener.open(Request(url, urlencode(form).encode(), headers), timeout=TIMEOUT_S) as answer:
                body = answer.read(MAX_ANSWER_BYTES)
            if answer.status != HTTPStatus.OK:
                raise _refused(url, client, answer.status, body)
            return msgspec.json.decode(body, type=_Grant, strict=False)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                why = f"the certificate of {url} is not accepted ({reason.verify_message}). Set the PEM file"
                raise BadConfig(f"kafka.ca_file: {why} of the authority that signed it") from None
            raise BrokerAway(f"kafka.token_url: {url} does not answer ({reason})") from None
        except msgspec.DecodeError as error:
            raise BadConfig(f"kafka.token_url: {url} granted no token ({error}). Set a token endpoint") from None


def _refused(url: str, client: str, status: int, answer: bytes) -> BadConfig:
    code = re.search(rb'"error"\s*:\s*"([a-z_]{1,40})"', answer)
    why = f"{status} {code[1].decode() if code else ''}".rstrip()
    if status >= 500 or status in (408, 429):
        return BrokerAway(f"kafka.token_url: {url} does not answer now ({why})")
    names = "kafka.token_url, kafka.username, kafka.password_file, kafka.token_scope"
    what_to_do = "Check the address, the client's id and secret, and the scope that it may ask for"
    return BadConfig(f"{names}: {url} granted no token to {client!r} ({why}). {what_to_do}")


class NoToken(kafka.errors.KafkaConnectionError, aiokafka.errors.KafkaConnectionError):  # type: ignore[misc]
    """An error by which clients of both libraries try to connect again, as if the broker did not answer."""


class BlockingTokens(kafka.net.sasl.oauth.AbstractTokenProvider):  # type: ignore[misc]
    """The option `sasl_oauth_token_provider` of kafka-python's clients.

    Parameters
    ----------
    ask : callable
        Returns a token, or raises BadConfig.
    """

    def __init__(self, ask: Callable[[], str]) -> None:
        self.ask = ask

    def token(self) -> str:
        """Return a token, once it is there."""
        try:
            return self.ask()
        except BadConfig as failure:
            TOKENS.error("no token for a connection to Kafka: %s", failure)
            raise NoToken(str(failure)) from None


class AsyncTokens(aiokafka.abc.AbstractTokenProvider):  # type: ignore[misc]
    """The same option of aiokafka's clients; parameters as of `BlockingTokens`."""

    def __init__(self, ask: Callable[[], str]) -> None:
        self._blocking = BlockingTokens(ask)

    async def token(self) -> str:
        """Return a token; a thread waits for it."""
        return await asyncio.to_thread(self._blocking.token)


_shared: Final[dict[tuple[str, ...], ClientCredentials]] = {}
"""One for all clients of the process with the same settings, so that they share a token."""


def token_source(connection: Connection) -> Callable[[], str]:
    """Return the function that returns a token for a new connection, or raises BadConfig."""
    c = connection
    if c.token_file:
        return partial(_read_token, c.token_file)
    key = c.token_url, c.token_scope, c.username, c.password_file, c.ca_file
    return _shared.setdefault(key, ClientCredentials(c)).token


def _read_token(file: str) -> str:
    token = read_text("kafka.token_file", file).strip()
    if not re.match(TOKEN, token):
        raise BadConfig(f"kafka.token_file: {file} holds no token, expected one line of A-Z a-z 0-9 - . _ ~ + / =")
    return token
