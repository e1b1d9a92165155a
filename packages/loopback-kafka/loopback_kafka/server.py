"""The broker's socket: frames in, answers out, one request at a time on each connection.

A fetch that waits for data or a join that waits for others holds up its own connection only.
"""

import asyncio
import functools
import logging
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from loopback_kafka.api_groups import GroupsApi
from loopback_kafka.api_records import RecordsApi
from loopback_kafka.api_topics import Node, TopicsApi
from loopback_kafka.api_transactions import TransactionsApi
from loopback_kafka.cleaning import clean_topics
from loopback_kafka.offsets import CommittedOffsets
from loopback_kafka.protocol import (
    FEATURES,
    ApiKey,
    BadFrame,
    ErrorCode,
    Fields,
    Handlers,
    Header,
    Request,
    UnsupportedVersion,
    api_versions,
    decode_request,
    encode_response,
)
from loopback_kafka.topics import Topics
from loopback_kafka.transactions import Transactions

logger = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
MAX_CONNECTIONS: Final = 512
_MIN_FRAME_BYTES: Final = 8
_TICK_S: Final = 0.05
_CLEAN_EVERY_S: Final = 2.0
_READ_BUFFER_BYTES: Final = 1024 * 1024


class BrokerServer:
    """One node that serves a data folder on the loopback interface.

    For demonstration and tests: no replication, no fsync, no authentication.
    """

    def __init__(self, data: Path, group_initial_delay_s: float = 0.2) -> None:
        self._topics = Topics(data)
        self._offsets = CommittedOffsets(data / "offsets.jsonl")
        self._transactions = Transactions(data / "transactions.jsonl", self._topics, self._offsets)
        self._group_initial_delay_s = group_initial_delay_s
        self._records = RecordsApi(self._topics, self._transactions)
        self._groups: GroupsApi | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._chores: list[asyncio.Task[None]] = []
        self._servers: list[asyncio.Server] = []

    async def start(self, port: int = 0) -> int:
        """Listen on `port`, 0 for any free one, and return the port that was bound."""
        handlers: Handlers = {}
        bound = await self._listen(port, handlers)
        node = Node(LOOPBACK, bound)
        self._groups = groups = GroupsApi(node, self._offsets, self._transactions, self._group_initial_delay_s)
        handlers |= self._handlers_at(node, groups)
        self._chores = [
            asyncio.create_task(_every(_TICK_S, groups.tick)),
            asyncio.create_task(_every(_TICK_S, self._end_late_transactions)),
            asyncio.create_task(_every(_CLEAN_EVERY_S, self._clean)),
        ]
        return bound

    async def listen_for_proxy(self, port: int, advertised_port: int) -> None:
        """Listen on a second port, for the clients of a proxy.

        Parameters
        ----------
        port : int
            The second port.
        advertised_port : int
            Port of the proxy, to which clients are told to come back.
        """
        if self._groups is None:
            raise RuntimeError("the server was not started")
        node = Node(LOOPBACK, advertised_port)
        await self._listen(port, self._handlers_at(node, self._groups.reached_at(node)))

    async def _listen(self, port: int, handlers: Handlers) -> int:
        accept = functools.partial(self._accept, handlers)
        server = await asyncio.start_server(accept, LOOPBACK, port, limit=_READ_BUFFER_BYTES)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    def _handlers_at(self, node: Node, groups: GroupsApi) -> Handlers:
        return {
            **self._records.handlers(),
            **groups.handlers(),
            **TransactionsApi(self._transactions, self._topics, groups).handlers(),
            **TopicsApi(node, self._topics, self._offsets).handlers(),
            ApiKey.API_VERSIONS: self._api_versions,
        }

    async def stop(self) -> None:
        """Stop listening, drop the connections, close the files."""
        for server in self._servers:
            server.close()
        tasks = [*self._chores, *self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._topics.close()
        self._offsets.close()
        self._transactions.close()

    async def _end_late_transactions(self) -> None:
        self._transactions.tick(time.monotonic())

    async def _clean(self) -> None:
        await clean_topics(self._topics, time.time())

    def _accept(self, handlers: Handlers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            logger.warning("refused a connection: at most %d", MAX_CONNECTIONS)
            writer.close()
            return
        task = asyncio.create_task(self._serve(handlers, reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, handlers: Handlers, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                response = await _answer(handlers, await _read_frame(reader))
                if response is not None:
                    writer.write(response)
                    await writer.drain()
        except BadFrame as error:
            logger.warning("closed a connection: %s", error)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception:
            logger.exception("closed a connection: a handler failed")
        finally:
            writer.close()

    async def _api_versions(self, _header: Header, _request: Request) -> Fields:
        return {"error_code": 0, "api_keys": api_versions(), "throttle_time_ms": 0, **FEATURES}


async def _answer(handlers: Handlers, frame: bytes) -> bytes | None:
    try:
        header, request = decode_request(frame)
    except UnsupportedVersion as error:
        # A client that offers a newer ApiVersions learns from version 0 what it may use.
        if error.header.api is not ApiKey.API_VERSIONS:
            raise
        fields = {"error_code": ErrorCode.UNSUPPORTED_VERSION, "api_keys": api_versions()}
        return encode_response(error.header, fields, version=0)
    response = await handlers[header.api](header, request)
    return None if response is None else encode_response(header, response)


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    if not _MIN_FRAME_BYTES <= size <= MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {size} bytes, expected at most {MAX_FRAME_BYTES}")
    return await reader.readexactly(size)


async def _every(seconds: float, do: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await do()
        except Exception:
            logger.exception("a periodic task failed")
        await asyncio.sleep(seconds)
