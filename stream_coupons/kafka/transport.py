"""Transports of kafka-python that deliver the last bytes a broker sent before it closed a connection.

Its own drop bytes that they read together with the end of the stream. A broker that refuses a client answers why and
closes at once, so on a busy machine the reason would be lost: both arrive before the client reads.
"""

from kafka.net import manager
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport


class _LastBytesFirst:
    """Return bytes without the error that follows them; the next read meets that error again."""

    def _sock_recv(self) -> tuple[bytes, Exception | None]:
        received: bytes
        received, error = super()._sock_recv()  # type: ignore[misc]
        return received, None if received else error


class PlainTransport(_LastBytesFirst, KafkaTCPTransport):  # type: ignore[misc]
    """A transport over TCP."""


class EncryptedTransport(_LastBytesFirst, KafkaSSLTransport):  # type: ignore[misc]
    """A transport over TLS."""


def install() -> None:
    """Let every client of kafka-python in this process connect by these transports."""
    manager.KafkaTCPTransport = PlainTransport
    manager.KafkaSSLTransport = EncryptedTransport
