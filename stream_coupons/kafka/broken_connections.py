"""Writes to a broken connection under uvloop: a connection error, as aiokafka expects it."""

from functools import wraps
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

_send = AIOKafkaConnection.send


@wraps(_send)
def _send_or_close(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        self.close(CloseReason.CONNECTION_BROKEN, error)
        raise KafkaConnectionError(f"connection to {self.host}:{self.port} broken: {error}") from error


def raise_connection_errors() -> None:
    """Make aiokafka raise `KafkaConnectionError` for a write to a transport that uvloop has closed.

    uvloop raises RuntimeError there, asyncio nothing. aiokafka expects an OSError, and takes any other error for a
    fault of the program: it would end the fetcher, and the worker. Any request may meet such a transport, between a
    reset and the task that notes it.
    """
    AIOKafkaConnection.send = _send_or_close
