"""Events in envelopes of CloudEvents and Debezium are those within; a bad envelope is refused with its reason."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from stream_coupons.agents.users import Users
from stream_coupons.core.errors import BadConfig, BadMessage
from stream_coupons.core.messages.inputs import BrowseEvent, CartEvent, Item
from stream_coupons.kafka import topics
from stream_coupons.kafka.connection import Format
from stream_coupons.kafka.dead_letters import dead_letter
from stream_coupons.kafka.formats import Headers, event_of
from stream_coupons.kafka.letters import letter_of
from stream_coupons.kafka.records import Record
from stream_coupons.kafka.redrive import headers_again
from stream_coupons.settings import load
from tests.agents.test_keyed import known

AT = 1767348000.0
IDS = {"event_id": "e1", "user_id": "u", "occurred_at": AT}
EVENT = BrowseEvent(event_id="e1", user_id="u", occurred_at=AT)
ENVELOPE = {"specversion": "1.0", "id": "e1", "source": "/shop", "type": "browse", "time": "2026-01-02T11:00:00+01:00"}
BINARY = (("ce_specversion", b"1.0"), ("ce_id", b"e1"), ("ce_time", b"2026-01-02T10:00:00Z"))
SOURCE = {"ts_ms": 1767348000000}


def parsed(format_: Format, value: Any, headers: Headers = (), topic: topics.Topic = topics.BROWSE) -> Any:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    users = Users(known, 1, formats={topic.name: format_})
    return users.parse(Record(topic.name, 0, 0, int(AT * 1000), b"u", data, tuple(headers)))[1]


def change(after: Any, **about: Any) -> dict[str, Any]:
    return {"before": None, "after": after, "op": "c", "source": SOURCE, "ts_ms": 1767348000999} | about


READ: dict[str, tuple[Format, Any, Headers]] = {
    "CloudEvents": (Format.CLOUDEVENTS, ENVELOPE | {"data": IDS}, ()),
    "CloudEvents, id and time of the envelope": (Format.CLOUDEVENTS, ENVELOPE | {"data": {"user_id": "u"}}, ()),
    "CloudEvents, binary": (Format.CLOUDEVENTS, IDS, BINARY),
    "CloudEvents, binary, id and time of the headers": (Format.CLOUDEVENTS, {"user_id": "u"}, BINARY),
    "Debezium": (Format.DEBEZIUM, change(IDS), ()),
    "Debezium with its schema": (Format.DEBEZIUM, {"schema": {"type": "struct"}, "payload": change(IDS)}, ()),
    "Debezium, time of the commit": (Format.DEBEZIUM, change({"event_id": "e1", "user_id": "u", "item": None}), ()),
    "Debezium, snapshot": (Format.DEBEZIUM, change(IDS, op="r"), ()),
    "plain": (Format.PLAIN, IDS, ()),
}


@pytest.mark.parametrize(("format_", "value", "headers"), READ.values(), ids=READ)
def test_the_event_within_is_read(format_: Format, value: Any, headers: Headers) -> None:
    assert parsed(format_, value, headers) == EVENT


def test_ids_of_the_event_count_before_those_of_its_envelope() -> None:
    envelope = ENVELOPE | {"id": "other", "time": "2020-01-01T00:00:00Z", "data": IDS}
    assert parsed(Format.CLOUDEVENTS, envelope) == EVENT


def test_a_column_of_json_is_an_object() -> None:
    row = IDS | {"item": '{"item_id": "tea-1", "price_minor": 899}', "id": 7}
    expected = CartEvent(event_id="e1", user_id="u", occurred_at=AT, item=Item(item_id="tea-1", price_minor=899))
    assert parsed(Format.DEBEZIUM, change(row), topic=topics.CART) == expected


REFUSED: dict[str, tuple[Format, Any, str, str]] = {
    "no JSON": (Format.CLOUDEVENTS, b"{", "not_json", "cloudevents: Input data was truncated"),
    "a list": (Format.DEBEZIUM, [], "invalid", "debezium: the value is a list, expected a JSON object"),
    "plain": (Format.CLOUDEVENTS, IDS, "invalid", "is None and no header `ce_specversion`, expected '1.0'"),
    "version": (Format.CLOUDEVENTS, ENVELOPE | {"specversion": "0.3"}, "invalid", "'0.3' in this record"),
    "no data": (Format.CLOUDEVENTS, ENVELOPE, "invalid", "`data` is missing, expected a JSON object"),
    "base64": (Format.CLOUDEVENTS, ENVELOPE | {"data_base64": "e30="}, "invalid", "not as `data_base64`"),
    "time": (Format.CLOUDEVENTS, ENVELOPE | {"data": {}, "time": "now"}, "invalid", "'now', expected RFC 3339"),
    "id": (Format.CLOUDEVENTS, ENVELOPE | {"data": {}, "id": ""}, "invalid", "length >= 1 - at `$.event_id`"),
    "no user": (Format.CLOUDEVENTS, ENVELOPE | {"data": {"userId": 1}}, "invalid", "found userId, expected user_id"),
    "no change": (Format.DEBEZIUM, IDS, "invalid", "`op` is missing, expected a change event"),
    "delete": (Format.DEBEZIUM, change(None, op="d"), "invalid", "set skipped.operations=d,t"),
    "no row": (Format.DEBEZIUM, change(None), "invalid", "`after` is missing, expected the row"),
    "column": (
        Format.DEBEZIUM,
        change(IDS | {"item": "tea"}),
        "invalid",
        "`after.item` is a text, expected one of JSON",
    ),
    "tombstone": (Format.DEBEZIUM, b"", "not_json", "empty value"),
    "too long": (Format.DEBEZIUM, b" " * 1_100_000, "too_large", "1100000 bytes, at most 1048576"),
}


@pytest.mark.parametrize(("format_", "value", "reason", "detail"), REFUSED.values(), ids=REFUSED)
def test_a_bad_envelope_is_refused_with_its_reason(format_: Format, value: Any, reason: str, detail: str) -> None:
    with pytest.raises(BadMessage) as refused:
        parsed(format_, value)
    assert refused.value.reason == reason
    assert detail in refused.value.detail


def test_an_event_in_binary_mode_is_sent_again_with_the_headers_that_it_is_read_with() -> None:
    refused = dead_letter(Record("browse-events", 0, 0, -1, b"u", b'{"user_id":"u"}', BINARY), "late", "")
    record = SimpleNamespace(
        partition=0, offset=17, timestamp=0, key=b"u", value=refused.value, headers=refused.headers
    )
    letter = letter_of(record, {"browse-events": Format.CLOUDEVENTS})
    assert headers_again(letter) == [("redriven", b"0:17"), *BINARY]
    assert letter.refusal() is None
    assert letter._replace(format=Format.PLAIN).refusal() is not None


def test_an_audit_reads_the_same_event_in_a_record_and_in_its_dead_letter() -> None:
    value, formats = b'{"user_id":"u"}', {"browse-events": Format.CLOUDEVENTS}
    letter = dead_letter(Record("browse-events", 0, 0, -1, b"u", value, BINARY), "late", "")
    event = event_of(formats, "browse-events", value, BINARY)
    assert event == event_of(formats, "browse-events", letter.value, letter.headers) != value
    assert event_of(formats, "cart-events", value, BINARY) == value


def test_settings_name_input_topics() -> None:
    variable = "STREAM_COUPONS_KAFKA__FORMATS"
    settings = load(environ={variable: '{"order-events": "cloudevents"}'})
    assert settings.kafka.formats == {"order-events": Format.CLOUDEVENTS}
    with pytest.raises(BadConfig, match="'orders' is no input topic, expected browse-events, cart-events"):
        load(environ={variable: '{"orders": "cloudevents"}'})
    with pytest.raises(BadConfig, match="expected one of plain, cloudevents, debezium"):
        load(environ={variable: '{"order-events": "avro"}'})
