"""Hints in the details of dead letters name the probable cause."""

import gzip
import json
from typing import Any

import pytest

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.payload_hints import unlike_json
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.topics import Topic

EVENT = {"event_id": "e", "user_id": "u", "occurred_at": 1767348000}
TEXT = json.dumps(EVENT)
DEBEZIUM = {"before": None, "after": EVENT, "op": "c", "ts_ms": 1}


def event(**fields: Any) -> bytes:
    return json.dumps(EVENT | fields).encode()


def item(**fields: Any) -> bytes:
    return event(item={"item_id": "i"} | fields)


def without(name: str, **fields: Any) -> bytes:
    return json.dumps({known: value for known, value in EVENT.items() if known != name} | fields).encode()


NOT_JSON, INVALID = "not_json", "invalid"
ONE_LINE = ": it is one line of an object, send the whole object as one record"
SEVERAL_LINES = ": it has several lines of JSON, send each as a record of its own"
REGISTRY = ": it has the header of Confluent's schema registry (schema {}), expected plain JSON"
AS_CLOUDEVENTS = ": it is a CloudEvents envelope, set kafka.formats of this topic to cloudevents"
AS_DEBEZIUM = ": it is a Debezium envelope, set kafka.formats of this topic to debezium"
OF_CONNECT = ": it is JSON of Kafka Connect with its schema, set value.converter.schemas.enable=false there"
CAMEL = ": found eventId, expected event_id; found userId, expected user_id; found occurredAt, expected occurred_at"
ITEM = ": found itemId, expected item_id; found priceMinor, expected price_minor"
KINDS = "expected one of impression, click, purchase, refund, cancel, expiry"
BOM = ": it begins with a byte order mark (BOM), expected UTF-8 without one"
A_DICT = ": it has single quotes, as Python prints a dict, expected JSON by json.dumps"
REFUSED: dict[str, tuple[bytes, str, str]] = {
    # bytes
    "gzip": (gzip.compress(b"{}", mtime=0), NOT_JSON, ": it is compressed by gzip"),
    "Zstandard": (bytes.fromhex("28b52ffd2002"), NOT_JSON, ": it is compressed by Zstandard"),
    "BOM": (b"\xef\xbb\xbf{}", NOT_JSON, BOM),
    "UTF-16 with a BOM": (TEXT.encode("utf-16"), NOT_JSON, ": it is UTF-16, expected UTF-8"),
    "UTF-16, big end first": (TEXT.encode("utf-16-be"), NOT_JSON, ": it is UTF-16, expected UTF-8"),
    "UTF-16, little end first": (TEXT.encode("utf-16-le"), NOT_JSON, ": it is UTF-16, expected UTF-8"),
    "Latin-1": (b'{"event_id": "\xe9"}', NOT_JSON, ": its text is Latin-1 (ISO 8859-1), expected UTF-8"),
    "Avro file": (b"Obj\x01\x04", NOT_JSON, ": it is an Avro file, expected JSON"),
    "Avro message": (b"\xc3\x01abcdefgh", NOT_JSON, ": it is Avro, single-object encoding, expected JSON"),
    "registry, Avro": (b"\x00\x00\x00\x00\x07\x02e\x02u", NOT_JSON, REGISTRY.format("7, Avro or Protobuf")),
    "registry, JSON": (b"\x00\x00\x00\x01\x00" + TEXT.encode(), NOT_JSON, REGISTRY.format("256, JSON Schema")),
    # texts
    "CSV": (b"e1,u1,2026-01-02T10:00:00Z", NOT_JSON, ": it is CSV, expected JSON"),
    "CSV with quotes": (b'"e1";"u1";"1767348000"\n', NOT_JSON, ": it is CSV, expected JSON"),
    "XML": (b"<event/>", NOT_JSON, ": it is XML, expected JSON"),
    "Python's dict": (str(EVENT).encode(), NOT_JSON, A_DICT),
    "first line of an object": (b"{\n", NOT_JSON, ONE_LINE),
    "line within an object": (b'  "user_id": "u",', NOT_JSON, ONE_LINE),
    "last line of an object": (b"},", NOT_JSON, ONE_LINE),
    "JSON lines": (f"{TEXT}\n{TEXT}\n".encode(), NOT_JSON, SEVERAL_LINES),
    "JSON lines of other names": (b'{"userId": "u"}\n{"userId": "u"}', NOT_JSON, SEVERAL_LINES),
    "a cut object": (TEXT[:-1].encode(), NOT_JSON, "Input data was truncated"),
    "nonsense": (b"nonsense", NOT_JSON, "JSON is malformed: invalid character (byte 4)"),
    # JSON of another form
    "a list": (f"[{TEXT}]".encode(), INVALID, "got `array`: send each event as a record of its own"),
    "JSON in a text": (json.dumps(TEXT).encode(), INVALID, ": it is a text that contains JSON, encode it once"),
    "CloudEvents": (json.dumps({"specversion": "1.0", "id": "e", "data": EVENT}).encode(), INVALID, AS_CLOUDEVENTS),
    "Debezium": (json.dumps(DEBEZIUM).encode(), INVALID, AS_DEBEZIUM),
    "Debezium, schema": (json.dumps({"schema": {}, "payload": DEBEZIUM}).encode(), INVALID, AS_DEBEZIUM),
    "Kafka Connect": (json.dumps({"schema": {}, "payload": EVENT}).encode(), INVALID, OF_CONNECT),
    # names
    "camelCase": (b'{"eventId": "e", "userId": "u", "occurredAt": 1}', INVALID, CAMEL),
    "camelCase within": (event(item={"itemId": "i", "priceMinor": 5}), INVALID, f" - at `$.item`{ITEM}"),
    "Train-Case": (without("user_id", **{"User-Id": "u"}), INVALID, ": found User-Id, expected user_id"),
    "misspelt": (without("user_id", usr_id="u"), INVALID, ": found usr_id, expected user_id"),
    "absent": (without("user_id"), INVALID, "missing required field `user_id`"),
    # values
    "ms": (event(occurred_at=1.767348e12), INVALID, "in seconds, not in milliseconds, expected 1767348000?"),
    "ms, a text": (event(occurred_at="1767348000500"), INVALID, "not in milliseconds, expected 1767348000?"),
    "microseconds": (event(occurred_at=1_767_348 * 10**9), INVALID, "not in microseconds, expected 1767348000?"),
    "s, a text": (event(occurred_at="1767348000"), INVALID, ": times are numbers without quotes, expected 1767348000?"),
    "ISO": (event(occurred_at="2026-01-02T11:00:00+01:00"), INVALID, "are UTC epoch seconds, expected 1767348000?"),
    "no time": (event(occurred_at="now"), INVALID, "Expected `float`, got `str` - at `$.occurred_at`"),
    "before 1970": (event(occurred_at=-1), INVALID, "Expected `float` >= 0.0 - at `$.occurred_at`"),
    "money in units": (item(price_minor=8.99), INVALID, ": money is in minor units (cents), expected 899?"),
    "money in units, a text": (item(price_minor="8.99"), INVALID, "in minor units (cents), expected 899?"),
    "money as a text": (item(price_minor="899"), INVALID, "a whole number of minor units (cents), expected 899?"),
    "a number for an id": (event(user_id=7), INVALID, ': expected a text in quotes, "7"?'),
}
REFUSED_CHOICES = {
    "cart": (topics.CART, event(item={"item_id": "i"}, action="remov"), "expected one of add, remove"),
    "feedback": (topics.FEEDBACK, event(issue_id="i", kind="clicked"), KINDS),
}


@pytest.mark.parametrize(("value", "reason", "hint"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_the_cure(value: bytes, reason: str, hint: str) -> None:
    with pytest.raises(BadMessage) as refused:
        Decoder(topics.BROWSE)(value)
    assert (refused.value.reason, refused.value.detail[-len(hint) :]) == (reason, hint)


@pytest.mark.parametrize(("topic", "value", "hint"), REFUSED_CHOICES.values(), ids=REFUSED_CHOICES)
def test_a_refusal_names_the_choices(topic: Topic, value: bytes, hint: str) -> None:
    with pytest.raises(BadMessage, match=hint):
        Decoder(topic)(value)


def test_only_the_first_bytes_of_a_file_show_its_form() -> None:
    assert unlike_json(gzip.compress(b"{}", mtime=0)) == ": it is compressed by gzip"
    assert [unlike_json(data) for data in (b"", b"nonsense", b'\t{"a": ')] == ["", "", ""]


@pytest.mark.parametrize(
    "value",
    [without("user_id", **{f"{'user_id' * 20}{n}": n for n in range(20_000)}), b'"' * 500_000, b"," * 500_000],
    ids=["names", "quotes", "commas"],
)
def test_a_hint_takes_no_longer_than_the_value_is_long(value: bytes) -> None:
    with pytest.raises(BadMessage) as refused:
        Decoder(topics.BROWSE)(value)
    assert len(refused.value.detail) < 1000
