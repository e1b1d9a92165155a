"""Misspelt names are found, and the meant ones named."""

from stream_coupons.core.messages.inputs import BrowseEvent, OrderEvent
from stream_coupons.core.validation_hints import unknown_fields


def test_unknown_fields_are_found_at_any_depth() -> None:
    order = {"orderid": "o", "items": [{"item_id": "a"}, {"item_id": "b", "categroy": "tea"}], "zzz": None}
    assert list(unknown_fields(order, OrderEvent)) == [
        "orderid: no such field, expected order_id?",
        "items.categroy: no such field, expected category?",
        "zzz: no such field",
    ]
    assert list(unknown_fields({"item": None, "context": {"any": 1}}, BrowseEvent)) == []
