"""What a broker sends just before it closes a connection reaches the client."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from kafka import KafkaAdminClient

from stream_coupons.core.errors import BadConfig
from stream_coupons.kafka.connection import Connection, SaslMechanism, SecurityProtocol, connecting

pytestmark = pytest.mark.process

API_VERSIONS, SASL_HANDSHAKE = 18, 17
UNSUPPORTED_VERSION, UNSUPPORTED_SASL_MECHANISM = 35, 33


def answer(request: bytes) -> bytes:
    """A broker's answer: its versions, the first of each API, or that it offers no mechanism but SCRAM-SHA-512."""
    api, version, correlation = struct.unpack_from(">hhi", request)
    if api == API_VERSIONS:
        error = UNSUPPORTED_VERSION if version else 0
        body = struct.pack(">hi", error, 2) + struct.pack(">6h", API_VERSIONS, 0, 0, SASL_HANDSHAKE, 0, 1)
    else:
        mechanism = b"SCRAM-SHA-512"
        body = struct.pack(f">hih{len(mechanism)}s", UNSUPPORTED_SASL_MECHANISM, 1, len(mechanism), mechanism)
    return struct.pack(">ii", 4 + len(body), correlation) + body


def refuse_clients(listener: socket.socket) -> None:
    """Answer each client; the last answer is on its way only with the end of the stream, in one segment."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client, client.makefile("rb") as stream:
            while size := stream.read(4):
                request = stream.read(int.from_bytes(size))
                is_last = int.from_bytes(request[:2]) == SASL_HANDSHAKE
                client.sendall(answer(request), socket.MSG_MORE if is_last else 0)
                if is_last:
                    client.shutdown(socket.SHUT_RDWR)
                    break


@pytest.fixture
def refusing_broker() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=refuse_clients, args=[listener])
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_reason_that_arrives_together_with_the_end_of_the_connection_is_found(
    refusing_broker: str, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("hush", encoding="utf-8")
    password.chmod(0o600)
    connection = Connection(
        refusing_broker,
        SecurityProtocol.SASL_PLAINTEXT,
        sasl_mechanism=SaslMechanism.PLAIN,
        username="u",
        password_file=str(password),
    )
    refused = pytest.raises(BadConfig, match=r"kafka.sasl_mechanism: .* does not offer PLAIN")
    with refused, connecting(connection) as options:
        KafkaAdminClient(**options, bootstrap_timeout_ms=2000)
