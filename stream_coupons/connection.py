"""How clients reach the brokers: addresses, encryption, and who they say they are."""

import logging
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from stream_coupons.core.errors import BadConfig

ATTEMPTS: Final = logging.getLogger("kafka.net.manager")
"""Where kafka-python says why an attempt to connect failed; its exceptions say only that all of them did."""

ATTEMPT_FAILED: Final = re.compile(
    r"(?:Bootstrap (?:connection|attempt) to \S+|Connection) failed: (.*?)(?: \(backoff [^()]*\))?$"
)


class SecurityProtocol(StrEnum):
    """Kafka's names: what is encrypted, and whether clients name themselves by a password."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def is_encrypted(self) -> bool:
        """Whether it goes through TLS."""
        return self in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL)

    @property
    def has_password(self) -> bool:
        """Whether it goes through SASL."""
        return self in (SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL)


class SaslMechanism(StrEnum):
    """How a password is proved."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class Connection(Struct, frozen=True):
    """Where the brokers are, and what they want to be shown. Files are read whenever a client is made.

    Parameters
    ----------
    bootstrap : str
        Their addresses, "host:port[,host:port]".
    ca_file : str
        PEM file of those who may vouch for the brokers; empty for those that the system trusts.
    certificate_file, key_file : str
        PEM files that a client names itself by, where brokers ask for that.
    username, password_file : str
        Whom a client says it is, and a file with nothing but the password: no secret is in settings or logs.
    """

    bootstrap: str = "127.0.0.1:9092"
    security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    sasl_mechanism: SaslMechanism = SaslMechanism.SCRAM_SHA_512
    username: str = ""
    password_file: str = ""

    def options(self) -> dict[str, Any]:
        """Keyword arguments for clients of aiokafka and of kafka-python, which have the same names.

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
        if self.security_protocol.has_password:
            options |= {
                "sasl_mechanism": self.sasl_mechanism.value,
                "sasl_plain_username": self.username,
                "sasl_plain_password": _read("kafka.password_file", self.password_file).rstrip("\r\n"),
            }
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        authorities = _read("kafka.ca_file", self.ca_file) if self.ca_file else None
        try:
            context = ssl.create_default_context(cadata=authorities)
        except ssl.SSLError as error:
            raise BadConfig(f"kafka.ca_file: {self.ca_file} holds no certificates in PEM form ({error})") from None
        if self.certificate_file:
            _read("kafka.certificate_file", self.certificate_file)
            _read("kafka.key_file", self.key_file)
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
def connecting(connection: Connection) -> Iterator[None]:
    """Make a client of kafka-python; if it cannot connect, what is said is what the last attempt failed for.

    Raises
    ------
    BadConfig
    """
    from kafka.errors import KafkaError  # here, for it takes all of kafka-python

    said = _Said()
    ATTEMPTS.addHandler(said)
    try:
        yield
    except (KafkaError, ValueError, OSError) as error:
        raise BadConfig(
            f"kafka.bootstrap: no broker answers at {connection.bootstrap} by {connection.security_protocol} "
            f"({said.why or error}); start one with `stream-coupons broker`"
        ) from None
    finally:
        ATTEMPTS.removeHandler(said)


class _Said(logging.Handler):
    """Keeps why the last attempt to connect failed; that it was cut off says less than anything before."""

    why = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Take notice of a line."""
        found = ATTEMPT_FAILED.match(record.getMessage())
        if found and not (self.why and "disconnected" in found[1]):
            self.why = found[1]


def _read(setting: str, file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BadConfig(f"{setting}: {file} cannot be read: {why}") from None
