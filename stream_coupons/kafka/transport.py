"""A network client of kafka-python that has a namespace, and delivers the last bytes before the end of a connection.

Its own drops bytes that it reads together with the end of the stream. A broker that refuses a client answers why and
closes at once, so on a busy machine the reason would be lost: both arrive before the client reads.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from kafka.errors import KafkaConnectionError
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import create_connection
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport

from stream_coupons.kafka.namespace import client_name

NAMED_ENTITIES: Final = frozenset({"topicName", "groupId", "transactionalId"})
"""Kinds of names that have the namespace, as Kafka's definitions of its requests state them."""

COORDINATOR_KEYS: Final = frozenset({"key", "coordinator_keys"})
"""Fields for the coordinator's group or transactional id, of which the definitions do not state that."""

TOPIC_RESOURCE: Final = 2
"""Code of a topic among resources with configurations."""


class _PlainTransport(KafkaTCPTransport):  # type: ignore[misc]
    """A transport over TCP. It returns bytes without the error that follows them; the next read meets that again."""

    def _sock_recv(self) -> tuple[bytes, Exception | None]:
        received, error = super()._sock_recv()
        return received, None if received else error


class _EncryptedTransport(_PlainTransport, KafkaSSLTransport):  # type: ignore[misc]
    """A transport over TLS, which does the same."""


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    """Connects by these transports, and translates names."""

    def __init__(self, net: Any, namespace: str, **options: Any) -> None:
        self._namespace = namespace
        super().__init__(net, **options)

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        """Send a request with the broker's names; the answer has the client's."""
        if not self._namespace:
            return super().send(request, *args, **options)
        sent = super().send(rename(copy.copy(request), self._namespace.__add__), *args, **options)
        return sent.add_callback(lambda answer: rename(answer, partial(client_name, self._namespace)))

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

    def __init__(self, namespace: str, **options: Any) -> None:
        net = NetworkSelector(**options)
        super().__init__(net, _Manager(net, namespace, **options))


def rename(message: Any, other_name: Callable[[str], str]) -> Any:
    """Change the names in a request or an answer, and return it; messages within it are replaced by copies.

    Parameters
    ----------
    message : kafka.protocol.data_container.DataContainer
        The message.
    other_name : callable
        Returns the other name of a topic, group or transactional id.
    """
    for field in message._struct._fields:
        value = getattr(message, field.name)
        if not value:
            continue
        if field.is_struct_array():
            parts = [field(*each) if isinstance(each, tuple) else copy.copy(each) for each in value]
            setattr(message, field.name, [rename(part, other_name) for part in parts])
        elif field.is_struct():
            setattr(message, field.name, rename(copy.copy(value), other_name))
        elif _is_name(message, field):
            setattr(message, field.name, other_name(value) if isinstance(value, str) else list(map(other_name, value)))
    return message


def _is_name(message: Any, field: Any) -> bool:
    if field.name == "resource_name":
        return bool(message.resource_type == TOPIC_RESOURCE)
    return field._entity_type in NAMED_ENTITIES or field.name in COORDINATOR_KEYS
