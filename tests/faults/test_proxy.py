"""The proxy itself, before a server that answers every request with its own bytes."""

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from loopback_kafka.process import HOST
from tests.integration.builders import wait_until

from .proxy import PRODUCE, Direction, Proxy

pytestmark = pytest.mark.process

FETCH = 1


class Echo:
    """A server whose response to a request is the request, after the correlation id; it keeps what it got."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self._socket = socket.create_server((HOST, 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as stream:
            try:
                while len(size := stream.read(4)) == 4:
                    request = stream.read(*struct.unpack(">i", size))
                    self.got.append(request)
                    response = request[4:8] + request
                    stream.write(struct.pack(">i", len(response)) + response)
                    stream.flush()
            except ConnectionError:
                pass

    def close(self) -> None:
        """Listen no longer."""
        if self._socket.fileno() >= 0:
            self._socket.shutdown(socket.SHUT_RDWR)  # else accept would wait on
            self._socket.close()


class Client:
    """A connection by the proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self._socket = socket.create_connection((HOST, proxy.port), timeout=30)
        self._stream = self._socket.makefile("rb")

    def send(self, api_key: int, correlation_id: int, body: bytes = b"") -> None:
        """Send a request."""
        request = struct.pack(">hhi", api_key, 0, correlation_id) + body
        self._socket.sendall(struct.pack(">i", len(request)) + request)

    def receive(self) -> bytes:
        """The next response without its size; nothing when the connection is over."""
        try:
            size = self._stream.read(4)
            return self._stream.read(*struct.unpack(">i", size)) if size else b""
        except ConnectionError:
            return b""

    def hears_nothing(self) -> bool:
        """Whether nothing comes for a while, not even the end."""
        return not select.select([self._socket], [], [], 0.2)[0]

    def ask(self, api_key: int, correlation_id: int, body: bytes = b"") -> bytes:
        """Send a request and return its response."""
        self.send(api_key, correlation_id, body)
        return self.receive()

    def close(self) -> None:
        """Disconnect."""
        self._stream.close()
        self._socket.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy() as running:
        running.broker_port = echo.port
        yield running


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Client]:
    connected = Client(proxy)
    yield connected
    connected.close()


def test_frames_of_any_size_pass_both_ways_unchanged(client: Client) -> None:
    for correlation_id, size in enumerate((0, 1, 1024, 3_000_000)):
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert client.ask(FETCH, correlation_id, body)[12:] == body


@pytest.mark.parametrize("then", ["close", "stall"])
def test_a_response_is_swallowed_after_the_server_has_the_request(proxy: Proxy, echo: Echo, then: str) -> None:
    proxy.swallow(1, then)  # type: ignore[arg-type]
    client = Client(proxy)
    assert client.ask(FETCH, 7), "only Produce is swallowed"
    client.send(PRODUCE, 8)
    if then == "close":
        assert client.receive() == b""
    else:
        wait_until(lambda: proxy.swallowed == 1, "a response that is swallowed")
        assert client.hears_nothing()
    client.close()
    assert [struct.unpack(">hhi", request)[2] for request in echo.got] == [7, 8]
    assert proxy.swallowed == 1
    again = Client(proxy)
    assert again.ask(PRODUCE, 9), "no more than it was told"
    again.close()


def test_what_a_one_way_cut_holds_back_arrives_when_it_is_mended(proxy: Proxy, echo: Echo, client: Client) -> None:
    client.ask(FETCH, 1)
    with proxy.holding(Direction.REQUESTS):
        client.send(FETCH, 2)
        assert client.hears_nothing()
        assert len(echo.got) == 1
    assert client.receive()
    assert proxy.held_bytes == 12
    with proxy.holding(Direction.RESPONSES):
        client.send(FETCH, 3)
        wait_until(lambda: len(echo.got) == 3, "a request: the other way is not cut")
        assert client.hears_nothing()


def test_requests_of_a_client_that_gave_up_still_arrive(proxy: Proxy, echo: Echo) -> None:
    client = Client(proxy)
    client.ask(FETCH, 1)
    with proxy.holding(Direction.REQUESTS):
        client.send(PRODUCE, 2)
        client.close()
        time.sleep(0.1)
        assert len(echo.got) == 1
    wait_until(lambda: len(echo.got) == 2, "its request")


def test_while_it_is_down_connections_are_cut_and_refused(proxy: Proxy, client: Client) -> None:
    client.ask(FETCH, 1)
    with proxy.down():
        assert client.receive() == b""
        refused = Client(proxy)
        assert refused.receive() == b""
        refused.close()
    assert (proxy.dropped, proxy.refused) == (1, 1)
    again = Client(proxy)
    assert again.ask(FETCH, 2)
    again.close()


def test_a_delay_holds_back_each_way_but_does_not_queue_up(proxy: Proxy, client: Client) -> None:
    client.ask(FETCH, 0)
    with proxy.delaying(1.0):
        began = time.monotonic()
        for correlation_id in range(10):
            client.send(FETCH, correlation_id)
        for _ in range(10):
            assert client.receive()
        assert 2.0 <= time.monotonic() - began < 10.0
    assert proxy.slowed_bytes > 0


def test_all_connections_share_a_narrow_line_until_it_is_wide_again(proxy: Proxy) -> None:
    clients = [Client(proxy), Client(proxy)]
    with proxy.narrowing(100_000):
        began = time.monotonic()
        for client in clients:
            client.send(FETCH, 1, bytes(15_000))
        for client in clients:
            assert client.receive()
        assert time.monotonic() - began >= 0.3
        clients[0].send(FETCH, 2, bytes(5_000_000))
        time.sleep(0.1)
        began = time.monotonic()
    assert clients[0].receive()
    assert time.monotonic() - began < 25
    for client in clients:
        client.close()


def test_a_broker_that_does_not_listen_ends_the_connection(proxy: Proxy, echo: Echo) -> None:
    echo.close()
    client = Client(proxy)
    assert client.receive() == b""
    client.close()
