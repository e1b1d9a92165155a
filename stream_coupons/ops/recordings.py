"""Recordings of upstream messages, one JSON object a line; `publish` and `replay` read them.

    {"topic": "browse-events", "message": {"event_id": "e1", "user_id": "u1", "occurred_at": 1767348000}}
    {"tick": 1767351600}

A line with `tick` advances time for `replay`; live systems have clocks. Blank lines and a byte order mark are
skipped; other fields are ignored.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import IO, Any, NamedTuple

import msgspec
from msgspec import Raw, Struct

from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.messages.fields import EpochSeconds
from stream_coupons.core.messages.inputs import Tick
from stream_coupons.core.payload_hints import unlike_json
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import encode
from stream_coupons.kafka.topics import Topic

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
FIRST_SHOWN = 20
INPUT_NAMES = ", ".join(topic.name for topic in topics.INPUTS)


class LineFault(StrEnum):
    """Reasons why a line is not a recorded event, besides those of `Rejection`."""

    NOT_AN_ENVELOPE = "not_an_envelope"
    NOT_AN_INPUT = "not_an_input"


class Line(NamedTuple):
    """A line of a file: its number from 1, its text without the line end, and its size in bytes.

    If `place` is "element", an element of a JSON array.
    """

    number: int
    text: bytes
    size: int
    place: str = "line"


class Entry(NamedTuple):
    """Content of a line: a message for a topic, byte for byte; a tick is a message for `ticks`."""

    topic: Topic
    value: bytes


class Refusal(Struct, frozen=True):
    """A line that was not used, and why."""

    line: int
    reason: str
    detail: str
    text: str = ""


class _Envelope(Struct):
    topic: str | None = None
    message: Raw = Raw()
    tick: EpochSeconds | None = None


class _Keyed(Struct):
    user_id: Any = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_keyed = msgspec.json.Decoder(_Keyed).decode


def lines(stream: Iterable[bytes]) -> Iterator[Line]:
    """The lines of a binary stream that are not blank."""
    for number, line in enumerate(stream, start=1):
        text = (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).strip()
        if text:
            yield Line(number, text, len(line))


def elements(data: bytes, name: str) -> Iterator[Line]:
    """The elements of a JSON array, numbered from 1 in place of lines.

    Raises
    ------
    BadConfig
        If it is none.
    """
    try:
        found = msgspec.json.decode(data, type=list[Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadConfig(f"{name}: is no JSON array: {error}") from None
    for number, element in enumerate(found, start=1):
        text = bytes(element)
        yield Line(number, text, len(text), "element")


def lines_or_elements(stream: Iterable[bytes], name: str) -> Iterator[Line]:
    """The lines of a binary stream; its elements if it is one JSON array, which is read as a whole.

    Raises
    ------
    BadConfig
        If it begins as an array and is none.
    """
    rest = iter(stream)
    found = lines(rest)
    for first in found:
        if first.text.startswith(b"["):
            yield from elements(b"\n".join([first.text, *rest]), name)
        else:
            yield first
            yield from found


def input_topic(name: str) -> Topic:
    """The topic of this name, if upstream services write to it.

    Raises
    ------
    BadMessage
    """
    topic = topics.BY_NAME.get(name)
    if topic in topics.INPUTS:
        return topic
    if topic is topics.CATALOG:
        detail = f"topic {name!r}: coupons are published with `stream-coupons catalog push`"
    elif topic is topics.CAMPAIGNS:
        detail = f"topic {name!r}: campaigns are published with `stream-coupons campaigns push`"
    elif topic is None:
        detail = f"topic {name!r} does not exist, expected one of {INPUT_NAMES}"
    else:
        detail = f"topic {name!r} is written by stream_coupons itself, expected one of {INPUT_NAMES}"
    raise BadMessage(LineFault.NOT_AN_INPUT, detail)


def parse(text: bytes) -> Entry:
    """Return the content of a line; the message is not validated.

    Raises
    ------
    BadMessage
        If the line is no envelope, or of a topic that upstream services do not write to.
    """
    try:
        envelope = _decode_envelope(text)
    except msgspec.ValidationError as error:
        raise BadMessage(LineFault.NOT_AN_ENVELOPE, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(Rejection.NOT_JSON, f"{error}{unlike_json(text)}") from None
    message = bytes(envelope.message)
    if envelope.tick is not None:
        if message or envelope.topic is not None:
            raise BadMessage(LineFault.NOT_AN_ENVELOPE, "a tick and a message, expected one of them")
        return Entry(topics.TICKS, encode(Tick(at=envelope.tick)))
    if envelope.topic is None or not message:
        missing = "topic" if envelope.topic is None else "message"
        raise BadMessage(
            LineFault.NOT_AN_ENVELOPE, f'`{missing}` is missing, expected {{"topic": ..., "message": {{...}}}}'
        )
    return Entry(input_topic(envelope.topic), message)


def key_of(value: bytes) -> bytes:
    """Return the key that the producer of a message would use: its user_id, empty if it has none."""
    try:
        user_id = _decode_keyed(value).user_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b""
    return user_id.encode() if isinstance(user_id, str) else b""


class Refusals:
    """The lines that were not used: counts by reason, the first of them, and all of them into a file if one is given.

    Parameters
    ----------
    sink : binary file, optional
        Gets every refusal with the line's text, as JSON lines.
    """

    def __init__(self, sink: IO[bytes] | None = None) -> None:
        self._sink = sink
        self.first: list[Refusal] = []
        self.by_reason: Counter[str] = Counter()

    def add(self, line: Line, bad: BadMessage) -> None:
        """Note that a line was refused."""
        self.by_reason[str(bad.reason)] += 1
        if len(self.first) < FIRST_SHOWN:
            self.first.append(Refusal(line.number, str(bad.reason), bad.detail))
        if self._sink is not None:
            text = line.text.decode(errors="replace")
            self._sink.write(encode(Refusal(line.number, str(bad.reason), bad.detail, text)) + b"\n")

    @property
    def count(self) -> int:
        """Number of refused lines."""
        return self.by_reason.total()


def not_readable(path: object, error: OSError) -> BadConfig:
    """The error of a file that cannot be read or written."""
    return BadConfig(f"{path}: {error.strerror or error}")


def not_writable(path: object, error: OSError) -> BadConfig:
    """The error of a file that takes no more of what is written."""
    return BadConfig(
        f"{path}: {error.strerror or error}: not all was written; make room or name another place, and try again"
    )
