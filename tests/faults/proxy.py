"""A TCP proxy before a broker, on the loopback only, whose faults are switched while it runs.

It cuts the streams into Kafka's frames (a size of 4 bytes, then as many) and knows of a request its api key and
correlation id, of a response the correlation id: enough to tell the response to a Produce request.
"""

import asyncio
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import TracebackType
from typing import Final, Literal, Self

from loopback_kafka.process import HOST

PRODUCE: Final = 0
POLL_S: Final = 0.01
PIECE_BYTES: Final = 1024
QUEUED_FRAMES: Final = 256


class Direction(StrEnum):
    """Which way bytes go."""

    REQUESTS = "requests"
    RESPONSES = "responses"


class Proxy:
    """Listens from `start` to `stop`; use it as a context manager.

    Attributes
    ----------
    port : int
        Where clients connect.
    broker_port : int or None
        Where their connections lead; while it is None, and while the proxy is down, they are refused.
    swallowed : int
        Responses to Produce requests that were dropped.
    held_bytes, slowed_bytes : int
        What a one-way cut held back, and what latency or rate made wait.
    dropped, refused : int
        Connections that were cut, and that were not let in.
    """

    def __init__(self) -> None:
        self.port = 0
        self.broker_port: int | None = None
        self.swallowed = self.held_bytes = self.slowed_bytes = self.dropped = self.refused = 0
        self.held: Direction | None = None
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.then: Literal["close", "stall"] = "close"
        self._to_swallow = 0
        self._is_down = False
        self._free_at = dict.fromkeys(Direction, 0.0)
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._accept, HOST, 0)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self.drop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def swallow(self, count: int, then: Literal["close", "stall"]) -> None:
        """Drop the responses to the next Produce requests: the broker has appended what their senders think lost.

        A connection that loses one is closed, or goes silent until its client gives it up.
        """
        self.then = then
        self._to_swallow += count

    @contextmanager
    def swallowing(self, then: Literal["close", "stall"]) -> Iterator[None]:
        """Drop every response to a Produce request while the block runs."""
        self.swallow(sys.maxsize, then)
        try:
            yield
        finally:
            self._to_swallow = 0

    def drop(self) -> None:
        """Cut all connections; those that come are let in."""

        async def cut() -> None:
            connections = list(self._connections)
            self.dropped += len(connections)
            for connection in connections:
                connection.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cut(), self._loop).result()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Cut all connections and refuse those that come."""
        self._is_down = True
        self.drop()
        try:
            yield
        finally:
            self._is_down = False

    @contextmanager
    def holding(self, direction: Direction) -> Iterator[None]:
        """Let nothing pass in one direction; it passes late, as what TCP sends again would, if anybody waits for it."""
        self.held = direction
        try:
            yield
        finally:
            self.held = None

    @contextmanager
    def delaying(self, seconds: float) -> Iterator[None]:
        """Let everything come later, either way."""
        self.delay_s = seconds
        try:
            yield
        finally:
            self.delay_s = 0.0

    @contextmanager
    def narrowing(self, bytes_per_s: float) -> Iterator[None]:
        """Let all connections share so much, either way."""
        self._free_at = dict.fromkeys(Direction, 0.0)
        self.bytes_per_s = bytes_per_s
        try:
            yield
        finally:
            self.bytes_per_s = None

    def takes_response(self) -> bool:
        """Whether a response to a Produce request is to be dropped; it counts as dropped then."""
        if self._to_swallow == 0:
            return False
        self._to_swallow -= 1
        self.swallowed += 1
        return True

    async def wait_passage(self, direction: Direction, read_at: float, size: int) -> None:
        """Wait until what was read at a time may pass: not before a cut is mended and the delay is over."""
        if self.delay_s:
            self.slowed_bytes += size
        while self.held == direction or self._loop.time() < read_at + self.delay_s:  # noqa: ASYNC110 - another thread switches
            await asyncio.sleep(POLL_S)

    async def wait_turn(self, direction: Direction, size: int) -> None:
        """Wait until the line, which all connections share, has carried so many bytes."""
        if self.bytes_per_s is None:
            return
        over_at = max(self._loop.time(), self._free_at[direction]) + size / self.bytes_per_s
        self._free_at[direction] = over_at
        self.slowed_bytes += size
        while self.bytes_per_s is not None and self._loop.time() < over_at:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if self._is_down or self.broker_port is None:
                self.refused += 1
                return
            broker = await asyncio.open_connection(HOST, self.broker_port)
            await _Connection(self, (reader, writer), broker).carry()
        except (OSError, asyncio.CancelledError):
            pass  # the broker does not listen, or the connection is cut: the client sees its end
        finally:
            writer.transport.abort()
            self._connections.discard(task)


End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """One client's connection and the one to the broker that belongs to it."""

    def __init__(self, proxy: Proxy, client: End, broker: End) -> None:
        self._proxy = proxy
        self._client = client
        self._broker = broker
        self._produced: set[int] = set()
        self._is_stalled = False

    async def carry(self) -> None:
        """Carry frames both ways until an end is gone and what it had sent has been delivered."""
        ways = [
            asyncio.ensure_future(self._carry(Direction.REQUESTS, self._client[0], self._broker[1])),
            asyncio.ensure_future(self._carry(Direction.RESPONSES, self._broker[0], self._client[1])),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._broker[1].transport.abort()  # before a wait: a cut may end that
            await asyncio.gather(*ways, return_exceptions=True)

    async def _carry(self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED_FRAMES)
        reading = asyncio.ensure_future(self._read(direction, reader, frames))
        try:
            while True:
                read_at, frame = await frames.get()
                await self._proxy.wait_passage(direction, read_at, len(frame))
                if not frame:
                    return
                await self._write(direction, writer, frame)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(
        self, direction: Direction, reader: asyncio.StreamReader, frames: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        """Queue every frame with the time it came; an empty one at the end."""
        now = asyncio.get_running_loop().time
        try:
            while True:
                frame = await _read_frame(reader)
                if direction == self._proxy.held:
                    self._proxy.held_bytes += len(frame)
                if self._passes(direction, frame):
                    await frames.put((now(), frame))
        except (asyncio.IncompleteReadError, ConnectionError):
            await frames.put((now(), b""))

    def _passes(self, direction: Direction, frame: bytes) -> bool:
        if direction is Direction.REQUESTS:
            _size, api_key, _version, correlation_id = struct.unpack_from(">ihhi", frame)
            if api_key == PRODUCE:
                self._produced.add(correlation_id)
        else:
            _size, correlation_id = struct.unpack_from(">ii", frame)
            if correlation_id in self._produced:
                self._produced.discard(correlation_id)
                if not self._is_stalled and self._proxy.takes_response():
                    if self._proxy.then == "close":
                        raise ConnectionResetError
                    self._is_stalled = True
        return not self._is_stalled

    async def _write(self, direction: Direction, writer: asyncio.StreamWriter, frame: bytes) -> None:
        try:
            for begin in range(0, len(frame), PIECE_BYTES):
                piece = frame[begin : begin + PIECE_BYTES]
                await self._proxy.wait_turn(direction, len(piece))
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            # A client that is gone may have sent requests that are still on their way: those arrive.
            if direction is Direction.REQUESTS:
                raise


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(4)
    return size + await reader.readexactly(struct.unpack(">i", size)[0])
