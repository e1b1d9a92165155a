"""The lines of a process's log: text or JSON on standard error, with few of the libraries' own."""

import logging
import sys
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from stream_coupons.kafka.connection import TOKENS, WAITING
from stream_coupons.observability.log_throttle import throttle

LIBRARIES = ("aiokafka", "faust", "mode")
"""Libraries whose lines below an error are written at the level DEBUG only."""
ABOUT_KAFKA = (*LIBRARIES, "stream_coupons.kafka")
"""Loggers that repeat themselves while no broker answers."""

CURRENT_SPAN: ContextVar[tuple[str, str] | None] = ContextVar("current_span", default=None)
"""Ids of trace and span of the batch that is processed, in hexadecimal digits, while it has a traced event."""


class LogFormat(StrEnum):
    """Format of a logged line."""

    TEXT = "text"
    JSON = "json"


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextLines(logging.Formatter):
    """Formats a record as time, level, role of the process, and message; a stack trace follows on further lines.

    Parameters
    ----------
    role : str
        "worker" or "learner": both may write to one stream.
    """

    def __init__(self, role: str) -> None:
        super().__init__("%(when)s %(levelname)s %(role)s: %(message)s")
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        record.when, record.role = _time(record), self._role
        return super().format(record)


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object: time (ISO 8601, UTC), level, role, logger, message, exception or null.

    While a batch with a traced event is processed, it has trace_id and span_id, too.
    """

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON of a record."""
        line = {
            "time": _time(record),
            "level": record.levelname,
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
        }
        if span := CURRENT_SPAN.get():
            line |= {"trace_id": span[0], "span_id": span[1]}
        return msgspec.json.encode(line).decode()


def write_log(role: str, level: str, line_format: LogFormat) -> None:
    """Write the log of this process to standard error.

    Parameters
    ----------
    role : str
        "worker" or "learner".
    level : str
        The least that is written. Below an error, lines of libraries are written at DEBUG only.
    line_format : LogFormat
        Format of a line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(role) if line_format is LogFormat.JSON else TextLines(role))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    handler.addFilter(_is_public)
    WAITING.setLevel(logging.ERROR)  # a process states by itself that it waits, less often
    if level != "DEBUG":
        handler.addFilter(_is_wanted)
        for library in LIBRARIES:
            logging.getLogger(library).setLevel(logging.ERROR)
        throttle("aiokafka", is_patient=True)
        throttle(TOKENS.name)
        throttle("stream_coupons.core.decision.pipeline")  # what a policy from another package fails by


def _is_public(record: logging.LogRecord) -> bool:
    """Return False for a request of kafka-python that holds a password or a token."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not any(type(argument).__name__.startswith("Sasl") for argument in arguments)


def _is_wanted(record: logging.LogRecord) -> bool:
    """Return False for what mode writes about a service of ours below an error, by the loggers of our modules.

    And for all of kafka-python: its exceptions state the same.
    """
    if record.name.split(".")[0] == "kafka":
        return False
    return record.levelno >= logging.ERROR or not str(record.msg).startswith("[^")


def hold_back_while(is_away: Callable[[], bool]) -> None:
    """Write no lines about Kafka while no broker answers, unless the level is DEBUG.

    Parameters
    ----------
    is_away : callable
        Returns whether no broker answers.
    """

    def is_written(record: logging.LogRecord) -> bool:
        is_about_kafka = any(record.name == name or record.name.startswith(f"{name}.") for name in ABOUT_KAFKA)
        return not (is_about_kafka and is_away())

    if not logging.root.isEnabledFor(logging.DEBUG):
        for handler in logging.root.handlers:
            handler.addFilter(is_written)
