"""A broker with a proxy before it: two ports, and to each its own address."""

import socket
import struct
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from loopback_kafka import BrokerProcess
from loopback_kafka.ports import HOST, ClaimedPort

pytestmark = pytest.mark.kafka

METADATA, FIND_COORDINATOR = (3, 1), (10, 0)
NO_TOPICS, GROUP = struct.pack(">i", 0), struct.pack(">h1s", 1, b"g")


def ask(port: int, api: tuple[int, int], body: bytes) -> bytes:
    """The answer to a request, without its correlation id."""
    request = struct.pack(">hhih", *api, 1, -1) + body
    with socket.create_connection((HOST, port), timeout=10) as connection, connection.makefile("rb") as stream:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", stream.read(4))
        return stream.read(size)[4:]


def named_port(answer: bytes) -> int:
    """The port of the first node in an answer."""
    behind_host = answer.index(HOST.encode()) + len(HOST)
    return int(struct.unpack_from(">i", answer, behind_host)[0])


def ask_until_known(port: int, api: tuple[int, int], body: bytes) -> bytes:
    """Ask again while Apache Kafka makes the topic of the groups: until then no node coordinates one."""
    while HOST.encode() not in (answer := ask(port, api, body)):
        time.sleep(0.05)
    return answer


def test_who_comes_in_by_the_second_port_is_told_the_port_of_the_proxy(
    run_broker: Callable[..., AbstractContextManager[BrokerProcess]],
) -> None:
    claimed = ClaimedPort()
    proxy = claimed.number
    with run_broker(advertised_port=proxy) as broker:
        assert broker.advertised == f"{HOST}:{proxy}"
        assert broker.port is not None
        assert broker.proxied_port is not None
        for api, body in ((METADATA, NO_TOPICS), (FIND_COORDINATOR, GROUP)):
            assert named_port(ask_until_known(broker.proxied_port, api, body)) == proxy
            assert named_port(ask_until_known(broker.port, api, body)) == broker.port
