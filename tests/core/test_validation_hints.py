"""What is said of data that is wrong helps whoever wrote it."""

import gzip
from typing import Any

import msgspec
import pytest

from stream_coupons.core.errors import BadMessage
from stream_coupons.core.messages.inputs import BrowseEvent, OrderEvent
from stream_coupons.core.validation_hints import unknown_fields, unlike_json
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
        (topics.CART, {"item": {"item_id": "i"}, "action": "remov"}, "expected one of add, remove"),
        (
            topics.FEEDBACK,
            {"issue_id": "i", "kind": "clicked"},
            "expected one of impression, click, purchase, refund, cancel, expiry",
        ),
    ],
)
def test_a_refusal_says_what_was_expected(topic: Topic, fields: dict[str, Any], expected: str) -> None:
    assert refusal(topic, msgspec.json.encode(IDS | fields)).endswith(expected)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (gzip.compress(b"{}", mtime=0), ": it is compressed by gzip"),
        ("\ufeff{}".encode(), ": it begins with a byte order mark (BOM), expected UTF-8 without one"),
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
