"""Dead letters as they are read: what each reports of its record, which can be sent again, and how to select some."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka import topics
from stream_coupons.kafka.clients import Reader
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.connection import Connection, Format
from stream_coupons.kafka.dead_letters import (
    DIGEST_HEADER,
    KEY_BYTES_HEADER,
    REDRIVEN_HEADER,
    VALUE_BYTES_HEADER,
    WHOLE_BYTES,
    digest,
)
from stream_coupons.kafka.formats import unwrap
from stream_coupons.kafka.records import ORIGIN_HEADER

NEVER_SENT_AGAIN = {
    topics.TICKS.name: "a tick is not sent again: the next one does what it would have done",
    topics.LEASES.name: "a lease is not sent again: the owner of its account does that until the partition has it",
}
SENT_AGAIN = {topic.name: topic for topic in topics.READ_BY_AGENTS if topic.name not in NEVER_SENT_AGAIN}
"""Topics whose records can be sent again."""

INPUT_NAMES = {topic.name for topic in topics.INPUTS}


class Letter(NamedTuple):
    """One record of dead-letters; what its headers do not say is "?", since anybody may write there.

    Attributes
    ----------
    place : str
        Where it is in dead-letters, partition:offset.
    at : float
        When the record was refused, UTC epoch seconds.
    key, value : bytes or None
        The refused record's own; if the letter is cut, their beginnings.
    headers : dict of str
        As text; of those with one name the first, which is the record's own.
    format : Format
        Format of the refused record's topic.
    """

    place: str
    at: float
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]
    format: Format = Format.PLAIN

    @property
    def reason(self) -> str:
        """Reason for the refusal."""
        return self.headers.get("reason", "?")

    @property
    def topic(self) -> str:
        """Topic of the refused record."""
        return self.headers.get("topic", "?")

    @property
    def detail(self) -> str:
        """Details from which a person can fix the producer."""
        return self.headers.get("detail", "")

    @property
    def source(self) -> str:
        """Position of the refused record, topic:partition:offset."""
        return ":".join(self.headers.get(name, "?") for name in ("topic", "partition", "offset"))

    @property
    def came_back_of(self) -> str | None:
        """The letter that it was before it was sent again and refused again."""
        return self.headers.get(REDRIVEN_HEADER)

    @property
    def is_cut(self) -> bool:
        """True if the record was too long for its letter, which has only the record's beginning."""
        return DIGEST_HEADER in self.headers

    @property
    def key_bytes(self) -> int | None:
        """Length of the record's key in bytes; None if it had none."""
        return _length_of(self.key, self.headers.get(KEY_BYTES_HEADER))

    @property
    def value_bytes(self) -> int | None:
        """Length of the record's value in bytes; None if it had none."""
        return _length_of(self.value, self.headers.get(VALUE_BYTES_HEADER))

    def digest(self) -> bytes:
        """Return the digest that all copies of the record share, and no other record has."""
        if self.is_cut:
            return self.headers[DIGEST_HEADER].encode()
        return digest(self.topic, self.key, self.value)

    def obstacle(self) -> str | None:
        """Return why the record cannot be sent again; None if it can."""
        if self.is_cut:
            return f"it is cut: key and value took more than {WHOLE_BYTES} bytes, and no agent takes as many"
        if self.key is None:
            return "it has no key, and so no partition: the sender must send it with one"
        if self.topic in NEVER_SENT_AGAIN:
            return NEVER_SENT_AGAIN[self.topic]
        if self.topic not in SENT_AGAIN:
            return f"no agent reads the topic {self.topic!r}"
        if self.topic not in INPUT_NAMES and ORIGIN_HEADER not in self.headers:
            return "it has no origin: a second copy of it could not be told from the first"
        return None

    def hindrance(self) -> str | None:
        """Return why the record cannot be sent again or would be refused again; None if it can be sent."""
        if (obstacle := self.obstacle()) is not None:
            return obstacle
        refusal = self.refusal()
        return None if refusal is None else f"it would be refused again: {': '.join(refusal)}"

    def refusal(self) -> tuple[str, str] | None:
        """Return the reason and detail for which this release refuses the same bytes again; None if it may take them.

        What depends on the time, on settings or on other records is not foreseen: that may have changed.
        """
        if self.reason == Rejection.WRONG_COUPON:
            return self.reason, "the coupon of an issue never changes"
        topic = SENT_AGAIN[self.topic]
        try:
            headers = [(name, text.encode()) for name, text in self.headers.items()]
            message = _decoder(self.topic)(self.value and unwrap(self.format, self.value, headers))
        except BadMessage as bad:
            return str(bad.reason), bad.detail
        key = topic.key_of(message)
        if self.key != key:
            return str(Rejection.WRONG_KEY), f"key is {self.key!r}, {topic.key} inside is {key!r}"
        return None


@lru_cache
def _decoder(topic: str) -> Decoder:
    return Decoder(SENT_AGAIN[topic])


def _length_of(part: bytes | None, said: str | None) -> int | None:
    """Return the length of a key or value in bytes, before any cut; None without one."""
    if part is None:
        return None
    return int(said) if said is not None and re.fullmatch("[0-9]{1,18}", said) else len(part)


def letter_of(record: Any, formats: Mapping[str, Format] = {}) -> Letter:
    """Return the letter in a record of dead-letters, as kafka-python reads it.

    Parameters
    ----------
    record : any
        The record.
    formats : mapping of str to Format
        Formats of input topics.
    """
    headers: dict[str, str] = {}
    for name, value in record.headers or ():
        headers.setdefault(name, (value or b"").decode(errors="replace"))
    place = f"{record.partition}:{record.offset}"
    return Letter(
        place,
        record.timestamp / 1000.0,
        record.key,
        record.value,
        headers,
        formats.get(headers.get("topic", ""), Format.PLAIN),
    )


def read_letters(connection: Connection) -> Iterator[Letter]:
    """Yield all current dead letters, in order within each partition, which is the order of the records refused."""
    with Reader(connection, [topics.DEAD_LETTERS.name], from_beginning=True) as reader:
        for record in reader.read_to_end():
            yield letter_of(record, connection.formats)


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead letters selected by place or, without places, by all other criteria.

    Attributes
    ----------
    places : frozenset of str
        Names of letters, partition:offset; empty for all letters.
    since_at : float, optional
        Earliest time of the refusal, UTC epoch seconds.
    """

    reason: str | None = None
    topic: str | None = None
    places: frozenset[str] = frozenset()
    since_at: float | None = None

    def of(self, letters: Iterable[Letter]) -> Iterable[Letter]:
        """Return the selected letters.

        Raises
        ------
        BadConfig
            If a named letter is missing.
        """
        if self.places:
            return named(self.places, letters)
        return (
            letter
            for letter in letters
            if self.reason in (None, letter.reason)
            and self.topic in (None, letter.topic)
            and (self.since_at is None or letter.at >= self.since_at)
        )


def named(places: frozenset[str], letters: Iterable[Letter]) -> list[Letter]:
    """Return the letters of some names.

    Parameters
    ----------
    places : frozenset of str
        Names of letters, partition:offset.
    letters : iterable of Letter
        The letters to choose from.

    Raises
    ------
    BadConfig
        If one is not there.
    """
    found = [letter for letter in letters if letter.place in places]
    missing = sorted(places - {letter.place for letter in found}, key=numbers_of)
    if missing:
        names = ", ".join(missing)
        raise BadConfig(f"no dead letter {names}: expected one that `stream-coupons dlq list` shows")
    return found


def place_of(text: str) -> str:
    """Return the name of a letter in its normal form.

    Raises
    ------
    BadConfig
    """
    if not re.fullmatch("[0-9]{1,18}:[0-9]{1,18}", text):
        raise BadConfig(f"{text!r} names no dead letter, expected PARTITION:OFFSET such as 0:17")
    partition, offset = numbers_of(text)
    return f"{partition}:{offset}"


def numbers_of(place: str) -> tuple[int, int]:
    """Return partition and offset of a letter's name."""
    partition, _, offset = place.partition(":")
    return int(partition), int(offset)
