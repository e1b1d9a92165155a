"""Connections of clients to the brokers: addresses, encryption and authentication."""

import logging
import re
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from stream_coupons.core.errors import BadConfig, BrokerAway

log = logging.getLogger(__name__)

FOR_OTHERS: Final = 0o007
"""Permission bits of a file for every other user of the machine."""

WAITING: Final = logging.getLogger("stream_coupons.kafka.waiting")
"""Logger for a person who waits for a command."""
NOTED_AFTER_S: Final = 2.0
"""A wait for a broker that takes longer is logged there."""

TOKENS: Final = logging.getLogger("stream_coupons.tokens")
"""Logger for tokens that a running process lacks; its lines are written while no broker answers, too."""

ATTEMPTS: Final = logging.getLogger("kafka.net.manager")
"""kafka-python's logger of the reasons for failed connection attempts, which its exceptions omit."""

ATTEMPT_FAILED: Final = re.compile(
    r"(?:Bootstrap (?:connection|attempt) to \S+|Connection) failed: (.*?)(?: \(backoff [^()]*\))?$"
)


class SecurityProtocol(StrEnum):
    """Kafka's names: what is encrypted, and whether clients authenticate by SASL."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def is_encrypted(self) -> bool:
        """True if connections use TLS."""
        return self in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL)

    @property
    def has_sasl(self) -> bool:
        """True if clients authenticate by SASL."""
        return self in (SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL)


class SaslMechanism(StrEnum):
    """SASL mechanism: passwords, or tokens of OAuth 2.0."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


class Format(StrEnum):
    """Formats of the values of an input topic."""

    PLAIN = "plain"
    """The event as JSON."""
    CLOUDEVENTS = "cloudevents"
    """CloudEvents 1.0: structured mode in JSON, or binary mode with headers `ce_`."""
    DEBEZIUM = "debezium"
    """A change of a table, as Debezium reports it in JSON, with or without its schema: the event is `after`."""


class Connection(Struct, frozen=True):
    """Addresses of the brokers, and credentials for them. Files are read whenever a client is made.

    Parameters
    ----------
    bootstrap : str
        Addresses of the brokers, "host:port[,host:port]".
    ca_file : str
        PEM file of the authorities that certify the brokers; empty for those that the system trusts.
    certificate_file, key_file : str
        PEM files of the client's certificate and key, if brokers require them.
    username, password_file : str
        The client's user name, and a file with nothing but the password: no secret is in settings or logs. For a
        token endpoint they are the client's id and secret.
    token_url, token_scope : str
        Endpoint that grants tokens for client credentials, and their scope; empty for the client's default.
    token_file : str
        File with a token that another program renews, in place of an endpoint.
    formats : dict of str to Format
        By input topic; plain if it is not named.
    namespace : str
        Prefix of the names of all topics, groups and transactional ids on the broker.
    """

    bootstrap: str = "127.0.0.1:9092"
    security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    sasl_mechanism: SaslMechanism = SaslMechanism.SCRAM_SHA_512
    username: str = ""
    password_file: str = ""
    token_url: str = ""
    token_scope: str = ""
    token_file: str = ""
    formats: dict[str, Format] = {}
    namespace: str = ""

    def broker_name(self, name: str) -> str:
        """Return the broker's name of a topic, group or transactional id, for people."""
        return self.namespace + name

    @property
    def has_tokens(self) -> bool:
        """True if clients authenticate by tokens."""
        return self.security_protocol.has_sasl and self.sasl_mechanism is SaslMechanism.OAUTHBEARER

    def options(self, *, is_async: bool = True) -> dict[str, Any]:
        """Keyword arguments for clients of aiokafka and of kafka-python, which have the same names.

        Parameters
        ----------
        is_async : bool, optional
            True for aiokafka: its clients await tokens.

        Raises
        ------
        BadConfig
            If a file cannot be read, or is not what it should be.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap.split(","),
            "security_protocol": self.security_protocol.value,
        }
        if self.security_protocol.is_encrypted:
            options["ssl_context"] = self._ssl_context()
        if self.has_tokens:
            from stream_coupons.kafka import oauth  # here, for it takes both libraries

            provider = oauth.AsyncTokens if is_async else oauth.BlockingTokens
            options["sasl_oauth_token_provider"] = provider(oauth.token_source(self))
            options["sasl_mechanism"] = self.sasl_mechanism.value
        elif self.security_protocol.has_sasl:
            options |= {
                "sasl_mechanism": self.sasl_mechanism.value,
                "sasl_plain_username": self.username,
                "sasl_plain_password": read_secret("kafka.password_file", self.password_file).rstrip("\r\n"),
            }
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        context = tls_context(self.ca_file)
        if self.certificate_file:
            read_text("kafka.certificate_file", self.certificate_file)
            read_secret("kafka.key_file", self.key_file)
            try:
                # An empty password, or whoever starts a worker would be asked for the key's on a terminal.
                context.load_cert_chain(self.certificate_file, self.key_file, password="")
            except (ssl.SSLError, ValueError) as error:
                raise BadConfig(
                    f"kafka.certificate_file, kafka.key_file: {self.certificate_file} and {self.key_file} are no "
                    f"certificate in PEM form and its key without a password ({error})"
                ) from None
        return context


@contextmanager
def connecting(connection: Connection) -> Iterator[dict[str, Any]]:
    """Yield the options for a client of kafka-python; if it cannot connect, state why, where and what to do.

    Raises
    ------
    BrokerAway
        If no broker answers, or no token endpoint.
    BadConfig
        If one does not accept this client.
    """
    from kafka.errors import KafkaError  # here, for it takes all of kafka-python

    from stream_coupons.kafka.transport import NetClient

    options = {**connection.options(is_async=False), "kafka_client": partial(NetClient, connection.namespace)}
    attempts = _Attempts()
    ATTEMPTS.addHandler(attempts)
    note = threading.Timer(NOTED_AFTER_S, WAITING.warning, ["waiting for Kafka at %s", connection.bootstrap])
    note.start()
    try:
        if connection.has_tokens:
            options["sasl_oauth_token_provider"].ask()  # here its error is raised, with what to do
        yield options
    except (KafkaError, ValueError, OSError) as error:
        raise why_not_connected(connection, attempts.reasons or [str(error)]) from None
    finally:
        note.cancel()
        ATTEMPTS.removeHandler(attempts)


EXPLANATIONS: Final = (
    ("SaslAuthenticationFailed", "{login[0]}: {broker} refused {login[1]}"),
    (
        "UnsupportedSaslMechanism",
        "kafka.sasl_mechanism: {broker} does not offer {mechanism}. Set one that its listener offers",
    ),
    (
        "IllegalSaslState",
        "kafka.security_protocol: {broker} takes no passwords at this port. Set {no_password}, or the port of its "
        "SASL listener",
    ),
    (
        "Hostname mismatch|IP address mismatch",
        "kafka.bootstrap: the certificate of {broker} is for another name. Set a name that is in the certificate",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "kafka.ca_file: the certificate of {broker} is not signed by an authority in {authorities}. Set the PEM file "
        "of the authority that signed it",
    ),
    (
        "ALERT.*CERTIFICATE|CERTIFICATE_REQUIRED|ALERT_UNKNOWN_CA",
        "kafka.certificate_file: {broker} wants a certificate from its clients and did not accept {certificate}. Set "
        "one that an authority of the broker signed",
    ),
)
"""Patterns of the reasons for which attempts to connect fail, the most telling first, and what each means."""
OTHER_ENCRYPTION: Final = {
    True: (
        r"WRONG_VERSION_NUMBER|UNEXPECTED_EOF|RECORD_LAYER|Handshake failed: .*closed \(EOF\)",
        "kafka.security_protocol: {broker} does not speak TLS at this port. Set {no_tls}, or the port of its TLS "
        "listener",
    ),
    False: (
        "InvalidReceive",
        "kafka.security_protocol: {broker} speaks TLS at this port. Set {tls}, or the port of its plain listener",
    ),
}
"""The same, by whether the client encrypts."""
CLOSED: Final = {
    True: "{login[0]}: {broker} closes connections by {protocol} without a reason, as one that refuses a password "
    "or token may. Check it; if it is right, check that the broker has started",
    False: "kafka.security_protocol: {broker} closes connections by {protocol}. If its listener wants a password, set "
    "{password}",
}
"""Meanings of a closed connection, by whether the client authenticates by SASL."""


def why_not_connected(connection: Connection, reasons: Sequence[str]) -> BadConfig:
    """Return an error that states what is wrong, where, and what to do, by the reasons of failed attempts to connect.

    The most telling reason counts: a broker that refuses a client often just closes its next connection.

    Parameters
    ----------
    connection : Connection
        How the brokers were to be reached.
    reasons : sequence of str
        Errors of the attempts, as logged.
    """
    protocol = connection.security_protocol
    words = {
        "broker": f"the broker at {connection.bootstrap}",
        "protocol": protocol,
        "login": _login(connection),
        "mechanism": connection.sasl_mechanism,
        "authorities": connection.ca_file or "the list of this system",
        "certificate": connection.certificate_file or "that there is none",
        "no_password": "SSL" if protocol.is_encrypted else "PLAINTEXT",
        "password": "SASL_SSL" if protocol.is_encrypted else "SASL_PLAINTEXT or SASL_SSL; if TLS, SSL or SASL_SSL",
        "no_tls": "SASL_PLAINTEXT" if protocol.has_sasl else "PLAINTEXT",
        "tls": "SASL_SSL" if protocol.has_sasl else "SSL or SASL_SSL",
    }
    closed = "socket disconnected", CLOSED[protocol.has_sasl]
    for pattern, explanation in (*EXPLANATIONS, OTHER_ENCRYPTION[protocol.is_encrypted], closed):
        if found := next((reason for reason in reasons if re.search(pattern, reason)), None):
            return BadConfig(f"{explanation.format(**words)} ({found})")
    hint = "; something listens there: check that it is a broker" if "RequestTimedOut" in reasons[-1] else ""
    return BrokerAway(
        f"kafka.bootstrap: no broker answers at {connection.bootstrap} by {connection.security_protocol} "
        f"({reasons[-1]}){hint}"
    )


def _login(connection: Connection) -> tuple[str, str]:
    """Return the settings by which a client authenticates, and what a broker refuses of it with what to do."""
    if connection.has_tokens:
        what = "the token. Check that it has not expired, and that the listener accepts its issuer, audience and scope"
        return "kafka.token_file" if connection.token_file else "kafka.token_url", what
    what = f"the name {connection.username!r} or its password. Check both, and that this user has a password for"
    return "kafka.username, kafka.password_file", f"{what} {connection.sasl_mechanism}"


def why_denied(connection: Connection, error: Exception) -> str:
    """Return who may not do what at which broker, and what to do, of an `AuthorizationError` of kafka-python.

    Parameters
    ----------
    connection : Connection
        How the brokers are reached.
    error : Exception
        The error of kafka-python.
    """
    kind = type(error).__name__.removesuffix("AuthorizationFailedError").lower()
    about = f" ({error})" if str(error) else ""
    who = connection.username or connection.certificate_file or "this client"
    return (
        f"the broker at {connection.bootstrap} denies {who} a right on a {kind}{about}. Give the rights that "
        "docs/how-to/run-in-production.md lists for this role"
    )


class _Attempts(logging.Handler):
    """Keeps why attempts to connect failed."""

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the reason in a line, if there is one."""
        if found := ATTEMPT_FAILED.match(record.getMessage()):
            self.reasons.append(found[1])


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Return a context for clients that trusts the authorities in a file; those of the system if it is empty.

    Raises
    ------
    BadConfig
        If the file cannot be read, or holds no certificates.
    """
    authorities = read_text("kafka.ca_file", ca_file) if ca_file else None
    try:
        return ssl.create_default_context(cadata=authorities)
    except ssl.SSLError as error:
        raise BadConfig(f"kafka.ca_file: {ca_file} holds no certificates in PEM form ({error})") from None


def read_text(setting: str, file: str) -> str:
    """Return the text of a file.

    Parameters
    ----------
    setting, file : str
        The setting that names the file, and its path.

    Raises
    ------
    BadConfig
        If it cannot be read.
    """
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BadConfig(f"{setting}: {file} cannot be read: {why}") from None


def read_secret(setting: str, file: str) -> str:
    """Return the text of a file; log a warning, once a file, if others can; parameters as of `read_text`."""
    text = read_text(setting, file)
    _warn_if_open(setting, file)
    return text


@cache
def _warn_if_open(setting: str, file: str) -> None:
    mode = Path(file).stat().st_mode & 0o777
    if mode & FOR_OTHERS:
        log.warning(
            "%s: %s is open to every user of the machine (mode %04o), expected 0600 or 0640: run `chmod o= %s`",
            setting,
            file,
            mode,
            file,
        )
