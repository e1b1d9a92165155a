"""The event within an envelope of CloudEvents or Debezium, as plain JSON."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.reasons import Rejection
from stream_coupons.kafka.connection import Format

Headers = Iterable[tuple[str, bytes | None]]
NESTED = ("item", "items", "context", "arms")
"""Fields that a column of a table can only hold as a text of JSON."""
CHANGES = {"c", "r", "u"}
"""Operations of Debezium that leave a row: create, read (snapshot) and update."""


def unwrap(format_: Format, value: bytes, headers: Headers = ()) -> bytes:
    """Return the JSON of the event within a record.

    Parameters
    ----------
    format_ : Format
        Format of the record's topic.
    value : bytes
        The record's value.
    headers : iterable of (str, bytes)
        The record's headers: those of CloudEvents in binary mode begin with `ce_`.

    Raises
    ------
    BadMessage
        If the value is no such envelope, or has no event.

    Examples
    --------
    >>> event = b'{"specversion": "1.0", "id": "e1", "time": "2026-01-02T10:00:00Z", "data": {"user_id": "u"}}'
    >>> unwrap(Format.CLOUDEVENTS, event)
    b'{"user_id":"u","event_id":"e1","occurred_at":1767348000.0}'
    """
    if format_ is Format.PLAIN:
        return value
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(Rejection.NOT_JSON, f"{format_}: {error}") from None
    if not isinstance(found, dict):
        raise _invalid(format_, f"the value is {_kind(found)}, expected a JSON object")
    event = _of_cloudevents(found, headers) if format_ is Format.CLOUDEVENTS else _of_debezium(found)
    return msgspec.json.encode(event)


def event_of(formats: Mapping[str, Format], topic: str, value: bytes | None, headers: Headers) -> bytes | None:
    """Return the JSON of the event within a record of a topic; the value as it is if it is no such envelope.

    Parameters
    ----------
    formats : mapping of str to Format
        By topic; plain if it is not named.
    topic, value, headers : str, bytes, iterable of (str, bytes)
        Of the record.
    """
    try:
        return value and unwrap(formats.get(topic, Format.PLAIN), value, headers)
    except BadMessage:
        return value


def _of_cloudevents(found: dict[str, Any], headers: Headers) -> dict[str, Any]:
    attributes = {name[3:]: (text or b"").decode(errors="replace") for name, text in headers if name.startswith("ce_")}
    is_binary = "specversion" in attributes
    envelope = attributes if is_binary else found
    version = envelope.get("specversion")
    if version != "1.0":
        where = "and no header `ce_specversion`" if version is None else "in this record"
        raise _invalid(Format.CLOUDEVENTS, f"`specversion` is {version!r} {where}, expected '1.0'")
    event = found if is_binary else found.get("data")
    if not isinstance(event, dict):
        hint = ": send it as `data`, not as `data_base64`" if "data_base64" in found else ""
        raise _invalid(Format.CLOUDEVENTS, f"`data` is {_kind(event)}, expected a JSON object{hint}")
    if "id" in envelope:
        event.setdefault("event_id", envelope["id"])
    if "occurred_at" not in event and (time := envelope.get("time")) is not None:
        try:
            moment = datetime.fromisoformat(time)
        except (TypeError, ValueError):
            raise _invalid(Format.CLOUDEVENTS, f"`time` is {time!r:.100}, expected RFC 3339") from None
        event["occurred_at"] = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return event


def _of_debezium(found: dict[str, Any]) -> dict[str, Any]:
    change = found["payload"] if found.keys() == {"schema", "payload"} else found
    if not isinstance(change, dict) or "op" not in change:
        raise _invalid(Format.DEBEZIUM, "`op` is missing, expected a change event; or remove its SMT that unwraps")
    if change["op"] not in CHANGES:
        hint = "set skipped.operations=d,t and tombstones.on.delete=false in its connector"
        raise _invalid(Format.DEBEZIUM, f"`op` is {change['op']!r:.20}, which adds no row: {hint}")
    row = change.get("after")
    if not isinstance(row, dict):
        raise _invalid(Format.DEBEZIUM, f"`after` is {_kind(row)}, expected the row as a JSON object")
    event = {name: column for name, column in row.items() if column is not None}
    for name in NESTED:
        if isinstance(column := event.get(name), str):
            try:
                event[name] = msgspec.json.decode(column)
            except (msgspec.DecodeError, RecursionError):
                raise _invalid(Format.DEBEZIUM, f"`after.{name}` is a text, expected one of JSON") from None
    source = change.get("source")
    at_ms = source.get("ts_ms") if isinstance(source, dict) else change.get("ts_ms")
    if isinstance(at_ms, int):
        event.setdefault("occurred_at", at_ms / 1000.0)
    return event


def _kind(found: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "missing"}
    return names.get(type(found), "a number")


def _invalid(format_: Format, detail: str) -> BadMessage:
    return BadMessage(Rejection.INVALID, f"{format_}: {detail}")
