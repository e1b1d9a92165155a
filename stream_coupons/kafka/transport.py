"""A network client of kafka-python that delivers the last bytes a broker sent before it closed a connection.

Its own drops bytes that it reads together with the end of the stream. A broker that refuses a client answers why and
closes at once, so on a busy machine the reason would be lost: both arrive before the client reads.
"""

from typing import Any

from kafka.errors import KafkaConnectionError
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import create_connection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport


class _PlainTransport(KafkaTCPTransport):  # type: ignore[misc]
    """A transport over TCP. It returns bytes without the error that follows them; the next read meets that again."""

    def _sock_recv(self) -> tuple[bytes, Exception | None]:
        received, error = super()._sock_recv()
        return received, None if received else error


class _EncryptedTransport(_PlainTransport, KafkaSSLTransport):  # type: ignore[misc]
    """A transport over TLS, which does the same."""


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    """Connects by these transports."""

    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> KafkaTCPTransport:
        config = self.config
        addressed = node.host, node.port, config["socket_options"]
        sock = await create_connection(self._net, *addressed, proxy_url=config["proxy_url"], timeout_at=timeout_at)
        ssl = {name: value for name, value in config.items() if name.startswith("ssl_")}
        transport = (
            _EncryptedTransport(self._net, sock, host=node.host, **ssl)
            if self.ssl_enabled
            else _PlainTransport(self._net, sock, host=node.host)
        )
        try:
            await transport.handshake()
        except Exception as error:
            raise KafkaConnectionError(f"Handshake failed: {error}") from error
        return transport


class NetClient(KafkaNetClient):  # type: ignore[misc]
    """The option `kafka_client` of kafka-python's clients."""

    def __init__(self, **options: Any) -> None:
        net = NetworkSelector(**options)
        super().__init__(net, _Manager(net, **options))
