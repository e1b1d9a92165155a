"""Under uvloop a write to a connection that was reset fails as a connection error, which aiokafka survives."""

import asyncio
import socket
import struct

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from stream_coupons.kafka.broken_connections import raise_connection_errors

pytestmark = pytest.mark.process

HOST = "127.0.0.1"


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End a connection after its first byte by a reset: its linger takes no time."""
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def send_after_reset() -> None:
    """Send a request after the transport noticed a reset, and before aiokafka did."""
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(reset, HOST)
    port = server.sockets[0].getsockname()[1]
    connection = AIOKafkaConnection(HOST, port)
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, HOST, port)
    connection._reader, connection._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)
    connection._read_task = connection._create_reader_task()
    connection._versions = {MetadataRequest.API_KEY: (0, 1)}
    transport.write(b"x")
    while reader.exception() is None:  # noqa: ASYNC110 - turn by turn of the loop
        await asyncio.sleep(0)
    assert connection.connected()
    try:
        await connection.send(MetadataRequest([]))
    finally:
        assert not connection.connected()
        server.close()


def test_a_request_after_a_reset_is_a_connection_error_under_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AIOKafkaConnection, "send", AIOKafkaConnection.send)  # restored after the test
    raise_connection_errors()
    with pytest.raises(KafkaConnectionError, match="handler is closed"):
        uvloop.run(send_after_reset())
