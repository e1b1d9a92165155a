"""Bytes to messages and back: the only place where JSON is read or written."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.fields import SCHEMA_VERSION
from stream_coupons.core.messages.inputs import Envelope, FeedbackEvent
from stream_coupons.core.reasons import Rejection
from stream_coupons.core.rules import AttributionRules, ProfileRules, ShopRules
from stream_coupons.kafka.topics import Topic

MAX_EVENT_BYTES = 1024 * 1024

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


class _Version(msgspec.Struct):
    schema_version: Any = SCHEMA_VERSION


_version = msgspec.json.Decoder(_Version)


def require_not_ahead(event: Envelope, arrived_at: float, profile: ProfileRules, attribution: AttributionRules) -> None:
    """Refuse an event from the future, which would make everything else look old.

    Parameters
    ----------
    event : Envelope
        The event.
    arrived_at : float
        Time of its record's append, epoch seconds.
    profile, attribution : ProfileRules, AttributionRules
        Their `max_ahead_s` are the seconds that an event, or feedback, may have occurred after its arrival: clocks
        differ.

    Raises
    ------
    BadMessage
        If it is further ahead.
    """
    ahead_s = event.occurred_at - arrived_at
    max_ahead_s = (attribution if isinstance(event, FeedbackEvent) else profile).max_ahead_s
    if ahead_s > max_ahead_s:
        detail = (
            f"occurred_at {event.occurred_at} is {ahead_s:.0f} s after its arrival, expected {max_ahead_s:g} at most"
        )
        raise BadMessage(Rejection.FROM_THE_FUTURE, detail)


def require_currency(event: Envelope, shop: ShopRules) -> None:
    """Refuse an event whose money is in another currency than its domain's.

    Feedback passes: its money is that of its issue, whose domain only the shopper's state knows.

    Parameters
    ----------
    event : Envelope
        The event.
    shop : ShopRules
        Currencies by domain; money of other domains may be in any.

    Raises
    ------
    BadMessage
        If it names another one.
    """
    if isinstance(event, FeedbackEvent):
        return
    refusal = shop.refusal_of(getattr(event, "currency", None), event.domain)
    if refusal is not None:
        raise BadMessage(Rejection.WRONG_CURRENCY, refusal)


class Decoder:
    """Bytes of one topic to its message type; every fault is a typed `BadMessage`."""

    def __init__(self, topic: Topic) -> None:
        if topic.message is None:
            raise TypeError(f"{topic.name} carries no message of ours")
        self.topic = topic
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(topic.message)
        self._versioned = "schema_version" in topic.message.__struct_fields__

    def __call__(self, value: bytes | None, limit: int = MAX_EVENT_BYTES) -> Any:
        """Decode one record's value.

        Parameters
        ----------
        value : bytes or None
            The value.
        limit : int
            Longest value that is decoded, bytes.

        Raises
        ------
        BadMessage
            With a reason of `Rejection` and a text that names the field and what was expected.
        """
        if not value:
            kind = " (a tombstone)" if value is None else ""
            raise BadMessage(Rejection.NOT_JSON, f"{self.topic.name}: empty value{kind}, expected a JSON object")
        if len(value) > limit:
            raise BadMessage(Rejection.TOO_LARGE, f"{self.topic.name}: {len(value)} bytes, at most {limit}")
        try:
            message = self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._refuse_unknown_version(value)
            raise self._refusal(error, value) from None
        if self._versioned and message.schema_version != SCHEMA_VERSION:
            self._refuse_unknown_version(value)
        return message

    def _refusal(self, error: Exception, value: bytes) -> BadMessage:
        """Return the error of a value that is no message, with its probable cause."""
        from stream_coupons.core import payload_hints as hints  # here, for only refused records need it

        if isinstance(error, msgspec.ValidationError):
            # The first byte of a text or number is of a wrong type before the rest is no JSON.
            form = "" if hints.is_json(value) else hints.unlike_event(value)
            if not form:
                detail = hints.refused(error, self.topic.message, value)
                return BadMessage(Rejection.INVALID, f"{self.topic.name}: {detail}")
        else:
            form = hints.unlike_event(value)
        return BadMessage(Rejection.NOT_JSON, f"{self.topic.name}: {error}{form}")

    def _refuse_unknown_version(self, value: bytes) -> None:
        """Refuse a version of the future by its number: any of its fields may differ, so the first one says nothing."""
        if not self._versioned:
            return
        try:
            version = _version.decode(value).schema_version
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if version != SCHEMA_VERSION:
            raise BadMessage(
                Rejection.UNKNOWN_VERSION,
                f"{self.topic.name}: schema_version {version!r}, this program reads {SCHEMA_VERSION}",
            )


def with_fields(value: bytes, fields: Mapping[str, msgspec.Raw], names: Collection[str]) -> bytes:
    """Return a record with those of some fields that are given at its end, and without the others.

    Parameters
    ----------
    value : bytes
        The record.
    fields : mapping of str to msgspec.Raw
        Values by field.
    names : collection of str
        Fields that are replaced or removed; all others stay byte for byte, also those of later versions.
    """
    kept = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    for name in names:
        kept.pop(name, None)
    return msgspec.json.encode(kept | {name: fields[name] for name in names if name in fields})


def with_values(value: bytes, message: msgspec.Struct, names: Collection[str]) -> bytes:
    """Return a record with some fields of a message.

    Parameters
    ----------
    value, names
        As of `with_fields`.
    message : msgspec.Struct
        Values of the fields; those that are a default are left out.
    """
    return with_fields(value, msgspec.json.decode(encode(message), type=dict[str, msgspec.Raw]), names)
