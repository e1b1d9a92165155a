"""The command line in this process, and its topics on the broker of the session."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from typer.testing import CliRunner

from loopback_kafka import BrokerProcess
from stream_coupons.cli.main import app
from stream_coupons.kafka import admin
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.connection import Connection
from stream_coupons.kafka.settings import KafkaSettings

DEADLINE_S = 60.0

RunBroker = Callable[[], AbstractContextManager[BrokerProcess]]


class Result(Protocol):
    exit_code: int
    stdout: str
    stderr: str


class Run(Protocol):
    def __call__(self, *args: object, stdin: bytes | None = None) -> Result: ...


@pytest.fixture
def run() -> Run:
    """Run a verb as the command does; what it raises unexpectedly fails the test."""

    def invoke(*args: object, stdin: bytes | None = None) -> Result:
        texts: Sequence[str] = [str(arg) for arg in args]
        result = CliRunner(env={"COLUMNS": "200"}).invoke(app, texts, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def bootstrap(broker: BrokerProcess) -> str:
    """A broker that has the topics."""
    with admin.admin_client(Connection(broker.bootstrap)) as client:
        admin.apply(client, KafkaSettings())
    return broker.bootstrap


def records(bootstrap: str, topic: str, needle: str) -> list[Any]:
    """Everything in a topic with a text in key or value."""
    with Reader(Connection(bootstrap), [topic], from_beginning=True) as reader:
        sought = needle.encode()
        return [r for r in reader.read_to_end() if sought in (r.key or b"") or sought in (r.value or b"")]


def write_lines(path: Path, *values: object) -> Path:
    """Values as JSON lines; bytes as they are."""
    path.write_bytes(b"".join((v if isinstance(v, bytes) else msgspec.json.encode(v)) + b"\n" for v in values))
    return path


def browse(user_id: str, number: int = 0, at: float = 1_767_348_000.0) -> dict[str, Any]:
    """A message of browse-events."""
    return {"event_id": f"{user_id}-{number}", "user_id": user_id, "occurred_at": at + number}


def envelope(message: object, topic: str = "browse-events") -> dict[str, Any]:
    """A line of a recording."""
    return {"topic": topic, "message": message}
