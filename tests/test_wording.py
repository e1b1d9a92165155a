"""What is said of data that is wrong helps whoever wrote it."""

import gzip
from typing import Any

import msgspec
import pytest

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.inputs import BrowseEvent, OrderEvent
from stream_coupons.core.wording import unknown_fields, unlike_json
from stream_coupons.kafka import topics
from stream_coupons.kafka.codec import Decoder
from stream_coupons.kafka.topics import Topic

IDS = {"event_id": "e", "user_id": "u", "occurred_at": 1.0}


def refusal(topic: Topic, value: bytes) -> str:
    with pytest.raises(BadMessage) as refused:
        Decoder(topic)(value)
    return refused.value.detail


@pytest.mark.parametrize(
    ("topic", "fields", "expected"),
    [
        (topics.BROWSE, {"occurred_at": 1_767_348_000_000}, "in seconds, not in milliseconds"),
        (topics.OBSERVED, {"issue_id": "i", "coupon_id": "c", "expires_at": 1e13}, "in seconds, not in milliseconds"),
        (topics.BROWSE, {"occurred_at": "2026-01-02T10:00:00Z"}, "UTC epoch seconds, such as 1767348000.0"),
        (topics.CART, {"item": {"item_id": "i"}, "action": "remov"}, "expected one of add, remove"),
        (
            topics.FEEDBACK,
            {"issue_id": "i", "kind": "clicked"},
            "expected one of impression, click, purchase, refund, cancel, expiry",
        ),
        (topics.BROWSE, {"context": {"a": 1, "device": ["x"], "z": {}}}, "of the key 'device'"),
        (topics.BROWSE, {"context": {"a": 1, "device": "x" * 501}}, "of the key 'device'"),
    ],
)
def test_a_refusal_says_what_was_expected(topic: Topic, fields: dict[str, Any], expected: str) -> None:
    assert refusal(topic, msgspec.json.encode(IDS | fields)).endswith(expected)


def test_a_bad_key_is_found_among_very_many() -> None:
    context: dict[str, Any] = {f"key-{number}": number for number in range(30_000)}
    context["key-20000"] = []
    assert refusal(topics.BROWSE, msgspec.json.encode(IDS | {"context": context})).endswith("of the key 'key-20000'")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (gzip.compress(b"{}", mtime=0), ": it is compressed by gzip"),
        ("{}".encode("utf-16"), ": it is UTF-16, expected UTF-8"),
        ("\ufeff{}".encode(), ": it begins with a byte order mark (BOM), expected UTF-8 without one"),
        (b"\x00\x00\x00\x07event", ": it is binary, expected text"),
        (b'{"price": NaN}', ": JSON has no NaN, leave out what is not known"),
        (b'{"vector": [1, -Infinity , 2]}', ": JSON has no -Infinity, leave out what is not known"),
        (b"{'price': 1}", ": it looks like a dict of Python, whose quotes are single, expected double ones"),
        (b"", ""),
        (b"nonsense", ""),
        (b'\t{"a": ', ""),
    ],
)
def test_what_is_no_json_at_all_is_named(data: bytes, expected: str) -> None:
    assert unlike_json(data) == expected
    assert refusal(topics.BROWSE, data).endswith(expected)


def test_unknown_fields_are_found_at_any_depth() -> None:
    order = {"orderid": "o", "items": [{"item_id": "a"}, {"item_id": "b", "categroy": "tea"}], "zzz": None}
    assert list(unknown_fields(order, OrderEvent)) == [
        "orderid: no such field, expected order_id?",
        "items.categroy: no such field, expected category?",
        "zzz: no such field",
    ]
    assert list(unknown_fields({"item": None, "context": {"any": 1}}, BrowseEvent)) == []
